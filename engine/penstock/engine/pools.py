"""The pools that a workspace has: defined, changed, drained, and what a definition has to say to a pipeline that is submitted."""

import json
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection

from penstock.contracts.errors import InvalidInput
from penstock.contracts.pools import PoolSpec, decode_pool
from penstock.contracts.spec import PipelineSpec, ResourcesSpec, StepSpec
from penstock.engine.core.placement import Pools, placement, pool_of_step
from penstock.engine.core.plan import plan_of
from penstock.engine.core.rows import memory_raises_in
from penstock.engine.locks import lock_name
from penstock.engine.statement import Statement

_all = Statement("SELECT name, definition, is_draining FROM pool WHERE workspace = :workspace ORDER BY name")
_one = Statement("SELECT definition, is_draining FROM pool WHERE workspace = :workspace AND name = :name")
_put = Statement(
    "INSERT INTO pool (workspace, name, definition, is_draining, updated_at) VALUES (:workspace, :name, :definition, 0, :now) "
    "ON CONFLICT (workspace, name) DO UPDATE SET definition = excluded.definition, updated_at = excluded.updated_at"
)
_drain = Statement("UPDATE pool SET is_draining = :is_draining, updated_at = :now WHERE workspace = :workspace AND name = :name")
_remove = Statement("DELETE FROM pool WHERE workspace = :workspace AND name = :name")
_ready_steps = Statement(
    "SELECT DISTINCT r.run_no, r.node, s.flags, u.options, p.bytes FROM ready r "
    "JOIN step_run s ON s.run_no = r.run_no AND s.node = r.node AND s.item = r.item JOIN run u ON u.run_no = r.run_no "
    "JOIN spec p ON p.workspace = u.workspace AND p.digest = u.spec_digest WHERE r.workspace = :workspace AND r.pool = :pool "
    "AND r.run_no = coalesce(CAST(:run_no AS BIGINT), r.run_no)"
)
_set_slots = Statement(
    "UPDATE ready SET slots = :slots WHERE workspace = :workspace AND pool = :pool AND run_no = :run_no AND node = :node "
    "AND (run_no, node, item) IN (SELECT s.run_no, s.node, s.item FROM step_run s WHERE s.run_no = :run_no AND s.node = :node "
    "AND s.flags = :flags)"
)


PoolKey = tuple[str, str]
"""Workspace and pool."""
Slots = Mapping[PoolKey, Sequence[int]]
"""Those of each runner, by the pool or lane of a workspace."""


def pools_of(connection: Connection, workspace: str) -> dict[str, PoolSpec]:
    """The definitions of a workspace, by name."""
    return {row[0]: _decoded(row[1], bool(row[2])) for row in _all.rows(connection, workspace=workspace)}


def defined_pool(connection: Connection, workspace: str, name: str) -> PoolSpec | None:
    """The definition of a pool; None where nobody has given one."""
    row = _one.first(connection, workspace=workspace, name=name)
    return None if row is None else _decoded(row[0], bool(row[1]))


@lru_cache(maxsize=256)
def _decoded(definition: str, is_draining: bool) -> PoolSpec:
    return decode_pool({**json.loads(definition), "is_draining": is_draining})


def apply_pool(connection: Connection, workspace: str, spec: PoolSpec, now: int) -> None:
    """Defines a pool, or changes its definition; whether it drains stays as it is. What is ready takes as many slots as it says from
    now on, what is being executed as many as it has."""
    _lock(connection, workspace, spec.name)
    definition = json.dumps(
        spec.model_dump(mode="json", exclude_defaults=True, exclude={"is_draining"}) | {"name": spec.name}, sort_keys=True
    )
    _put(connection, workspace=workspace, name=spec.name, definition=definition, now=now)
    count_slots(connection, workspace, spec.name)


def drain_pool(connection: Connection, workspace: str, name: str, now: int, *, is_draining: bool) -> PoolSpec:
    """Nothing more is dispatched to the pool, or it is again; what is being executed goes on.

    :raises InvalidInput: there is no such pool.
    """
    _lock(connection, workspace, name)
    if not _drain(connection, workspace=workspace, name=name, is_draining=int(is_draining), now=now):
        raise _unknown(connection, workspace, name)
    return known_pool(connection, workspace, name)


