"""Where settings of services come from, and what is said of those that can't be used."""

from pathlib import Path

import pytest

from penstock.contracts.errors import InvalidInput
from penstock.deploy.service_settings import ServiceSettings
from penstock.deploy.services.slots import slots_by_pool
from tests.deploy.processes import penstock

KEY = "8f2b6c1d9e4a7f305b8c2d1e6f9a0b3c"
PROFILE = """
[profiles.staging]
broker_url = "amqp://penstock:profile-password@profile/"
workspace = "from-profile"
drain_seconds = 7
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "penstock.toml").write_text(PROFILE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_flags_go_before_the_environment_and_that_before_the_profile(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_PROFILE", "staging")
    monkeypatch.setenv("PENSTOCK_WORKSPACE", "from-environment")

    settings = ServiceSettings.read({"workspace": "from-flag", "drain_seconds": 9.0, "name": None}, folder)

    assert settings.workspace == "from-flag"
    assert ServiceSettings.read({}, folder).workspace == "from-environment"
    assert settings.drain_seconds == 9
    assert settings.needed("broker_url") == "amqp://penstock:profile-password@profile/"
    assert settings.name is None


def test_a_flag_chooses_the_profile(folder: Path) -> None:
    assert ServiceSettings.read({"profile": "staging"}, folder).workspace == "from-profile"


def test_a_secret_can_stand_in_a_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "key").write_text(f"{KEY}\n")
    monkeypatch.setenv("PENSTOCK_SIGNING_KEY_FILE", str(folder / "key"))

    assert ServiceSettings.read().needed("signing_key") == KEY


def test_the_file_of_a_secret_can_lie_in_the_home_of_whoever_asks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    (folder / "token").write_text(KEY)
    (folder / "penstock.toml").write_text('[profiles.staging]\napi_token_file = "~/token"\n')

    assert ServiceSettings.read({"profile": "staging"}, folder).needed("api_token") == KEY


def test_a_profile_can_name_the_file_of_a_secret(folder: Path) -> None:
    (folder / "key").write_text(KEY)
    (folder / "penstock.toml").write_text(f'[profiles.staging]\nsigning_key_file = "{folder / "key"}"\n')

    assert ServiceSettings.read({"profile": "staging"}, folder).needed("signing_key") == KEY


def test_a_secret_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_SIGNING_KEY", KEY)
    monkeypatch.setenv("PENSTOCK_DATABASE_URL", "postgresql://someone:p%40ssword@database/penstock")

    settings = ServiceSettings.read()

    assert KEY not in repr(settings)
    assert "p%40ssword" not in repr(settings)
    assert {KEY, "p%40ssword", "p@ssword"} <= set(settings.secret_values())


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("SIGNING_KEY", "short", "it has 5 bytes; it needs 32 at least"),
        ("SIGNING_KEY", "changeme" * 4, "anybody can guess it"),
        ("SIGNING_KEY", "x" * 40, "anybody can guess it"),
        ("BROKER_URL", "somewhere:5672", "begins with amqp://"),
        ("DATABASE_URL", "mysql://h/d", "begins with postgresql://"),
        ("ARTIFACTS_URL", "/srv/artifacts", "file:///FOLDER"),
        ("HEALTH_ADDRESS", "9090", "it is not HOST:PORT"),
        ("DRAIN_SECONDS", "soon", "PENSTOCK_DRAIN_SECONDS"),
        ("WORKSPACE", "Team A", "PENSTOCK_WORKSPACE"),
        ("SIGNING_KEY_FILE", "/nowhere/key", "can't be read"),
    ],
)
def test_a_wrong_setting_is_named_with_its_places_and_an_example(name: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"PENSTOCK_{name}", value)

    with pytest.raises(InvalidInput) as error:
        ServiceSettings.read()

    assert said in str(error.value)
    assert f"PENSTOCK_{name}" in str(error.value)
    assert value not in str(error.value) or not name.endswith(("KEY", "URL"))


def test_what_is_missing_is_named_with_its_places_and_an_example() -> None:
    with pytest.raises(InvalidInput) as error:
        ServiceSettings.read().needed("database_url")

    for part in ("PENSTOCK_DATABASE_URL", "PENSTOCK_DATABASE_URL_FILE", "[profiles.NAME]", "postgresql://penstock:PASSWORD@"):
        assert part in str(error.value)


def test_a_setting_and_its_file_together_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_SIGNING_KEY", KEY)
    monkeypatch.setenv("PENSTOCK_SIGNING_KEY_FILE", str(folder / "key"))

    with pytest.raises(InvalidInput, match="are both set"):
        ServiceSettings.read()


@pytest.mark.parametrize(
    ("text", "profile", "said"),
    [
        (PROFILE, "stageing", "did you mean 'staging'"),
        ("[profiles.staging]\nbroker_ulr = 'amqp://h/'\n", "staging", "did you mean 'broker_url'"),
        ("[profiles", "staging", "can't be read"),
        ("profiles = 3\n", "staging", "is not a table"),
    ],
)
def test_a_wrong_profile_is_explained(text: str, profile: str, said: str, folder: Path) -> None:
    (folder / "penstock.toml").write_text(text)

    with pytest.raises(InvalidInput, match=said):
        ServiceSettings.read({"profile": profile}, folder)


def test_slots_are_given_by_pool() -> None:
    assert slots_by_pool(["cpu", "gpu"], [4, 1]) == {"cpu": 4, "gpu": 1}
    assert slots_by_pool(["cpu=4", "gpu"], [2]) == {"cpu": 4, "gpu": 2}
    assert slots_by_pool(["cpu", "gpu"], [3]) == {"cpu": 3, "gpu": 3}
    assert slots_by_pool(["cpu"], [])["cpu"] >= 1


@pytest.mark.parametrize(
    ("pools", "slots", "said"),
    [
        ([], [], "needs a pool"),
        (["cpu"], [1, 2], "--slots is given 2 times"),
        (["cpu=four"], [], "NAME=SLOTS"),
        (["cpu=0"], [], "one slot at least"),
        (["cpu", "cpu"], [1], "given twice"),
        (["lane"], [1], "lane"),
        (["a b"], [1], "a b"),
    ],
)
def test_slots_that_make_no_sense_are_refused(pools: list[str], slots: list[int], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        slots_by_pool(pools, slots)


def test_a_profile_of_the_command_line_leads_commands_to_its_services(folder: Path) -> None:
    (folder / "penstock.toml").write_text('[profiles.staging]\napi_url = "http://127.0.0.1:9"\napi_token = "a-token-of-a-test-0123"\n')

    listed = penstock(folder, "--profile", "staging", "runs", "ls")
    unknown = penstock(folder, "--profile", "production", "runs", "ls")

    assert listed.returncode == 3
    assert "http://127.0.0.1:9" in listed.stderr
    assert "a-token-of-a-test" not in listed.stderr
    assert unknown.returncode == 2
    assert "there is no profile 'production'" in unknown.stderr


def test_a_database_can_be_named_by_its_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_DATABASE_URL", "postgresql:///penstock?host=/run/postgresql")

    assert ServiceSettings.read().needed("database_url").startswith("postgresql:///")
