"""What is not as it must be on the broker, and how what the management API lists differs from what is wanted. No I/O."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from penstock.transport.buses.rabbitmq.management import Listed, Observed
from penstock.transport.buses.rabbitmq.policies import POLICIES, Governs, Policy
from penstock.transport.buses.rabbitmq.topology import DeclaredExchange, DeclaredQueue, Topology

APPLY = "penstock topology apply"


class FindingKind(StrEnum):
    MISSING = "missing"
    DIFFERENT = "different"
    LEADERLESS = "leaderless"
    """It exists, and takes and gives nothing."""
    UNCHECKED = "unchecked"
    """It could not be seen; nothing says that it is wrong."""


@dataclass(frozen=True, slots=True)
class Finding:
    kind: FindingKind
    subject: str
    what: str
    remedy: str = APPLY
    """A command, or what to do."""

    @property
    def is_fault(self) -> bool:
        return self.kind is not FindingKind.UNCHECKED


def missing(subject: str) -> Finding:
    return Finding(FindingKind.MISSING, subject, "it does not exist")


def otherwise(subject: str, what: str, virtual_host: str) -> Finding:
    """Of an exchange or queue that can't be changed, only made anew."""
    kind, name = subject.split(" ", 1)
    command = f"rabbitmqctl delete_queue --vhost {virtual_host} {name}" if kind == "queue" else f"delete exchange {name}"
    return Finding(FindingKind.DIFFERENT, subject, what, f"{command}, then {APPLY}; no work is lost, orders are sent again")


def wedged(queue: str) -> Finding:
    return Finding(FindingKind.LEADERLESS, f"queue {queue}", "no leader answers: nothing gets in or out", f"{APPLY} makes it anew")


def differences(wanted: Topology, observed: Observed, virtual_host: str) -> list[Finding]:
    exchanges = {str(listed["name"]): listed for listed in observed.exchanges}
    queues = {str(listed["name"]): listed for listed in observed.queues}
    bound = {(listed["source"], listed["destination"], listed["routing_key"]) for listed in observed.bindings}
    found = [finding for exchange in wanted.exchanges for finding in _exchange(exchange, exchanges, virtual_host)]
    found += [finding for queue in wanted.queues for finding in _queue(queue, queues, virtual_host)]
    found += [
        missing(f"binding of {binding.queue} to {binding.exchange} by {binding.key!r}")
        for binding in wanted.bindings
        if (binding.exchange, binding.queue, binding.key) not in bound
    ]
    return found + _about_policies(wanted, observed.policies)


def _about_policies(wanted: Topology, listed: Sequence[Listed]) -> list[Finding]:
    """A policy of the operator's own may stand in the place of ours if it says all that ours says."""
    policies = {str(policy["name"]): policy for policy in listed}
    governed = [(Governs.QUEUES, queue.name) for queue in wanted.queues] + [
        (Governs.EXCHANGES, exchange.name) for exchange in wanted.exchanges
    ]
    found = [finding for policy in POLICIES for finding in policy_differences(policy, policies.get(policy.name))]
    return found + [finding for governs, name in governed for finding in _governed(governs, name, listed)]


def _exchange(wanted: DeclaredExchange, exchanges: dict[str, Listed], virtual_host: str) -> Iterator[Finding]:
    subject = f"exchange {wanted.name}"
    listed = exchanges.get(wanted.name)
    if listed is None:
        yield missing(subject)
    elif (listed["type"], listed["durable"]) != (wanted.kind.value, True):
        durable = "durable" if listed["durable"] else "not durable"
        yield otherwise(subject, f"it is {listed['type']} and {durable}, and must be {wanted.kind.value} and durable", virtual_host)


def _queue(wanted: DeclaredQueue, queues: dict[str, Listed], virtual_host: str) -> Iterator[Finding]:
    subject = f"queue {wanted.name}"
    listed = queues.get(wanted.name)
    if listed is None:
        yield missing(subject)
        return
    # A queue that was declared without a type has the default one.
    arguments = {"x-queue-type": listed.get("type", "classic"), **listed["arguments"]}
    if arguments != wanted.arguments or not listed["durable"]:
        yield otherwise(subject, f"it was declared with {arguments}, and must be durable with {wanted.arguments}", virtual_host)
    members, online = listed.get("members"), listed.get("online")
    if members and online is not None and len(online) * 2 <= len(members):
        what = f"only {len(online)} of its {len(members)} members are online, which is no majority"
        yield Finding(FindingKind.LEADERLESS, subject, what, f"start the nodes {', '.join(sorted(set(members) - set(online)))}")


def policy_differences(wanted: Policy, listed: Listed | None) -> Iterator[Finding]:
    subject = f"policy {wanted.name}"
    if listed is None:
        yield missing(subject)
    elif lacking := _lacking(wanted, listed):
        yield Finding(FindingKind.DIFFERENT, subject, f"its definition must say {lacking}")
    elif (listed["pattern"], listed["apply-to"]) != (wanted.pattern, wanted.governs.value):
        yield Finding(FindingKind.DIFFERENT, subject, f"it must apply to {wanted.governs.value} that match {wanted.pattern}")


def _governed(governs: Governs, name: str, listed: Sequence[Listed]) -> Iterator[Finding]:
    """Which policy governs is concluded from all of them: the broker's own lists tell it seconds later."""
    for wanted in (policy for policy in POLICIES if policy.matches(governs, name)):
        for rival in listed:
            if rival["name"] == wanted.name or rival["priority"] < wanted.priority or not _matches(rival, governs, name):
                continue
            if lacking := _lacking(wanted, rival):
                what = (
                    f"the policy {rival['name']} (priority {rival['priority']}) governs it, not {wanted.name}, and does not say {lacking}"
                )
                remedy = f"add that to {rival['name']}, or lower its priority below {wanted.priority}"
                yield Finding(FindingKind.DIFFERENT, f"{governs.value.removesuffix('s')} {name}", what, remedy)


def _matches(listed: Listed, governs: Governs, name: str) -> bool:
    # "quorum_queues" and "classic_queues" there are since RabbitMQ 3.12.
    if listed["apply-to"] != "all" and not str(listed["apply-to"]).endswith(governs.value):
        return False
    try:
        return re.search(str(listed["pattern"]), name) is not None
    except re.error:  # the broker's expressions know more than ours
        return False


def _lacking(wanted: Policy, listed: Listed) -> str:
    definition = listed["definition"]
    return ", ".join(f"{key}={value}" for key, value in wanted.definition.items() if definition.get(key) != value)
