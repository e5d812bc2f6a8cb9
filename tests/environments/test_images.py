"""Images as environments: what they are in a spec and in keys."""

from pathlib import Path

from penstock.contracts.artifacts import ArtifactRef
from penstock.contracts.spec import CommandTarget, Identity, PipelineSpec, SoftwareSpec, StepSpec
from penstock.sdk.environments.declared import Declared
from penstock.sdk.environments.software import with_software
from penstock.sdk.types import Environment

_STEP = StepSpec(name="fit", run=CommandTarget(command=()), code=Identity(digest="sha256:0"), environment=Identity(digest="sha256:0"))


class NoLocks:
    """An image needs no lock."""

    home = Path("/nonexistent")

    def put_path(self, path: Path) -> ArtifactRef:
        raise AssertionError(path)


def _equipped(environment: Environment) -> StepSpec:
    spec = PipelineSpec(name="flow", nodes=(_STEP,))
    return with_software(spec, {"fit": Declared.of(environment, Path.cwd())}, NoLocks()).steps[0]


def test_a_step_with_an_image_runs_in_docker_without_a_network() -> None:
    step = _equipped(Environment.from_image("registry.example/fit@sha256:1"))

    assert step.isolation == "docker"
    assert step.software == SoftwareSpec(image="registry.example/fit@sha256:1", network="none")
    assert step.environment.components["image"] == "registry.example/fit@sha256:1"


def test_a_network_that_was_asked_for_is_in_the_key() -> None:
    closed, opened = (_equipped(Environment.from_image("fit", network=network)) for network in (False, True))

    assert opened.software == SoftwareSpec(image="fit", network="bridge")
    assert closed.environment.digest != opened.environment.digest
