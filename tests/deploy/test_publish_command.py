"""Publishing from the command line, on a laptop: versions, triggers that come along, runs of what is published."""

import asyncio
import json
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from penstock.deploy.cli.application import app
from penstock.deploy.embedded.client import EmbeddedClient
from penstock.engine.events.triggers import live_triggers
from penstock.engine.stores.sqlite import SqliteStore

Penstock = Callable[..., Result]
FLOW = """
    from penstock.sdk import Cron, OnEvent, pipeline, step

    @step
    def double(x: int) -> int:
        return FACTOR * x

    FACTOR = 2

    @pipeline(triggers=[Cron("0 3 * * *"), OnEvent("day.closed", parameters={"x": "event.data.rows"}, name="closed")])
    def flow(x: int = 1) -> int:
        return double(x)
"""


@pytest.fixture
def penstock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Penstock:
    """The command line in a project of its own, with one pipeline file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PENSTOCK_HOME", str(tmp_path / "home"))
    write(tmp_path, FLOW)
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


def write(folder: Path, text: str) -> None:
    (folder / "flow.py").write_text(textwrap.dedent(text))


def told(result: Result, code: int = 0) -> str:
    assert result.exit_code == code, result.output
    return result.output


def triggers(home: Path) -> dict[str, tuple[str | None, str]]:
    async def look() -> dict[str, tuple[str | None, str]]:
        store = SqliteStore(home / "penstock.sqlite")
        found = await store.read(lambda connection: live_triggers(connection, "default"))
        await store.close()
        return {trigger.name: (trigger.from_version, trigger.state) for trigger in found}

    return asyncio.run(look())


def test_a_file_is_published_with_its_triggers_and_run_as_it_was(penstock: Penstock, tmp_path: Path) -> None:
    text = told(penstock("publish", "flow.py", "--triggers", "on", "--alias", "prod"))
    assert "flow@1 is published (the default, prod)" in text
    assert triggers(tmp_path / "home") == {"flow": ("1", "on"), "closed": ("1", "on")}

    write(tmp_path, FLOW.replace("FACTOR = 2", "FACTOR = 10"))
    ran = json.loads(told(penstock("pipelines", "run", "flow", "-p", "x=3", "--json")).splitlines()[-1])
    assert (ran["state"], ran["outputs"]) == ("succeeded", {"result": 6})

    assert "flow@2 is published" in told(penstock("publish", "flow.py", "--no-default"))
    newer = json.loads(told(penstock("pipelines", "run", "flow@2", "-p", "x=3", "--json")).splitlines()[-1])
    assert newer["outputs"] == {"result": 30}
    assert "flow@2 is the default" in told(penstock("pipelines", "default", "flow", "2"))
    assert triggers(tmp_path / "home") == {"flow": ("2", "on"), "closed": ("2", "on")}


def test_the_same_code_is_the_same_version_and_another_under_it_is_refused(penstock: Penstock, tmp_path: Path) -> None:
    first = json.loads(told(penstock("publish", "flow.py", "--version", "1.0", "--json")))
    assert json.loads(told(penstock("publish", "flow.py", "--version", "1.0", "--json"))) == first
    assert json.loads(told(penstock("publish", "flow.py", "--json"))) == first
    write(tmp_path, FLOW.replace("FACTOR = 2", "FACTOR = 10"))
    refused = penstock("publish", "flow.py", "--version", "1.0")
    assert refused.exit_code == 2
    assert "flow@1.0 is published already, with another spec" in refused.output


def test_versions_are_listed_deprecated_and_disabled(penstock: Penstock) -> None:
    told(penstock("publish", "flow.py"))
    assert "flow  pipeline  1" in told(penstock("pipelines", "ls"))
    assert json.loads(told(penstock("pipelines", "ls", "--json")))["default_version"] == "1"
    assert "parameters: x: int" in told(penstock("pipelines", "show", "flow"))
    told(penstock("pipelines", "deprecate", "flow@1", "--note", "wrong unit"))
    assert "warning: flow@1 is deprecated: wrong unit" in told(penstock("pipelines", "run", "flow"))
    assert "wrong unit" in told(penstock("pipelines", "versions", "flow"))
    told(penstock("pipelines", "disable", "flow@1"))
    assert "flow@1 is disabled, so it makes no new runs: wrong unit" in told(penstock("pipelines", "run", "flow"), 2)
    assert "name the version: flow@VERSION" in told(penstock("pipelines", "disable", "flow"), 2)
    told(penstock("pipelines", "activate", "flow@1"))
    told(penstock("pipelines", "alias", "flow", "prod", "1"))
    assert "succeeded" in told(penstock("pipelines", "run", "flow@prod"))
    told(penstock("pipelines", "alias", "flow", "prod", "--rm"))
    assert "no version or alias 'prod'" in told(penstock("pipelines", "show", "flow@prod"), 2)


@pytest.mark.parametrize("command", ["check", "publish"])
def test_a_trigger_that_does_not_fit_is_found_before_anything_is_published(penstock: Penstock, tmp_path: Path, command: str) -> None:
    write(tmp_path, FLOW.replace("event.data.rows", "event.data.rows +"))
    refused = told(penstock(command, "flow.py"), 2)
    assert "triggers[1]: trigger 'closed': parameter 'x'" in refused
    assert "no pipeline is published" in told(penstock("pipelines", "ls"))


def test_check_names_the_triggers(penstock: Penstock) -> None:
    assert "triggers: flow, closed" in told(penstock("check", "flow.py"))


def test_a_run_that_nobody_drives_is_left_to_whoever_serves_next(penstock: Penstock, tmp_path: Path) -> None:
    told(penstock("publish", "flow.py"))
    left = json.loads(told(penstock("pipelines", "run", "flow", "--detach", "--json")).splitlines()[-1])
    client = EmbeddedClient(tmp_path / "home")
    try:
        client.resume(left["run_id"])
        assert list(client.follow(left["run_id"]))[-1].state.value == "succeeded"
    finally:
        client.close()


@pytest.mark.parametrize("command", ["publish", "pipelines", "components"])
def test_help_teaches_by_examples(penstock: Penstock, command: str) -> None:
    assert "Examples:" in told(penstock(command, "--help"))
