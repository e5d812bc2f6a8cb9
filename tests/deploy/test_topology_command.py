"""`penstock topology` on a broker of the test's own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from penstock.deploy.cli.application import app
from tests.servers.rabbitmq import RabbitServer, VirtualHost


@pytest.fixture
def settings(vhost: VirtualHost, monkeypatch: pytest.MonkeyPatch) -> VirtualHost:
    monkeypatch.setenv("PENSTOCK_BROKER_URL", vhost.url)
    monkeypatch.setenv("PENSTOCK_BROKER_MANAGEMENT_URL", vhost.management_url)
    return vhost


def topology(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["topology", *arguments])


def test_what_apply_makes_is_what_check_asks_for(settings: VirtualHost) -> None:
    pools = ("--pool", "cpu", "--pool", "gpu", "--workspace", "vision")

    before, applied, again, after = (topology(word, *pools) for word in ("check", "apply", "apply", "check"))

    assert before.exit_code == 1
    assert "missing: queue penstock.pool.vision.gpu: it does not exist\n    penstock topology apply" in before.stdout
    assert "created queue penstock.pool.vision.gpu\n" in applied.stdout
    assert "set policy penstock-work\n" in applied.stdout
    assert again.stdout == after.stdout == "everything is as it must be\n"
    assert [result.exit_code for result in (applied, again, after)] == [0, 0, 0]


def test_without_the_management_api_the_commands_for_policies_are_shown(settings: VirtualHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PENSTOCK_BROKER_MANAGEMENT_URL")

    applied, checked, as_json = topology("apply"), topology("check"), topology("check", "--json")

    assert f"  rabbitmqctl set_policy --vhost {settings.name} --priority 10 --apply-to queues penstock-work" in applied.stdout
    assert checked.stdout.endswith("everything that could be checked is as it must be\n")
    assert {finding["kind"] for finding in json.loads(as_json.stdout)} == {"unchecked"}
    assert [result.exit_code for result in (applied, checked, as_json)] == [0, 0, 0]


def test_an_export_needs_no_broker_and_can_be_imported(
    rabbitmq: RabbitServer, settings: VirtualHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PENSTOCK_BROKER_URL")
    file = tmp_path / "definitions.json"

    written, as_text = topology("export", "--vhost", settings.name, "-o", str(file)), topology("export", "--text")
    rabbitmq.rabbitmqctl("import_definitions", str(file))

    assert (written.exit_code, as_text.exit_code) == (0, 0)
    assert "queue penstock.pool.default.cpu: durable, x-queue-type=quorum\n" in as_text.stdout
    assert topology("check", "--broker-url", settings.url).stdout == "everything is as it must be\n"


def test_a_broker_that_is_not_there_ends_with_3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_BROKER_URL", "amqp://penstock:hush@127.0.0.1:1/penstock")

    # As a process of its own, for what libraries log goes another way under pytest.
    program = Path(sys.executable).with_name("penstock")
    done = subprocess.run([program, "topology", "apply"], check=False, capture_output=True, text=True)

    assert done.returncode == topology("check").exit_code == 3
    assert done.stderr.startswith("error: can't connect to RabbitMQ at 127.0.0.1:1 ")
    assert done.stderr.endswith("check that the broker runs and the host and port of PENSTOCK_BROKER_URL\n")
    assert len(done.stderr.splitlines()) == 1
    assert "hush" not in done.stderr


def test_wrong_credentials_end_with_3(settings: VirtualHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_BROKER_URL", settings.url.replace(settings.user.password, "wrong"))

    result = topology("apply")

    assert result.exit_code == 3
    assert "the broker refused the user or the password" in result.stderr


def test_a_broker_that_is_not_named_is_asked_for() -> None:
    result = topology("apply")

    assert result.exit_code == 2
    assert "PENSTOCK_BROKER_URL: it is not set" in result.stderr


@pytest.mark.parametrize("pool", ["lane", "GPU", "a.b"])
def test_a_name_that_no_pool_can_have_is_refused(pool: str) -> None:
    result = topology("export", "--pool", pool)

    assert result.exit_code == 2
    assert repr(pool) in result.stderr


def test_what_a_user_may_do_is_printed_or_set(rabbitmq: RabbitServer, settings: VirtualHost, monkeypatch: pytest.MonkeyPatch) -> None:
    user = rabbitmq.add_user(vhost=settings.name)
    words = ("permissions", "--user", user.name, "--kind", "upstream", "--workspace", "lake")

    printed = topology(*words)
    refused = topology(*words, "--apply")
    monkeypatch.setenv("PENSTOCK_BROKER_MANAGEMENT_URL", rabbitmq.management_url())
    done = topology(*words, "--apply")

    assert printed.stdout.splitlines() == [
        f"rabbitmqctl set_permissions --vhost {settings.name} {user.name} '^$' '^penstock\\.ingest$' '^$'",
        f"rabbitmqctl set_topic_permissions --vhost {settings.name} {user.name} penstock.ingest '^lake\\.' '^$'",
    ]
    assert refused.exit_code == 3
    assert done.exit_code == 0, done.stderr
    assert done.stdout == f"{user.name} may do what is done by upstream in the workspace lake, and no more\n"
    (found,) = rabbitmq.api("GET", f"users/{user.name}/permissions").json()
    assert (found["configure"], found["write"], found["read"]) == ("^$", r"^penstock\.ingest$", "^$")
    (topic,) = rabbitmq.api("GET", f"users/{user.name}/topic-permissions").json()
    assert (topic["exchange"], topic["write"], topic["read"]) == ("penstock.ingest", r"^lake\.", "^$")
    assert topology("permissions", "--user", "x", "--kind", "king").exit_code == 2
    assert "--workspace" in topology("permissions", "--user", "x", "--kind", "runner").stderr


def test_events_are_taken_in_from_an_exchange_that_others_own(rabbitmq: RabbitServer, settings: VirtualHost) -> None:
    words = ("--ingest-from", "lake.events:day.#")
    missing = topology("apply", *words)
    rabbitmq.api("PUT", f"exchanges/{settings.name}/lake.events", {"type": "topic", "durable": True})

    before, applied, after = topology("check", *words), topology("apply", *words), topology("check", *words)
    path = f"exchanges/{settings.name}/lake.events/publish"
    for key in ("day.closed", "week.closed"):
        rabbitmq.api("POST", path, {"properties": {}, "routing_key": key, "payload": "{}", "payload_encoding": "string"})
    queued = rabbitmq.api(
        "POST", f"queues/{settings.name}/penstock.ingest/get", {"count": 5, "ackmode": "ack_requeue_true", "encoding": "auto"}
    )

    assert missing.exit_code == 3
    assert "lake.events" in missing.stderr
    assert "missing: binding of penstock.ingest to lake.events by 'day.#'" in before.stdout
    assert (applied.exit_code, after.stdout) == (0, "everything is as it must be\n")
    assert [(one["exchange"], one["routing_key"]) for one in queued.json()] == [("lake.events", "day.closed")]


@pytest.mark.parametrize("text", ["", ":day", "penstock.work:#"])
def test_an_exchange_of_our_own_is_none_of_others(text: str) -> None:
    result = topology("export", "--ingest-from", text)

    assert result.exit_code == 2
    assert "name an exchange of others" in result.stderr
