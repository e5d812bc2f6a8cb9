"""The secrets of a user of this machine."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from penstock.contracts.errors import InvalidInput
from penstock.deploy.cli.commands.secrets import app
from penstock.deploy.user_secrets import read_secrets, secret_of_user, secrets_file, write_secrets


@pytest.fixture(autouse=True)
def own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path / "penstock" / "secrets.json"


def test_a_secret_is_kept_listed_and_forgotten(own_file: Path) -> None:
    run = CliRunner().invoke

    assert run(app, ["set", "hf"], input="s3cr3t\n").exit_code == 0
    assert run(app, ["ls"]).output == "hf\n"
    assert (own_file.stat().st_mode & 0o777, own_file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert secret_of_user("hf") == "s3cr3t"

    assert run(app, ["rm", "hf"]).exit_code == 0
    assert run(app, ["ls"]).output == ""
    assert secret_of_user("hf") is None


def test_no_command_shows_a_value() -> None:
    run = CliRunner().invoke

    shown = [run(app, ["set", "hf"], input="s3cr3t"), run(app, ["ls"]), run(app, ["rm", "hf"])]

    assert all("s3cr3t" not in result.output for result in shown)


def test_a_secret_that_is_not_there_or_empty_is_refused() -> None:
    run = CliRunner().invoke

    assert isinstance(run(app, ["rm", "hf"]).exception, InvalidInput)
    assert isinstance(run(app, ["set", "hf"], input="").exception, InvalidInput)


def test_a_file_that_others_can_read_is_refused(own_file: Path) -> None:
    write_secrets({"hf": "s3cr3t"})
    own_file.chmod(0o644)

    with pytest.raises(InvalidInput, match="chmod 600"):
        secret_of_user("hf")


@pytest.mark.parametrize("text", ["", "[]", "not json"])
def test_a_file_of_something_else_is_refused(own_file: Path, text: str) -> None:
    write_secrets({})
    own_file.write_text(text)

    with pytest.raises(InvalidInput, match=str(own_file)):
        read_secrets()


def test_a_variable_comes_first_and_one_of_the_very_name_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("hf", "of that name")
    assert secret_of_user("hf") == "of that name"
    write_secrets({"hf": "of the file"})
    assert secret_of_user("hf") == "of the file"
    monkeypatch.setenv("PENSTOCK_SECRET_HF", "of the variable")
    assert secret_of_user("hf") == "of the variable"
    assert secrets_file().name == "secrets.json"
