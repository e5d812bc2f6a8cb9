"""What is told of a broker, from what its management API lists."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from penstock.transport.bus import DEAD, INBOX, Exchange
from penstock.transport.buses.rabbitmq.definitions import definitions
from penstock.transport.buses.rabbitmq.finding import Finding, FindingKind, differences
from penstock.transport.buses.rabbitmq.management import Observed
from penstock.transport.buses.rabbitmq.topology import topology

WANTED = topology([("default", "cpu")])


def as_wanted() -> Observed:
    """What the API lists of a broker on which everything is as it must be."""
    listed: dict[str, list[dict[str, Any]]] = definitions(WANTED, "/")
    queues = [{**queue, "type": "quorum", "members": ["a", "b", "c"], "online": ["a", "b"]} for queue in listed["queues"]]
    return Observed(listed["exchanges"], queues, listed["bindings"], listed["policies"])


def changed(things: Sequence[Any], name: str, **values: Any) -> list[Any]:
    return [{**thing, **values} if thing["name"] == name else thing for thing in things]


def told(observed: Observed) -> Finding:
    (finding,) = differences(WANTED, observed, "/")
    return finding


def test_nothing_is_told_of_what_is_as_it_must_be() -> None:
    assert differences(WANTED, as_wanted(), "/") == []


def test_everything_is_missing_on_an_empty_broker() -> None:
    found = differences(WANTED, Observed([], [], [], []), "/")

    assert {finding.kind for finding in found} == {FindingKind.MISSING}
    assert len(found) == len(WANTED.exchanges) + len(WANTED.queues) + len(WANTED.bindings) + 4


def test_a_binding_that_is_gone_is_missing() -> None:
    whole = as_wanted()

    finding = told(replace(whole, bindings=[binding for binding in whole.bindings if binding["destination"] != INBOX]))

    assert finding == Finding(FindingKind.MISSING, "binding of penstock.inbox to penstock.reports by '#'", "it does not exist")


def test_a_queue_whose_majority_is_offline_has_no_leader() -> None:
    whole = as_wanted()

    finding = told(replace(whole, queues=changed(whole.queues, INBOX, online=["b"])))

    assert (finding.kind, finding.what) == (FindingKind.LEADERLESS, "only 1 of its 3 members are online, which is no majority")
    assert finding.remedy == "start the nodes a, c"


def test_a_queue_that_is_not_a_quorum_queue_is_different() -> None:
    whole = as_wanted()

    finding = told(replace(whole, queues=changed(whole.queues, DEAD, type="classic", arguments={})))

    assert (finding.kind, finding.subject) == (FindingKind.DIFFERENT, "queue penstock.dead")
    assert finding.remedy.startswith("rabbitmqctl delete_queue --vhost / penstock.dead, then penstock topology apply")


def test_an_exchange_of_another_type_is_different() -> None:
    whole = as_wanted()

    finding = told(replace(whole, exchanges=changed(whole.exchanges, Exchange.VITALS, type="topic")))

    assert finding.what == "it is topic and durable, and must be fanout and durable"


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"definition": {"overflow": "drop-head", "delivery-limit": 1_000_000_000}}, "its definition must say overflow=reject-publish"),
        ({"pattern": "^x$"}, r"it must apply to queues that match ^penstock\.dead$"),
        ({"apply-to": "exchanges"}, r"it must apply to queues that match ^penstock\.dead$"),
    ],
)
def test_a_policy_that_says_something_else_is_different(values: dict[str, Any], what: str) -> None:
    whole = as_wanted()

    finding = told(replace(whole, policies=changed(whole.policies, "penstock-dead", **values)))

    assert (finding.kind, finding.subject, finding.what) == (FindingKind.DIFFERENT, "policy penstock-dead", what)


def own(name: str, **values: Any) -> dict[str, Any]:
    definition = {"overflow": "reject-publish", "delivery-limit": 1_000_000_000, "max-length": 5}
    return {"name": name, "pattern": r"dead$", "apply-to": "quorum_queues", "definition": definition, "priority": 99, **values}


@pytest.mark.parametrize(
    "policy", [own("whole"), own("weaker", definition={}, priority=1), own("elsewhere", definition={}, pattern="^other")]
)
def test_an_operators_policy_that_takes_nothing_away_is_welcome(policy: dict[str, Any]) -> None:
    whole = as_wanted()

    assert differences(WANTED, replace(whole, policies=[*whole.policies, policy]), "/") == []


def test_an_operators_policy_that_takes_something_away_is_told() -> None:
    whole = as_wanted()

    finding = told(replace(whole, policies=[*whole.policies, own("short", definition={"overflow": "reject-publish"})]))

    assert finding.subject == "queue penstock.dead"
    assert finding.what == "the policy short (priority 99) governs it, not penstock-dead, and does not say delivery-limit=1000000000"
