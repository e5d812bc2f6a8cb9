"""The command tree as a whole."""

import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import cast

import pytest
import typer
from typer.core import TyperCommand, TyperGroup
from typer.testing import CliRunner

from penstock.contracts.errors import StateTooNew
from penstock.deploy.cli.application import LazyGroup, app
from penstock.deploy.cli.targets import Target
from penstock.deploy.cli.wiring import Wiring
from penstock.sdk.client import EngineClient
from penstock.sdk.drawing.traced import Traced
from tests.deploy.conftest import Invoke

COMMANDS: list[str] = LazyGroup.list_commands(cast("LazyGroup", typer.main.get_command(app)), None)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_has_examples(penstock: Invoke, command: str) -> None:
    result = penstock(command, "--help")

    assert result.exit_code == 0
    assert f"penstock {command}" in result.output.replace("Usage", "")
    assert "Example" in result.output


def test_no_text_of_an_option_is_lost_as_markup() -> None:
    root = typer.main.get_command(app)

    said = list(_option_texts(cast("TyperGroup", root), typer.Context(root)))

    assert len(said) > 100
    assert [text for text in said if "[" in text] == []


def _option_texts(command: TyperCommand | TyperGroup, context: typer.Context) -> Iterator[str]:
    yield from (said for parameter in command.params if (said := getattr(parameter, "help", None)))
    if isinstance(command, TyperGroup):
        for name in command.list_commands(context):
            yield from _option_texts(cast("TyperCommand | TyperGroup", command.get_command(context, name)), context)


def test_help_lists_every_command(penstock: Invoke) -> None:
    output = penstock("--help").output

    assert all(command in output for command in COMMANDS)


def test_an_unknown_command_exits_with_2(penstock: Invoke) -> None:
    assert penstock("rnu").exit_code == 2


@pytest.mark.usefixtures("project")
def test_an_engine_that_can_not_answer_exits_with_3() -> None:
    def connect(home: Path) -> EngineClient:
        raise StateTooNew("written by a newer Penstock")

    def trace(target: Target) -> Traced:
        raise AssertionError(target)

    result = CliRunner().invoke(app, ["runs", "ls"], obj=Wiring(connect=connect, trace=trace))

    assert result.exit_code == 3
    assert "written by a newer Penstock" in result.output


def test_running_imports_neither_drawing_nor_scientific_libraries() -> None:
    code = (
        "import sys; import penstock.deploy.cli.commands.run; import penstock.deploy.main\n"
        "heavy = {'rich.live', 'jsonschema', 'yaml', 'pandas', 'numpy', 'pydantic_settings'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )

    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)

    assert finished.returncode == 0, finished.stderr


def test_the_version_is_told() -> None:
    result = CliRunner().invoke(app, ["--version"])

    assert result.output == f"penstock {version('penstock')}\n"
    assert result.exit_code == 0
