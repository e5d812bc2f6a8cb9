"""What is checked of a submission before it becomes a run: its names, and that every artifact it refers to is really there."""

import re

from penstock.contracts.artifacts import ArtifactRef
from penstock.contracts.errors import InvalidInput
from penstock.contracts.messages import SubmitRun
from penstock.contracts.named_artifacts import is_reference, reference
from penstock.contracts.names import checked_name
from penstock.contracts.spec import decode_spec
from penstock.engine.api.holding import referable
from penstock.engine.api.services import Services
from penstock.engine.published.plain_refs import refs_in_plain

DIGEST = r"^sha256:[0-9a-f]{64}$"
_DIGEST = re.compile(DIGEST)
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_REFS = 100_000
"""Refs in one submission that are looked at; larger lists travel as manifests."""


async def admitted(services: Services, submission: SubmitRun) -> None:
    """Returns if the submission may become a run.

    :raises ContractError: a malformed spec, or one of another version.
    :raises InvalidInput: a name that can't be one, a ref to something else than the artifact store, or to what was not uploaded.
    """
    name = submission.name
    if name is not None and ("/" in name or not name.isprintable() or name in (".", "..", "last")):
        raise InvalidInput(f"a run can't be named {name[:80]!r}: it needs a name without slashes that can be printed, and not `last`")
    old = submission.options.pinned_from
    if old is not None and not _RUN_ID.fullmatch(old):
        raise InvalidInput(f"there is no run {old[:80]!r} to rerun: name it by its id")
    for step, pool in submission.options.pools.items():
        checked_name(pool, f"the pool of {step[:80]!r}")
    spec = decode_spec(submission.spec)
    given = [parameter.model_dump() for parameter in spec.parameters] + [value.model_dump() for value in submission.parameters.values()]
    refs = [(ref, True) for part in given for ref in refs_in_plain(part)]
    refs += [(ref, False) for ref in refs_in_plain(spec.model_dump(exclude={"parameters"}))]
    wanted: set[str] = set()
    if len(refs) > _REFS:
        raise InvalidInput(f"the submission refers to more than {_REFS} artifacts; pass long lists as list artifacts")
    for ref, may_be_named in refs:
        if may_be_named and is_reference(ref):
            reference(ref.uri)  # What it means is looked up when the run is made.
            continue
        _check(ref)
        if not ref.is_inline:
            wanted.add(ref.digest)
    lost = await services.artifacts.lost(wanted)
    if lost:
        raise InvalidInput(f"{len(lost)} artifacts of the submission are not in the artifact store (one is {min(lost)}): upload them first")
    await referable(services, [ref for ref, _ in refs if not is_reference(ref)])


def _check(ref: ArtifactRef) -> None:
    if ref.is_inline:
        ref.inline_bytes()
    elif not _DIGEST.fullmatch(ref.digest) or ref.uri != f"cas:{ref.digest}":
        # Nobody here fetches anything from an address that somebody names.
        raise InvalidInput(f"{ref.uri[:80]!r} is no artifact: upload the bytes, and refer to them as cas:sha256:<64 hexadecimal digits>")
