"""`penstock db` on a database of the test's own."""

import pytest
from typer.testing import CliRunner, Result

from penstock.deploy.cli.application import app


def penstock(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_an_empty_database_is_upgraded_once(empty_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_DATABASE_URL", empty_database)

    before, first, second, after = (penstock("db", word) for word in ("check", "upgrade", "upgrade", "check"))

    assert before.exit_code == 3
    assert "run `penstock db upgrade` once" in before.stderr
    assert first.stdout.startswith("upgraded postgresql://postgres@127.0.0.1")
    assert second.stdout.endswith(" is up to date\n")
    assert (first.exit_code, second.exit_code, after.exit_code) == (0, 0, 0)


def test_a_database_that_is_not_named_is_asked_for() -> None:
    result = penstock("db", "upgrade")

    assert result.exit_code == 2
    assert "PENSTOCK_DATABASE_URL" in result.stderr