def scale_pool(connection: Connection, workspace: str, name: str, now: int, bounds: tuple[int | None, int | None]) -> PoolSpec:
    """Sets how many runners an autoscaler keeps at least and at most; None leaves one as it is.

    :raises InvalidInput: there is no such pool, or the bounds cross.
    """
    _lock(connection, workspace, name)
    spec = known_pool(connection, workspace, name)
    given = {key: value for key, value in zip(("min_runners", "max_runners"), bounds, strict=True) if value is not None}
    changed = decode_pool(spec.model_dump(mode="json") | given)
    apply_pool(connection, workspace, changed, now)
    return changed


def remove_pool(connection: Connection, workspace: str, name: str) -> None:
    """Forgets a definition.

    :raises InvalidInput: there is no such pool.
    """
    _lock(connection, workspace, name)
    if not _remove(connection, workspace=workspace, name=name):
        raise _unknown(connection, workspace, name)
    count_slots(connection, workspace, name)


def known_pool(connection: Connection, workspace: str, name: str) -> PoolSpec:
    """The definition of a pool.

    :raises InvalidInput: there is none; the text names the nearest.
    """
    spec = defined_pool(connection, workspace, name)
    if spec is None:
        raise _unknown(connection, workspace, name)
    return spec


def _lock(connection: Connection, workspace: str, name: str) -> None:
    """Waits for whoever dispatches to the pool; nobody does until this transaction ends."""
    lock_name(connection, "slots of", workspace, name)


def _unknown(connection: Connection, workspace: str, name: str) -> InvalidInput:
    known = [row[0] for row in _all.rows(connection, workspace=workspace)]
    return InvalidInput(f"no pool {name!r} is defined{_hint(name, known)}")


def _hint(name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, 1)
    return f"; did you mean {near[0]!r}?" if near else f" (there is {', '.join(known)})" if known else " (none is)"


def count_slots(connection: Connection, workspace: str, name: str, run_no: int | None = None) -> None:
    """Writes down anew how many slots each step run (of one run) takes that waits for the pool, or for a lane."""
    pools = pools_of(connection, workspace)
    for run, node, flags, options, spec_bytes in _ready_steps.rows(connection, workspace=workspace, pool=name, run_no=run_no):
        number: int = node
        spec = plan_of(bytes(spec_bytes)).nodes[number].spec
        if isinstance(spec, StepSpec):
            place = placement(pools, pool_of_step(json.loads(options), spec), spec.resources, memory_raises_in(flags))
            slots = place.slots if place.pool == name else 1
            _set_slots(connection, slots=slots, workspace=workspace, pool=name, run_no=run, node=node, flags=flags)


def check_pools(pools: Pools, spec: PipelineSpec, options: Mapping[str, Any]) -> None:
    """Returns if every step of the pipeline can be executed some day; where no pool is defined, any name will do.

    :raises InvalidInput: a step names an unknown pool, or needs more than any runner of its pool has.
    """
    if not pools:
        return
    for step in (*(step for step in spec.steps if step.is_dispatched), *spec.hooks.values()):
        name = pool_of_step(options, step)
        pool = pools.get(name)
        if pool is None:
            raise InvalidInput(
                f"the step {step.name!r} is for the pool {name!r}, which is not defined{_hint(name, sorted(pools))}; define it with "
                "`penstock pools apply`, or choose another one with pool=... or --set"
            )
        if pool.slots_for(step.resources) is None:
            raise InvalidInput(
                f"the step {step.name!r} needs {needs(step.resources)}; a runner of the pool {name!r} has {pool.offer()}. "
                "Ask for less, or choose a pool of larger runners"
            )


def needs(resources: ResourcesSpec) -> str:
    """For people: `4 CPUs, 64.0 GiB, 1 GPU`."""
    parts = [f"{resources.cpu:g} CPU{'s' if resources.cpu != 1 else ''}"]
    if resources.memory_bytes is not None:
        parts.append(f"{resources.memory_bytes / 2**30:.1f} GiB")
    if resources.gpu:
        parts.append(f"{resources.gpu:g} GPU{'s' if resources.gpu != 1 else ''}")
    return ", ".join(parts)
