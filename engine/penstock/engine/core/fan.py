"""Fan-out and fan-in: `each` writes items down, `collect` puts what became of them into a list."""

from collections.abc import Generator, Sequence

from penstock.contracts.artifacts import NULL, ArtifactRef, ListValue, Value, inline, refs_in
from penstock.contracts.bindings import FromNode, walk
from penstock.contracts.errors import ContractError
from penstock.contracts.messages import Failure
from penstock.contracts.spec import CollectSpec, EachSpec
from penstock.contracts.states import FailureKind, StepState
from penstock.engine.core.plan import Alignment
from penstock.engine.core.resolve import Position, plain_value
from penstock.engine.core.rows import GroupRow, ItemRow, StepRow, pack_value, pack_values, unpack_values
from penstock.engine.core.slice import Slice, Steps
from penstock.engine.core.wants import Collected, Expand, Groups, Items, Members, NextItem, StepRuns, Want

CHUNK = 1000
"""Items of a fan-out written down in one transaction."""
DIRECT = 64
DIRECT_BYTES = 64 * 1024
"""A list of at most so many refs and bytes travels as it is; a longer one as a manifest in the artifact store."""


def written(each: StepRow) -> tuple[int, int]:
    """The item numbers [first, after last) that a fan-out has written down so far."""
    if each.outputs is None:
        return (0, 0)
    base = int(plain_value(each.values()["base"]))
    return (base, base + each.cursor)


def direct_items(value: Value) -> list[Value] | None:
    """The items of a list that travels as it is; None where they are in a manifest.

    :raises ContractError: it is not a list.
    """
    match value:
        case ListValue():
            return list(value.list)
        case ArtifactRef(kind="list"):
            return None
        case ArtifactRef() if (items := value.json_list()) is not None:
            return [inline(item) for item in items]
        case _:
            raise ContractError("each() got something that is not a list")


def shaped(lists: Sequence[list[Value]], batch: int | None) -> list[Value]:
    """The items that a fan-out over `lists` gives: of one list as they are, of several zipped, or batches.

    :raises ContractError: zipped lists differ in length.
    """
    if len(lists) > 1:
        if len({len(items) for items in lists}) > 1:
            raise ContractError(f"each() zips lists of different lengths: {', '.join(str(len(items)) for items in lists)}")
        return [ListValue(list=parts) for parts in zip(*lists, strict=True)]
    items = lists[0]
    if batch is None:
        return items
    return [ListValue(list=tuple(items[start : start + batch])) for start in range(0, len(items), batch)]


def open_fan(rows: Slice, row: StepRow, spec: EachSpec, at: Position) -> Steps:
    """Everything the fan-out needs is there: its items are written down, at once where they are few and travel as they are."""
    sources = [rows.surroundings.resolve(binding, at) for binding in spec.each]
    present = [source for source in sources if source is not None]
    rows.touch(row)
    if len(present) < len(sources):
        rows.end(row, StepState.SKIPPED, "its list was skipped")
        return
    row.state = StepState.EXPANDING
    lists = [direct_items(source) for source in present]
    direct = [items for items in lists if items is not None]
    if len(direct) == len(lists):
        items = shaped(direct, spec.batch)
        if len(items) <= CHUNK:
            yield from expand(rows, Expand(row.place, 0, len(items), [pack_value(item) for item in items]))
            return
    row.inputs = pack_values({str(number): source for number, source in enumerate(present)})


def expand(rows: Slice, fact: Expand) -> Steps:
    """Writes the next items down, and the step runs that they bring."""
    yield StepRuns(rows.unknown([fact.place]))
    each = rows.steps[fact.place]
    if each.state is not StepState.EXPANDING or each.cursor != fact.start:
        return
    rows.touch(each)
    inside = rows.wanted(rows.plan.inside(each.node))
    if each.outputs is None:
        yield from _open_groups(rows, each, inside, fact.total)
    base, first = int(plain_value(each.values()["base"])), each.cursor
    node = rows.plan.nodes[each.node]
    around = yield from rows.position(node, each.item, each.parent_item)
    path = yield from _path(rows, each)
    missing = yield from _missing_edges(rows, inside, around)
    each.cursor += len(fact.values)
    for number, value in enumerate(fact.values, start=first):
        item = ItemRow(each=each.node, item=base + number, parent_item=each.item, path=(*path, number), value=value)
        rows.items[each.node, item.item] = item
        rows.new_items.append(item)
        for inner in inside:
            rows.add_step(inner, item.item, each.item, missing[inner])
    if each.cursor == fact.total:
        rows.end(each, StepState.SUCCEEDED)


