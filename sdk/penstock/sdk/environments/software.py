"""The software of a pipeline's steps: each declared environment resolved, its lock stored, its identity in the spec."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from penstock.contracts.artifacts import ArtifactRef
from penstock.contracts.encoding import digest_of
from penstock.contracts.errors import InvalidInput
from penstock.contracts.spec import Identity, PipelineSpec, SoftwareSpec, StepSpec
from penstock.sdk.environments.declared import Declared
from penstock.sdk.environments.resolution import Lock, resolve
from penstock.sdk.identity.guest_contract import GUEST_CONTRACT_VERSION


class Locks(Protocol):
    """The part of an engine's client that is needed."""

    @property
    def home(self) -> Path: ...
    def put_path(self, path: Path) -> ArtifactRef: ...


def _unsaid(step: str) -> None:
    """For callers that have nobody to tell."""


def with_software(
    spec: PipelineSpec, declared: Mapping[str, Declared], client: Locks, resolving: Callable[[str], None] = _unsaid
) -> PipelineSpec:
    """`spec` with the software of every step that declares an environment. `declared` is by the names of nodes, hooks after `hook `.

    `resolving` is called with a step's name before what may take long.

    :raises InvalidInput: an environment can't be resolved; the text names the step.
    """
    if not declared:
        return spec
    known: dict[Declared, dict[str, Any]] = {}

    def equipped(step: StepSpec, key: str) -> StepSpec:
        return _equipped(step, declared[key], known, client, resolving) if key in declared else step

    nodes = tuple(equipped(node, node.name) if isinstance(node, StepSpec) else node for node in spec.nodes)
    hooks = {kind: equipped(hook, f"hook {kind}") for kind, hook in spec.hooks.items()}
    return spec.model_copy(update={"nodes": nodes, "hooks": hooks})


def _equipped(
    step: StepSpec, declared: Declared, known: dict[Declared, dict[str, Any]], client: Locks, resolving: Callable[[str], None]
) -> StepSpec:
    if declared not in known:
        try:
            if declared.kind == "image":
                known[declared] = _image(declared)
            else:
                known[declared] = _locked(resolve(declared, client.home, lambda: resolving(step.name)), client)
        except InvalidInput as error:
            raise InvalidInput(f"the step {step.name!r}: {error}") from error
    return step.model_copy(update=known[declared])


def _image(declared: Declared) -> dict[str, Any]:
    components = {"image": declared.source, "penstock": str(GUEST_CONTRACT_VERSION)}
    if declared.network:
        components["network"] = "bridge"
    software = SoftwareSpec(image=declared.source, network="bridge" if declared.network else "none")
    return {"environment": _identity(components), "software": software, "isolation": "docker"}


def _locked(lock: Lock, client: Locks) -> dict[str, Any]:
    # No platform: the lock is for all of them, so what a laptop ran can be a hit elsewhere.
    components = {
        # Behind the packages in order, for a package is what people look for when it differs.
        "software lock": lock.digest,
        "penstock": str(GUEST_CONTRACT_VERSION),
        "python": lock.python,
        **{f"package {name}": version for name, version in lock.packages.items()},
    }
    return {"environment": _identity(components), "software": SoftwareSpec(lock=client.put_path(lock.path), python=lock.python)}


def _identity(components: dict[str, str]) -> Identity:
    return Identity(digest=digest_of(components), components=dict(sorted(components.items())))
