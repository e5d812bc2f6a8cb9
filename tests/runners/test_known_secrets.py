"""Where a runner finds secrets, and what it does not give away."""

import json
from pathlib import Path

import pytest

from penstock.contracts.spec import SecretRef
from penstock.runners.known_secrets import secret_of_runner, variable_of
from penstock.runners.step_variables import step_variables
from tests.runners.workbench import a_step


def test_a_secret_is_found_in_its_variable_then_in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hf-token").write_text("of the file\n")
    monkeypatch.setenv("PENSTOCK_SECRETS_FOLDER", str(tmp_path))
    assert secret_of_runner("hf-token") == "of the file"

    monkeypatch.setenv(variable_of("hf-token"), "of the variable")
    assert secret_of_runner("hf-token") == "of the variable"
    assert variable_of("hf-token") == "PENSTOCK_SECRET_HF_TOKEN"


def test_a_secret_of_several_files_has_their_names_as_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Kubernetes mounts one: links into a hidden folder that is exchanged as a whole."""
    (tmp_path / "db" / "..2026").mkdir(parents=True)
    (tmp_path / "db" / "..2026" / "password").write_text("hunter-22")
    (tmp_path / "db" / "..data").symlink_to("..2026")
    (tmp_path / "db" / "password").symlink_to("..data/password")
    monkeypatch.setenv("PENSTOCK_SECRETS_FOLDER", str(tmp_path))

    assert json.loads(secret_of_runner("db") or "") == {"password": "hunter-22"}
    step = a_step(env_vars={"PASSWORD": SecretRef(secret="db", key="password")})
    assert step_variables(step, secret_of_runner) == ({"PASSWORD": "hunter-22"}, ["hunter-22"])


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "..", "a/b", ""])
def test_no_name_leads_out_of_the_folder(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "outside").write_text("of somebody else")
    (tmp_path / "folder").mkdir()
    monkeypatch.setenv("PENSTOCK_SECRETS_FOLDER", str(tmp_path / "folder"))

    assert secret_of_runner(name) is None


def test_the_runners_own_variables_are_no_secrets_of_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_BROKER_URL", "amqp://user:password@broker")
    monkeypatch.setenv("REGION", "eu")

    assert secret_of_runner("PENSTOCK_BROKER_URL") is None
    assert step_variables(a_step(pass_env=("PENSTOCK_BROKER_URL", "REGION")), secret_of_runner) == ({"REGION": "eu"}, [])
