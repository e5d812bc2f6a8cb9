"""What happens where an input of an attempt is gone or corrupt: whatever made it makes it again."""

from collections.abc import Generator

from penstock.contracts.artifacts import refs_in
from penstock.contracts.messages import Failure
from penstock.contracts.spec import CollectSpec
from penstock.contracts.states import FailureKind, StepState
from penstock.engine.core.fan import written
from penstock.engine.core.plan import Alignment, Edge
from penstock.engine.core.retry import INFRASTRUCTURE_BUDGET
from penstock.engine.core.rows import RECOMPUTED, Key, StepRow
from penstock.engine.core.slice import Slice, Steps
from penstock.engine.core.wants import Groups, Members, StepRuns, Want


def input_lost(rows: Slice, row: StepRow, digest: str) -> Steps:
    """An input is gone or corrupt: whatever made it makes it again, and the step run waits for it."""
    rows.changes.lost_digests.append(digest)
    producers = yield from _producers(rows, row, digest)
    if not producers:
        message = f"the input {digest} is gone or corrupt, and no step of this run can make it again"
        rows.fail(row, Failure(kind=FailureKind.ENVIRONMENT, message=message, hint="Give the run its inputs again: submit it anew."))
        return
    row.losses += 1
    if row.losses > INFRASTRUCTURE_BUDGET:
        rows.fail(row, Failure(kind=FailureKind.ENVIRONMENT, message=f"the input {digest} was lost again and again"))
        return
    rows.touch(row)
    for producer in producers:
        yield from _revive(rows, producer)
    rows.again(row)


def _producers(rows: Slice, row: StepRow, digest: str) -> Generator[Want, None, list[StepRow]]:
    """The step runs whose outputs hold `digest`, looking through collects."""
    at = yield from rows.position(rows.plan.nodes[row.node], row.item, row.parent_item)
    pending = rows.parents_at(rows.plan.nodes[row.node], at)
    yield StepRuns(rows.unknown(pending))
    found = [rows.steps[key] for key in pending if _holds(rows.steps[key], digest)]
    for key in pending:
        if isinstance(rows.plan.nodes[key[0]].spec, CollectSpec):
            members = yield from _members_of(rows, rows.steps[key])
            found += [member for member in members if _holds(member, digest)]
    # One that is being made again already is waited for, too.
    return [row for row in found if row.state is StepState.SUCCEEDED or not row.state.is_terminal]


def _holds(row: StepRow, digest: str) -> bool:
    if row.outputs is None:
        return False
    return any(ref.digest == digest for value in row.values().values() for ref in refs_in(value))


def _members_of(rows: Slice, collect: StepRow) -> Generator[Want, None, list[StepRow]]:
    members: list[StepRow] = []
    for number in rows.plan.parents(collect.node, Alignment.GROUP):
        if (number, collect.item) not in rows.groups:
            yield Groups([(number, collect.item)])
        group = rows.groups.get((number, collect.item))
        if group is not None:
            yield Members(number, group.base, group.total)
            members += [rows.steps[number, item] for item in range(group.base, group.base + group.total)]
    return members


def _revive(rows: Slice, producer: StepRow) -> Steps:
    """Executes an ended step run again; those that wait for other things wait for it too."""
    if producer.state is not StepState.SUCCEEDED:
        return
    rows.touch(producer)
    rows.run.open += 1
    if producer.key is not None:
        rows.changes.cache_dropped.append(producer.key)
        rows.cache[producer.key] = None
    producer.flags |= RECOMPUTED
    rows.note("step.recomputed", producer)
    producer.ended_at = producer.hit_run = producer.hit_at = None
    yield from _wait_again(rows, producer)
    if isinstance(rows.plan.nodes[producer.node].spec, CollectSpec):
        rows.again(producer)
    else:
        producer.state, producer.waiting = StepState.WAITING, 0
        rows.startable.append(producer)


def _wait_again(rows: Slice, producer: StepRow) -> Steps:
    waiting = yield from _children(rows, producer)
    if rows.plan.nodes[producer.node].chain:
        key = (producer.node, producer.parent_item)
        if key not in rows.groups:
            yield Groups([key])
        group = rows.touch_group(rows.groups[key])
        if group.remaining == 0:
            collects = [(edge.child, producer.parent_item) for edge in _edges(rows, producer, Alignment.GROUP)]
            yield StepRuns(rows.unknown(collects))
            waiting += collects
        group.remaining += 1
    for place in waiting:
        row = rows.steps.get(place)
        if row is not None and row.state is StepState.WAITING:
            rows.touch(row)
            row.waiting += 1


def _edges(rows: Slice, producer: StepRow, alignment: Alignment) -> list[Edge]:
    return [edge for edge in rows.plan.nodes[producer.node].edges_out if edge.alignment is alignment]


def _children(rows: Slice, producer: StepRow) -> Generator[Want, None, list[Key]]:
    """The step runs that take what `producer` makes, beside it and in the fan-outs below it."""
    children = [(edge.child, producer.item) for edge in _edges(rows, producer, Alignment.SAME)]
    yield StepRuns(rows.unknown(children))
    for edge in _edges(rows, producer, Alignment.OUTER):
        around = [producer.item]
        for each in rows.plan.nodes[edge.child].chain[len(rows.plan.nodes[producer.node].chain) :]:
            yield StepRuns(rows.unknown([(each, item) for item in around]))
            ranges = [written(rows.steps[each, item]) for item in around if (each, item) in rows.steps]
            around = [item for low, high in ranges for item in range(low, high)]
        yield StepRuns(rows.unknown([(edge.child, item) for item in around]))
        children += [(edge.child, item) for item in around]
    return children
