"""The command line on services: `run` unchanged, `submit` that leaves, following that can be left."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from typer.testing import CliRunner, Result

from penstock.contracts.artifacts import content_digest
from penstock.contracts.states import RunState
from penstock.deploy.cli.application import app
from penstock.deploy.remote.client import HttpClient, connect
from penstock.sdk.client import connect as connect_to
from tests.deploy.served_engine import TOKEN, ServedEngine, free_port, served, until

PIPELINE = """
    import pathlib, time
    from penstock.sdk import pipeline, step

    @step
    def double(x: int) -> int:
        return 2 * x

    @pipeline
    def doubled(x: int = 4) -> int:
        return double(x)

    @step(cache=False)
    def wait(path: str) -> str:
        print("waiting", flush=True)
        while not pathlib.Path(path).exists():
            time.sleep(0.02)
        return "over"

    @pipeline
    def waiting(path: str) -> str:
        return wait(path)
"""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedEngine]:
    with served(tmp_path_factory.mktemp("services") / "state") as engine:
        yield engine


@pytest.fixture
def client(engine: ServedEngine, private_home: Path) -> Iterator[HttpClient]:
    client = connect(private_home, engine.url, TOKEN)
    yield client
    client.close()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: ServedEngine) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "flow.py").write_text(textwrap.dedent(PIPELINE))
    (folder / "penstock.toml").write_text(f'[profiles.services]\napi_url = "{engine.url}"\napi_token = "{TOKEN}"\n')
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PENSTOCK_API_URL", engine.url)
    monkeypatch.setenv("PENSTOCK_API_TOKEN", TOKEN)
    return folder


def penstock(*arguments: str) -> Result:
    result = CliRunner().invoke(app, list(arguments))
    # The command has the log written to its own stderr, which ends with it; the services of this process log on.
    structlog.reset_defaults()
    return result


@pytest.mark.usefixtures("folder")
def test_run_is_the_same_on_services(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_ENGINE", "http")

    result = penstock("run", "flow.py:doubled", "-p", "x=21", "--json")

    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout.splitlines()[-1])
    assert (told["state"], told["outputs"]) == ("succeeded", {"result": 42})
    assert penstock("why", "double").exit_code == 0
    assert "succeeded" in penstock("runs", "ls").stdout
    assert penstock("rerun", told["name"], "--from", "double").exit_code == 0


def test_the_example_gives_the_same_artifacts_on_services_as_here(
    engine: ServedEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(Path(__file__).parents[2] / "examples" / "retrain", tmp_path / "example")
    monkeypatch.chdir(tmp_path / "example")
    found: list[dict[tuple[str, tuple[int, ...]], dict[str, str]]] = []
    for home in (tmp_path / "here", tmp_path / "there"):
        monkeypatch.setenv("PENSTOCK_HOME", str(home))
        result = penstock("run", "pipeline.py", "-p", "raw=drops/week-1.csv", "--json")
        assert result.exit_code == 0, result.output
        run = json.loads(result.stdout.splitlines()[-1])["run"]
        monkeypatch.setenv("PENSTOCK_API_URL", engine.url)
        monkeypatch.setenv("PENSTOCK_API_TOKEN", TOKEN)
        client = connect_to(os.environ.get("PENSTOCK_ENGINE", "embedded"), home=home)
        found.append(
            {(one.step, one.index): {name: content_digest(value) for name, value in one.outputs.items()} for one in client.step_runs(run)}
        )
        client.close()
        monkeypatch.setenv("PENSTOCK_ENGINE", "http")

    assert len(found[0]) > 20
    assert found[0] == found[1]


@pytest.mark.usefixtures("folder")
def test_submit_says_how_to_follow_and_leaves(client: HttpClient) -> None:
    result = penstock("submit", "flow.py:doubled", "-p", "x=5", "--tag", "why=test")

    assert result.exit_code == 0, result.output
    name = result.stdout.split(":", 1)[0]
    assert result.stdout.splitlines()[-1] == f"submitted; follow it with: penstock runs follow {name}"
    until(lambda: client.run(name).state is RunState.SUCCEEDED)
    assert client.run(name).tags["why"] == "test"
    assert "result = 10" in penstock("runs", "follow", name).stdout


@pytest.mark.usefixtures("folder")
def test_submit_says_which_commands_ask_the_services(monkeypatch: pytest.MonkeyPatch) -> None:
    hint = "export PENSTOCK_ENGINE=http"

    assert hint in penstock("submit", "flow.py:doubled", "-p", "x=8").stdout
    monkeypatch.setenv("PENSTOCK_ENGINE", "http")
    assert hint not in penstock("submit", "flow.py:doubled", "-p", "x=8").stdout


@pytest.mark.usefixtures("folder")
def test_submit_that_follows_ends_as_the_run_does() -> None:
    result = penstock("submit", "flow.py:doubled", "-p", "x=6", "--follow")

    assert result.exit_code == 0, result.output
    assert "result = 12" in result.stdout


def test_a_profile_says_where_the_services_are(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PENSTOCK_API_URL", "PENSTOCK_API_TOKEN"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("PENSTOCK_PROFILE", "services")

    result = penstock("run", "flow.py:doubled", "-p", "x=7")

    assert result.exit_code == 0, result.output
    assert "result = 14" in result.stdout
    assert not (folder / ".penstock").exists()


def test_ctrl_c_while_following_leaves_the_run_alone(folder: Path, client: HttpClient, tmp_path: Path) -> None:
    path = tmp_path / "go-on"
    # As the script does.
    program = "from penstock.deploy.main import main; main()"
    command = [sys.executable, "-c", program, "submit", "flow.py:waiting", "-p", f"path={path}", "--follow"]
    with subprocess.Popen(
        command, cwd=folder, env=dict(os.environ), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as following:
        assert following.stdout is not None
        name = following.stdout.readline().split(":", 1)[0]
        while "running" not in following.stdout.readline():
            pass
        following.send_signal(signal.SIGINT)
        _, complaints = following.communicate(timeout=20)

    assert following.returncode == 130
    assert complaints.strip().splitlines()[-1] == f"{name} goes on; follow it with: penstock runs follow {name}"
    assert client.run(name).state is RunState.RUNNING
    path.touch()
    assert list(client.follow(name))[-1].state is RunState.SUCCEEDED


def test_cancelling_ends_what_runs(folder: Path, client: HttpClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_ENGINE", "http")
    name = penstock("submit", "flow.py:waiting", "-p", f"path={tmp_path / 'never'}").stdout.split(":", 1)[0]
    until(lambda: client.run(name).state is RunState.RUNNING)

    assert penstock("runs", "cancel", name, "--reason", "not needed").exit_code == 0

    ended = list(client.follow(name))[-1]
    assert (ended.state, ended.error) == (RunState.CANCELLED, "not needed")
    assert penstock("runs", "follow", name).exit_code == 4
    assert folder.exists()


@pytest.mark.usefixtures("folder")
def test_services_that_can_not_be_reached_are_exit_code_3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_API_URL", f"http://127.0.0.1:{free_port()}")

    result = penstock("submit", "flow.py:doubled")

    assert result.exit_code == 3
    assert "can't be reached" in result.stderr


@pytest.mark.usefixtures("folder")
def test_submit_without_services_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PENSTOCK_API_URL")

    result = penstock("submit", "flow.py:doubled")

    assert result.exit_code == 2
    assert "PENSTOCK_API_URL" in result.stderr
