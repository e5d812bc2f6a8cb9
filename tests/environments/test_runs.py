"""Steps in environments of their own, on the embedded engine as people use it."""

import sys
from pathlib import Path

import pytest

from penstock.contracts.errors import InvalidInput
from penstock.contracts.spec import decode_spec
from penstock.deploy.embedded.client import EmbeddedClient
from penstock.runners.log_file import log_path
from penstock.sdk.environments.software import with_software
from tests.end_to_end.user_project import UserProject, executed, failure_of
from tests.environments.package_index import PackageIndex

FLOW = """
import sys
from penstock.sdk import CommandStep, Environment, Output, pipeline, step
from penstock.contracts.names import PYTHON

@step(environment=Environment(packages=["pebble==1.0"]))
def old(n: int) -> str:
    import pebble
    print("hello")
    return pebble.VERSION

@step(environment=Environment(packages=["pebble==2.0"]), isolation="reuse")
def new(n: int) -> str:
    import pebble
    return pebble.VERSION

@step
def both(old: str, new: str) -> list[str]:
    return [old, new]

@pipeline
def flow(n: int = 1) -> list[str]:
    return both(old(n), new(n))
"""


def log_of(client: EmbeddedClient, run_id: str, step: str) -> str:
    return log_path(client.home, run_id, step, (), 1).read_text()


def test_two_steps_of_a_run_have_different_versions_of_a_package(project: UserProject) -> None:
    project.write("pipeline.py", FLOW)

    run = project.run()

    assert run.result() == ["1.0", "2.0"]
    log = log_of(project.client, run.run_id, "old")
    assert log.startswith("penstock: building the environment ")
    assert " + pebble==1.0\n" in log
    assert log.endswith("is ready\nhello\n")


def test_collection_keeps_the_locks_of_runs(project: UserProject) -> None:
    project.write("pipeline.py", FLOW)
    run = project.run()
    locks = [step.software.lock for step in decode_spec(project.client.spec(run.run_id)).steps if step.software is not None]

    project.client.cache_clear()
    project.client.collect_garbage()

    assert len(locks) == 2
    assert all(lock is not None and project.client.local(lock).exists() for lock in locks)


def test_what_is_cached_starts_no_uv_and_an_edit_of_packages_reruns_only_its_steps(
    project: UserProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write("pipeline.py", FLOW)
    project.run().result()

    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "uv", None)
        patch.setenv("PATH", "")
        assert executed(project.run()) == []
    project.write("pipeline.py", FLOW.replace("pebble==2.0", "pebble<2"))
    run = project.run()

    assert executed(run) == ["new", "both"]
    assert run.result() == ["1.0", "1.0"]
    assert "package pebble changed from 2.0 to 1.0" in run.why("new").verdict


def test_a_build_that_fails_fails_the_step_with_uv_s_words_and_the_next_run_may_succeed(project: UserProject, index: PackageIndex) -> None:
    index.add("shale", "1.0")
    first, second = FLOW.split("def new")
    second = second.replace("import pebble", "import shale as pebble")
    project.write("pipeline.py", f"{first}def new{second}".replace("pebble==2.0", "shale==1.0"))
    wheel = next(index.folder.glob("shale-*"))
    traced = project.pipeline().trace()
    # Locked while the package was in the index, built when it is there no more.
    with_software(traced.spec, traced.software, project.client)
    hidden = wheel.rename(wheel.with_suffix(".hidden"))
    run = project.run()

    told = failure_of(run, "new")
    assert "environment: the packages can't be installed: " in told
    assert "shale" in told
    assert "penstock: building the environment" in log_of(project.client, run.run_id, "new")

    hidden.rename(wheel)
    assert project.run().result() == ["1.0", "1.0"]


def test_packages_that_don_t_fit_are_refused_before_anything_runs(project: UserProject) -> None:
    project.write("pipeline.py", FLOW.replace("pebble==2.0", "pebble==9"))

    with pytest.raises(InvalidInput, match=r"the step 'new': the environment can't be resolved: .*pebble==9"):
        project.run()


def test_a_program_runs_with_the_interpreter_of_its_environment(project: UserProject) -> None:
    project.write(
        "pipeline.py",
        """
        import sys
        from penstock.sdk import CommandStep, Environment, File, Output, pipeline

        @pipeline
        def flow() -> File:
            said = Output("said", File)
            code = "import sys, pebble; open(sys.argv[1], 'w').write(pebble.VERSION)"
            return CommandStep([sys.executable, "-c", code, said], name="say", environment=Environment(packages=["pebble==2.0"]))[said]
        """,
    )

    assert project.run().result().path.read_text() == "2.0"


def test_an_image_needs_an_engine(project: UserProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    project.write("pipeline.py", FLOW.replace('Environment(packages=["pebble==2.0"])', 'Environment.from_image("registry.example/x")'))

    assert "start a Docker engine here" in failure_of(project.run(), "new")
