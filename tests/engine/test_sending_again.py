"""Orders that nobody takes are sent again, in pauses that grow."""

from itertools import pairwise

from tests.engine.ledger import Ledger
from tests.engine.small_pipelines import pipeline, step

SECOND = 1_000_000
PATIENCE = 30 * SECOND


def sends(ledger: Ledger, until: int) -> list[int]:
    """The seconds after the first sending at which a coordinator that looks each second sends the order again."""
    [order] = ledger.orders
    first, times = ledger.now, list[int]()
    ledger.mark_sent(order)
    for second in range(1, until):
        ledger.now = first + second * SECOND
        if ledger.unsent(PATIENCE):
            times.append(second)
            ledger.mark_sent(order)
    return times


def test_the_pauses_grow_to_ten_minutes(ledger: Ledger) -> None:
    ledger.submit(pipeline(step("waits")))

    times = sends(ledger, 4 * 3600)

    pauses = [later - earlier for earlier, later in pairwise([0, *times])]
    assert pauses[0] in (30, 31)
    assert pauses == sorted(pauses)
    assert 600 < pauses[-1] < 660