def _open_groups(rows: Slice, each: StepRow, inside: list[int], total: int) -> Steps:
    yield NextItem([each.node])
    base = rows.next_item[each.node]
    rows.next_item[each.node] = base + total
    each.set_outputs({"base": inline(base), "total": inline(total)})
    for inner in inside:
        group = GroupRow(node=inner, parent_item=each.item, base=base, total=total, remaining=total, is_new=True)
        rows.groups[inner, each.item] = rows.touch_group(group)


def _path(rows: Slice, each: StepRow) -> Generator[Want, None, tuple[int, ...]]:
    chain = rows.plan.nodes[each.node].chain
    if not chain:
        return ()
    key = (chain[-1], each.item)
    if key not in rows.items:
        yield Items([key])
    return rows.items[key].path


def _missing_edges(rows: Slice, inside: list[int], around: Position) -> Generator[Want, None, dict[int, int]]:
    """For each node inside: how many edges have not arrived yet. What is outside and has ended is not waited for."""
    outer = {
        (edge.parent, around[len(rows.plan.nodes[edge.parent].chain)])
        for inner in inside
        for edge in rows.plan.nodes[inner].edges_in
        if edge.alignment is Alignment.OUTER
    }
    yield StepRuns(rows.unknown(sorted(outer)))
    # What ended in this very decision has yet to tell its children, these among them.
    untold = {row.place for row in rows.finished}
    arrived = {place for place in outer if rows.steps[place].state.is_terminal and place not in untold}
    missing: dict[int, int] = {}
    for inner in inside:
        edges = rows.plan.nodes[inner].edges_in
        missing[inner] = len(edges) - sum(
            edge.alignment is Alignment.OUTER and (edge.parent, around[len(rows.plan.nodes[edge.parent].chain)]) in arrived
            for edge in edges
        )
    return missing


def close_fan(rows: Slice, row: StepRow, spec: CollectSpec, at: Position) -> Steps:
    """All items have ended: their list, made at once where it is short, else by the coordinator outside of the transaction."""
    each = rows.steps[rows.plan.numbers[spec.over], row.item]
    rows.touch(row)
    if each.state is not StepState.SUCCEEDED:
        rows.end(row, StepState.SKIPPED, f"its fan-out {each.state.value}")
        return
    base, after = written(each)
    if after - base > DIRECT:
        row.state = StepState.COLLECTING
        return
    values = yield from gather(rows, row, spec, at)
    if isinstance(values, Failure):
        _give_up(rows, row, spec, values)
        return
    if sum(len(ref.uri) for value in values for ref in refs_in(value)) > DIRECT_BYTES:
        row.state = StepState.COLLECTING
        return
    row.set_outputs({"result": ListValue(list=tuple(values))})
    rows.end(row, StepState.SUCCEEDED)


def gather(rows: Slice, row: StepRow, spec: CollectSpec, at: Position) -> Generator[Want, None, list[Value] | Failure]:
    """The values of a collect in item order, or why there is no list."""
    each = rows.plan.numbers[spec.over]
    base, after = written(rows.steps[each, row.item])
    for number in rows.plan.parents(row.node, Alignment.GROUP):
        yield Members(number, base, after - base)
    yield Items([(each, item) for item in range(base, after)])
    values: list[Value] = []
    missing: str | None = None
    for item in range(base, after):
        value = rows.surroundings.resolve(spec.collect, (*at, item))
        if value is not None:
            values.append(value)
        elif spec.missing == "none":
            values.append(NULL)
        elif missing is None and not (spec.until is not None and _was_dropped(rows, row, item)):
            missing = _what_misses(rows, row, item)
    total = after - base
    if spec.missing == "fail" and missing is not None:
        return Failure(kind=FailureKind.ERROR, message=missing)
    if spec.until is None and total and len(values) < spec.at_least * total:
        return Failure(
            kind=FailureKind.ERROR,
            message=f"{len(values)} of {total} items are there, {spec.at_least:.0%} were asked for (first missing: {missing})",
            hint="collect(..., at_least=0.9) takes a list of nine in ten.",
        )
    return values


