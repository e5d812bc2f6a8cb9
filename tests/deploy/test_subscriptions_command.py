"""`penstock subscriptions` on an engine of its own."""

import stat
from pathlib import Path

import pytest

from tests.deploy.processes import penstock

HOOK = ("--url", "https://example.org/hook")


def test_a_subscription_is_made_seen_paused_and_removed(tmp_path: Path) -> None:
    nobody = penstock(tmp_path, "subscriptions", "ls")
    created = penstock(tmp_path, "subscriptions", "create", "alerts", *HOOK, "--type", "penstock.run.failed", "--secret-file", "kept")
    tested = penstock(tmp_path, "subscriptions", "test", "alerts")
    paused = penstock(tmp_path, "subscriptions", "pause", "alerts")
    listed = penstock(tmp_path, "subscriptions", "ls")
    owed = penstock(tmp_path, "subscriptions", "deliveries", "alerts")
    removed = penstock(tmp_path, "subscriptions", "rm", "alerts")
    gone = penstock(tmp_path, "subscriptions", "deliveries", "alerts")

    assert "penstock subscriptions create" in nobody.stdout
    assert created.returncode == tested.returncode == paused.returncode == removed.returncode == 0, created.stderr
    kept = tmp_path / "kept"
    assert kept.read_text().startswith("whsec_")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert "whsec_" not in created.stdout
    assert "paused" in listed.stdout
    assert "penstock.webhook.test" in owed.stdout
    assert gone.returncode == 2
    assert "no subscription 'alerts'" in gone.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "--url URL for a webhook, or --bus"),
        ((*HOOK, "--bus"), "--url URL for a webhook, or --bus"),
        (("--bus", "--secret-file", "kept"), "leave --secret-file out"),
        (("--bus", "--rate", "5"), "leave `url` and `rate_per_second` out"),
        ((*HOOK, "--pipeline", "No Such"), "pipeline"),
        ((*HOOK, "--type", "penstock.run.faild"), "no event has the type 'penstock.run.faild': there are penstock.run.started"),
        ((*HOOK, "--secret-file", "taken"), "name a new file"),
    ],
)
def test_what_can_t_be_is_refused_with_what_to_do(tmp_path: Path, arguments: tuple[str, ...], complaint: str) -> None:
    (tmp_path / "taken").touch()

    refused = penstock(tmp_path, "subscriptions", "create", "alerts", *arguments)

    assert refused.returncode == 2
    assert complaint in refused.stderr
    assert not (tmp_path / "kept").exists()
