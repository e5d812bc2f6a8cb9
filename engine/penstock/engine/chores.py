"""What a run needs done outside of its transactions: lists read and written, cache hits checked. Each ends in a fact.

A chore is found again from the rows after a crash, and doing it twice is harmless.
"""

import json
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import msgpack
from sqlalchemy import Connection

from penstock.contracts.artifacts import LIST, ArtifactRef, Value, refs_in
from penstock.contracts.errors import ContractError
from penstock.contracts.messages import Failure
from penstock.contracts.spec import CollectSpec, EachSpec
from penstock.contracts.states import StepState
from penstock.engine.batch import Chore
from penstock.engine.core.decision import Decision
from penstock.engine.core.fan import CHUNK, direct_items, gather
from penstock.engine.core.rows import CacheRow, pack_values, unpack_values
from penstock.engine.core.slice import Circumstances
from penstock.engine.core.wants import Answered, Checked, Collected, Due, Expand, Fact, StepRuns
from penstock.engine.shared_entries import SharedEntries
from penstock.engine.slice_reader import load, load_plan, load_run
from penstock.engine.store import Store
from penstock.transport.artifact_store import ArtifactStore


class Chores:
    """Does chores. `circumstances` are those of the moment, for reading rows the way decisions do."""

    def __init__(self, store: Store, artifacts: ArtifactStore, shared: SharedEntries | None = None) -> None:
        self._store = store
        self._artifacts = artifacts
        self._shared = shared

    async def facts(self, chore: Chore, circumstances: Circumstances) -> AsyncIterator[Fact]:
        """The facts that come of a chore, each to be decided before the next is asked for."""
        place = (chore.node, chore.item)
        match chore.state:
            case StepState.WAITING:
                yield Due([place])
            case StepState.EXPANDING:
                async for fact in self._expand(chore, circumstances):
                    yield fact
            case StepState.COLLECTING:
                yield await self._collect(chore, circumstances)
            case StepState.CHECKING:
                yield await self._check(chore, circumstances)
            case _:
                return

    async def _expand(self, chore: Chore, circumstances: Circumstances) -> AsyncIterator[Fact]:
        place = (chore.node, chore.item)
        decision = await self._store.read(lambda connection: _loaded(connection, chore, circumstances))
        row = decision.steps[place]
        spec = decision.plan.nodes[chore.node].spec
        if row.state is not StepState.EXPANDING or not isinstance(spec, EachSpec):
            return
        sources = unpack_values(row.inputs)
        lists = [await self._packed(sources[str(number)]) for number in range(len(sources))]
        items = _packed_items(lists, spec.batch)
        for start in range(row.cursor, len(items) or 1, CHUNK):
            yield Expand(place, start, len(items), items[start : start + CHUNK])

    async def _packed(self, value: Value) -> list[Any]:
        """The items of a list as plain wire data, as little of it as possible made into objects."""
        direct = direct_items(value)
        if direct is not None:
            return [item.model_dump(exclude_defaults=True) for item in direct]
        assert isinstance(value, ArtifactRef)  # noqa: S101 - only refs are not direct
        items: list[Any] = json.loads(await self._bytes(value))["items"]
        return items

    async def _bytes(self, ref: ArtifactRef) -> bytes:
        return ref.inline_bytes() if ref.is_inline else (await self._artifacts.local(ref.digest)).read_bytes()

    async def _collect(self, chore: Chore, circumstances: Circumstances) -> Fact:
        place = (chore.node, chore.item)
        values = await self._store.read(lambda connection: _gathered(connection, chore, circumstances))
        if isinstance(values, Failure):
            return Collected(place, None, values.message)
        data = b'{"items":[' + b",".join(_encoded(values)) + b"]}"
        digest = await self._artifacts.write(data)
        ref = ArtifactRef(uri=f"cas:{digest}", digest=digest, size=len(data), kind="list", media_type=LIST)
        return Collected(place, pack_values({"result": ref}))

    async def _check(self, chore: Chore, circumstances: Circumstances) -> Fact:
        place = (chore.node, chore.item)
        decision = await self._store.read(lambda connection: _loaded(connection, chore, circumstances))
        row = decision.steps[place]
        if row.outputs is None:
            return Answered(place, await self._known_elsewhere(decision.run.workspace, row.key, circumstances.now))
        return Checked(place, tuple(sorted(await self._lost_bytes(row.values().values()))))

    async def _known_elsewhere(self, workspace: str, key: str | None, now: int) -> CacheRow | None:
        """What another engine says of a key, if all that it names is there."""
        entry = await self._shared.find(workspace, key) if self._shared is not None and key is not None else None
        if entry is None or key is None or await self._lost_bytes(entry.outputs.values()):
            return None
        outputs = pack_values(entry.outputs)
        return CacheRow(key, outputs, run_no=0, made_at=entry.made_at, checked_at=now, node=-1, item=0, seconds=entry.seconds)

    async def _lost_bytes(self, values: Iterable[Value]) -> set[str]:
        """The digests of everything in these values, at any depth, whose bytes are gone."""
        refs = [ref for value in values for ref in refs_in(value) if not ref.is_inline]
        lost = await self._artifacts.lost({ref.digest for ref in refs})
        for ref in refs:
            if ref.kind != "blob" and ref.digest not in lost:
                lost |= await self._lost_parts(ref)
        return lost

    async def _lost_parts(self, ref: ArtifactRef) -> set[str]:
        """Those parts of a directory or a list, at any depth, whose bytes are gone."""
        manifest = json.loads(await self._bytes(ref))
        parts = {entry["digest"] for entry in manifest.get("files", [])}
        deeper: set[str] = set()
        for wire in _stored_refs(manifest.get("items", [])):
            parts.add(wire["digest"])
            if wire.get("kind", "blob") != "blob":
                deeper |= (
                    await self._lost_parts(ArtifactRef.model_validate(wire)) if not await self._artifacts.lost({wire["digest"]}) else set()
                )
        return await self._artifacts.lost(parts) | deeper