def _give_up(rows: Slice, row: StepRow, spec: CollectSpec, failure: Failure) -> None:
    if spec.missing == "fail":
        rows.end(row, StepState.SKIPPED, failure.message)
    else:
        rows.fail(row, failure)


def _was_dropped(rows: Slice, row: StepRow, item: int) -> bool:
    members = (rows.steps[number, item] for number in rows.plan.parents(row.node, Alignment.GROUP))
    return any(member.state is StepState.CANCELLED for member in members)


def _what_misses(rows: Slice, row: StepRow, item: int) -> str:
    for number in rows.plan.parents(row.node, Alignment.GROUP):
        member = rows.steps[number, item]
        if member.state is not StepState.SUCCEEDED:
            return f"{rows.label(member)} {member.state.value}"
    return f"item {item} has no value"


def collected(rows: Slice, fact: Collected) -> Steps:
    """A long list is in the artifact store, or can't be made."""
    yield StepRuns(rows.unknown([fact.place]))
    row = rows.steps[fact.place]
    spec = rows.plan.nodes[row.node].spec
    if row.state is not StepState.COLLECTING or not isinstance(spec, CollectSpec):
        return
    rows.touch(row)
    if fact.failure is not None:
        _give_up(rows, row, spec, Failure(kind=FailureKind.ERROR, message=fact.failure))
        return
    row.outputs, row.unpacked = fact.outputs, unpack_values(fact.outputs)
    rows.end(row, StepState.SUCCEEDED)


def until(rows: Slice, collect: int, row: StepRow) -> Steps:
    """An item has ended: where the collect's `until` holds for it, the others are not needed."""
    spec = rows.plan.nodes[collect].spec
    if row.state is not StepState.SUCCEEDED or not isinstance(spec, CollectSpec) or spec.until is None:
        return
    at = yield from rows.position(rows.plan.nodes[row.node], row.item, row.parent_item)
    sources = [rows.plan.numbers[part.node] for part in walk(spec.until) if isinstance(part, FromNode)]
    keys = [(number, at[len(rows.plan.nodes[number].chain)]) for number in sources]
    yield StepRuns(rows.unknown(keys))
    if not all(rows.steps[key].state.is_terminal for key in keys):
        return
    value = rows.surroundings.resolve(spec.until, at)
    if value is None or not plain_value(value):
        return
    each = rows.plan.numbers[spec.over]
    parent = at[len(rows.plan.nodes[each].chain)]
    yield StepRuns(rows.unknown([(each, parent)]))
    yield from _drop_rest(rows, rows.steps[each, parent])


def _drop_rest(rows: Slice, each: StepRow) -> Steps:
    """Cancels everything in a fan-out that has not ended; nothing more of it is written down."""
    base, after = written(each)
    inside = rows.wanted(rows.plan.inside(each.node))
    for inner in inside:
        yield Members(inner, base, after - base)
        yield Groups([key for key in [(inner, each.item)] if key not in rows.groups])
        group = rows.touch_group(rows.groups[inner, each.item])
        unwritten = group.total - (after - base)
        group.remaining -= unwritten
        group.total = after - base
        if unwritten and group.remaining == 0:
            # All that was written down has ended before: nothing else would tell.
            collects = [(edge.child, each.item) for edge in rows.plan.nodes[inner].edges_out if edge.alignment is Alignment.GROUP]
            yield StepRuns(rows.unknown(collects))
            for collect in collects:
                rows.arrive(collect)
        for item in range(base, after):
            row = rows.steps[inner, item]
            if rows.plan.inside(inner) and row.outputs is not None:
                yield from _drop_rest(rows, row)
            drop(rows, row)
    if each.state is StepState.EXPANDING:
        rows.touch(each)
        each.set_outputs({"base": inline(base), "total": inline(after - base)})
        rows.end(each, StepState.SUCCEEDED)


def drop(rows: Slice, row: StepRow) -> None:
    """Cancels one step run that is not needed any more."""
    if row.state.is_terminal:
        return
    if row.state is StepState.READY:
        rows.changes.unready.append(row.place)
    if row.state is StepState.RUNNING:
        rows.cancel_attempt(row, "it is not needed any more")
    rows.end(row, StepState.CANCELLED, "not needed any more")
