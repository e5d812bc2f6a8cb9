"""Which steps `penstock runner serve` is pointed at: those of a file's or module's pipelines, all or one."""

from pathlib import Path

from penstock.contracts.errors import InvalidInput
from penstock.contracts.messages import Service
from penstock.contracts.names import DOCUMENT_SUFFIXES, lane_of
from penstock.runners.tracing import services_blocking
from penstock.sdk.nearest import nearest_hint

LONGEST_LANE = 255


def served_steps(target: str, pipeline: str | None, workspace: str, *, any_version: bool) -> list[Service]:
    """What to announce for `FILE.py[:STEP]` or `package.module[:STEP]`. The user's module is imported by an interpreter of its own.

    :raises GraphError: a pipeline can't be drawn, or there is none.
    :raises InvalidInput: there is no such file or step.
    """
    entry, step = split(target)
    found = services_blocking(entry, pipeline)
    names = sorted({service["step"] for service in found})
    if step is not None and step not in names:
        raise InvalidInput(f"{entry} has no step {step!r}{nearest_hint(step, names)}; it has: {', '.join(names) or 'none'}")
    chosen = [service for service in found if step in (None, service["step"])]
    if not chosen:
        raise InvalidInput(f"the pipelines of {entry} have no steps that could be served")
    for service in chosen:
        if len(lane_of(service["pipeline"], service["step"])) > LONGEST_LANE:
            raise InvalidInput(f"the names of {service['pipeline']} and {service['step']} are too long together to serve it")
    return [
        Service(workspace=workspace, pipeline=service["pipeline"], step=service["step"], code="" if any_version else service["code"])
        for service in chosen
    ]


def split(target: str) -> tuple[Path | str, str | None]:
    """The file or the module, and the step if one is named.

    :raises InvalidInput: there is no such file.
    """
    head, colon, tail = target.rpartition(":")
    # The colon of a Windows drive is no separator.
    entry, step = (head, tail) if colon and tail and len(head) > 1 and not Path(target).exists() else (target, None)
    if not entry.endswith((".py", *DOCUMENT_SUFFIXES)) and "/" not in entry:
        return entry, step
    path = Path(entry)
    if not path.is_file():
        raise InvalidInput(f"there is no file {path}; name a file (flow.py) or a module (package.flow)")
    return path.absolute(), step
