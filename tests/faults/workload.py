"""Pipelines for the fault suite: a mixture of fan-outs, chains, joins and retries, and steps that last. Every execution is witnessed."""

import time
from collections.abc import Sequence
from pathlib import Path

from penstock.sdk import Retry, collect, each, pipeline, step
from tests.faults.witness import RAISE, Journal, note, witnessed

LINKS = 10
STUMBLES = 7
"""Every so many items an execution fails at its first try."""


@step
def begin(x: int, journal: str, milliseconds: int) -> int:
    with witnessed(journal, f"begin/{x}"):
        time.sleep(milliseconds / 1000)
        return x + 1


@step
def double(x: int, journal: str, milliseconds: int) -> int:
    with witnessed(journal, f"double/{x}"):
        time.sleep(milliseconds / 1000)
        return x * 2


@step(retries=Retry(3, delay=0.05, jitter=0.0))
def stumble(x: int, journal: str) -> int:
    """Fails for some items, once."""
    label = f"stumble/{x}"
    with witnessed(journal, label) as execution:
        if (x // 2) % STUMBLES == 0 and not Journal(Path(journal)).counts(RAISE)[label]:
            note(journal, label, RAISE, execution)
            raise ConnectionError("it failed at its first try")
        return x


@step
def total(xs: Sequence[int], journal: str) -> int:
    with witnessed(journal, "total"):
        return sum(xs)


@step
def link(x: int, journal: str, milliseconds: int) -> int:
    with witnessed(journal, f"link/{x}"):
        time.sleep(milliseconds / 1000)
        return x + 1


@step
def join(one: int, other: int, journal: str) -> int:
    with witnessed(journal, "join"):
        return one + other


@pipeline
def mixed(items: Sequence[int], journal: str, milliseconds: int = 20) -> int:
    """Three steps an item, and 22 more: the last ten links of one chain begin when all items are done."""
    begun = begin(each(items), journal, milliseconds)
    stumbled = stumble(double(begun, journal, milliseconds), journal)
    last = total(collect(stumbled), journal)
    side = -1000
    for _ in range(LINKS):
        side = link(side, journal, milliseconds)
        last = link(last, journal, milliseconds)
    return join(last, side, journal)


def steps_of_mixed(items: int) -> int:
    return 3 * items + 2 * LINKS + 2


def result_of_mixed(items: Sequence[int]) -> int:
    """What it returns without faults."""
    return sum((x + 1) * 2 for x in items) + LINKS - 1000 + LINKS


def rest(seconds: float, gate: str) -> None:
    """For so long, or until there is a file of the name `gate`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not (gate and Path(gate).exists()):
        time.sleep(0.05)


@step
def last_long(label: str, journal: str, seconds: float, gate: str) -> str:
    with witnessed(journal, label):
        rest(seconds, gate)
        return label


@pipeline
def lasting(label: str, journal: str, seconds: float, gate: str = "") -> str:
    return last_long(label, journal, seconds, gate)


@step(idempotent=False)
def once_only(label: str, journal: str, seconds: float) -> str:
    with witnessed(journal, label):
        time.sleep(seconds)
        return label


@pipeline
def delicate(label: str, journal: str, seconds: float) -> str:
    return once_only(label, journal, seconds)


@step
def uneven(label: str, journal: str, first_seconds: float, later_seconds: float, gate: str) -> str:
    """Its first execution lasts until the gate is open, for `first_seconds` at most; others last for `later_seconds`."""
    is_first = not Journal(Path(journal)).counts()[label]
    with witnessed(journal, label):
        rest(first_seconds if is_first else later_seconds, gate if is_first else "")
        return label


@pipeline
def two_lengths(label: str, journal: str, first_seconds: float, later_seconds: float) -> str:
    return uneven(label, journal, first_seconds, later_seconds, "")


FAR = "far"
"""The pool whose runners are on hosts that can be cut off."""


@pipeline
def two_fates(journal: str, gate: str, later_seconds: float) -> tuple[str, str]:
    """One step run's second execution is quick, the other's is slow. Both are on hosts of their own."""
    elsewhere = uneven.options(name="elsewhere", pool=FAR)("elsewhere", journal, 600.0, 0.1, gate)
    adopted = uneven.options(name="adopted", pool=FAR)("adopted", journal, 600.0, later_seconds, gate)
    return elsewhere, adopted