def _stored_refs(data: Any) -> Iterator[dict[str, Any]]:
    """Every ref in wire data whose bytes are in the artifact store."""
    match data:
        case {"uri": str(uri)}:
            if not uri.startswith("data:"):
                yield data
        case {**parts}:
            yield from _stored_refs(list(parts.values()))
        case [*items]:
            for item in items:
                yield from _stored_refs(item)
        case _:
            pass


def _loaded(connection: Connection, chore: Chore, circumstances: Circumstances) -> Decision:
    """A slice with the step run of a chore in it."""
    run = load_run(connection, chore.run_no)
    if run is None:
        raise ContractError(f"there is no run number {chore.run_no}")
    decision = Decision(plan=load_plan(connection, run), run=run, circumstances=circumstances)
    load(connection, decision, StepRuns([(chore.node, chore.item)]))
    return decision


def _gathered(connection: Connection, chore: Chore, circumstances: Circumstances) -> list[Value] | Failure:
    decision = _loaded(connection, chore, circumstances)
    row = decision.steps[chore.node, chore.item]
    spec = decision.plan.nodes[chore.node].spec
    if not isinstance(spec, CollectSpec):
        raise ContractError(f"node {chore.node} of run {chore.run_no} collects nothing")
    around = decision.load_around([row])
    try:
        while True:
            load(connection, decision, next(around))
    except StopIteration as loaded:
        at = loaded.value[0]
    making = gather(decision, row, spec, at)
    try:
        while True:
            load(connection, decision, next(making))
    except StopIteration as made:
        values: list[Value] | Failure = made.value
    return values


def _encoded(values: list[Value]) -> Iterator[bytes]:
    """Each value's canonical encoding; the same bytes as `manifest_bytes` makes of the whole, without holding it twice."""
    for value in values:
        yield json.dumps(value.model_dump(exclude_defaults=True), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _packed_items(lists: list[list[Any]], batch: int | None) -> list[bytes]:
    if len(lists) == 1 and batch is None:
        return [msgpack.packb(item) for item in lists[0]]
    if len(lists) > 1:
        lengths = {len(items) for items in lists}
        if len(lengths) > 1:
            raise ContractError(f"each() zips lists of different lengths: {', '.join(str(len(items)) for items in lists)}")
        return [msgpack.packb({"list": list(parts)}) for parts in zip(*lists, strict=True)]
    items, size = lists[0], batch or 1
    return [msgpack.packb({"list": items[start : start + size]}) for start in range(0, len(items), size)]
