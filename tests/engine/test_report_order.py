"""Reports may come twice and in any order: a run ends the same."""

import random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from penstock.contracts.messages import Completed, Failure, Order, RunOptions, Started
from penstock.contracts.spec import EachSpec, PipelineSpec, StepSpec, encode_spec
from penstock.contracts.states import AttemptState, FailureKind
from penstock.engine.core.plan import plan_of
from penstock.engine.core.wants import Fact, Fired
from tests.engine.conftest import copy_of
from tests.engine.ledger import RUNNER, Ledger
from tests.simulation.pipelines import has_until, is_long, random_pipeline
from tests.simulation.work import result_of

Ending = tuple[str, list[tuple[str, str, str, bytes | None]]]


def options(spec: PipelineSpec) -> RunOptions:
    """The ledger serves one pool."""
    return RunOptions(keep_going=True, pools={step.name: "cpu" for step in spec.steps})


def report_on(ledger: Ledger, spec: PipelineSpec, order: Order) -> Completed:
    """What its runner says: one key in seven fails."""
    step = plan_of(encode_spec(spec)).nodes[order.attempt.step_no].spec
    assert isinstance(step, StepSpec)
    token = ledger.token(order.attempt)
    if int(order.seed[:4], 16) % 7 == 0:
        told = Failure(kind=FailureKind.ERROR, message="boom")
        return Completed(attempt=order.attempt, token=token, runner=RUNNER, outcome=AttemptState.FAILED, failure=told)
    value, _ = result_of(order, step)
    return Completed(attempt=order.attempt, token=token, runner=RUNNER, outcome=AttemptState.SUCCEEDED, outputs={"result": value})


def ending(ledger: Ledger, spec: PipelineSpec, run: int) -> Ending:
    """By the paths of items: inside of fan-outs in fan-outs their numbers, which are a fan-out's outputs, follow the order of reports."""
    items = ledger.connection.exec_driver_sql("SELECT each_node, item, path FROM fan_item WHERE run_no = ?", (run,))
    paths: dict[tuple[int, int], str] = {(row[0], row[1]): row[2] for row in items}
    found: list[tuple[str, str, str, bytes | None]] = []
    nodes = plan_of(encode_spec(spec)).nodes
    for row in ledger.connection.exec_driver_sql("SELECT node, item, state, outputs FROM step_run WHERE run_no = ?", (run,)):
        node = nodes[int(row[0])]
        path = paths[node.chain[-1], row[1]] if node.chain else ""
        found.append((node.name, path, row[2], None if isinstance(node.spec, EachSpec) else row[3]))
    return ledger.run(run).split(":")[0], sorted(found, key=lambda row: row[:2])


def in_order(ledger: Ledger, spec: PipelineSpec) -> Ending:
    run = ledger.submit(spec, options=options(spec))
    reported = 0
    while reported < len(ledger.orders):
        ledger.tell(run, report_on(ledger, spec, ledger.orders[reported]))
        reported += 1
        fire_all(ledger, run)
    return ending(ledger, spec, run)


def out_of_order(ledger: Ledger, spec: PipelineSpec, rng: random.Random) -> Ending:
    """Any order may be reported next, several in one transaction, with old reports and starts among them."""
    run = ledger.submit(spec, options=options(spec))
    pending: list[Order] = []
    told: list[Fact] = []
    seen = 0
    while True:
        pending += ledger.orders[seen:]
        seen = len(ledger.orders)
        if not pending:
            return ending(ledger, spec, run)
        rng.shuffle(pending)
        count = rng.randint(1, 3)
        now, pending = pending[:count], pending[count:]
        facts: list[Fact] = [report_on(ledger, spec, order) for order in now]
        told += facts
        facts += [Started(attempt=order.attempt, token=ledger.token(order.attempt), runner=RUNNER) for order in now]
        facts += rng.choices(told, k=rng.randint(0, 3))
        rng.shuffle(facts)
        ledger.tell(run, *facts)
        fire_all(ledger, run)


def fire_all(ledger: Ledger, run: int) -> None:
    """Lets every timer of the run fire."""
    while timers := ledger.connection.exec_driver_sql("SELECT kind, node, item, fire_at FROM timer WHERE run_no = ?", (run,)).fetchall():
        for kind, node, item, fire_at in timers:
            ledger.now = max(ledger.now, fire_at)
            ledger.tell(run, Fired(kind, (node, item)))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 100_000), shuffle=st.integers(0, 1000))
def test_repeated_and_reordered_reports_end_in_the_same_state(empty_store: Connection, seed: int, shuffle: int) -> None:
    # A hook is told how long its run took, which the order changes.
    spec = random_pipeline(random.Random(seed)).model_copy(update={"hooks": {}})
    if has_until(spec) or is_long(spec):
        return

    with copy_of(empty_store) as first, copy_of(empty_store) as second:
        straight = in_order(Ledger(first), spec)
        mixed = out_of_order(Ledger(second), spec, random.Random(shuffle))

    assert mixed == straight
