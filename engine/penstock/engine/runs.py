"""Runs as people ask for them: made, found, owned, stopped."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sqlalchemy import Connection

from penstock.contracts.artifacts import Value
from penstock.contracts.encoding import digest_bytes
from penstock.contracts.errors import ContractError, InvalidInput
from penstock.contracts.messages import SubmitRun
from penstock.contracts.names import dashed
from penstock.contracts.pools import PoolSpec
from penstock.contracts.spec import PipelineSpec
from penstock.contracts.states import RunState
from penstock.engine import tables
from penstock.engine.artifact_uses import Use, record_uses
from penstock.engine.core.plan import plan_of
from penstock.engine.core.rows import pack_values
from penstock.engine.locks import lock_name
from penstock.engine.people.named_artifacts import resolved_parameters
from penstock.engine.pools import check_pools, pools_of
from penstock.engine.statement import Statement

_find = Statement("SELECT run_no FROM run WHERE workspace = :workspace AND run_id = :run_id")
_find_all = Statement(
    "SELECT u.run_id, u.run_no FROM elements(:run_ids) r CROSS JOIN looked_up(u) run u "
    "WHERE u.workspace = :workspace AND u.run_id = text_of(r) so_far(u)"
)
_next_number = Statement("SELECT coalesce(max(number), 0) + 1 FROM run WHERE workspace = :workspace AND pipeline = :pipeline")
_put_spec = Statement.insert(tables.spec, otherwise="ON CONFLICT DO NOTHING")
_insert_run = Statement(
    "INSERT INTO run (workspace, run_id, pipeline, number, name, experiment, spec_digest, state, params, options, cause, tags, "
    'owner, "open", seq, created_at) '
    "VALUES (:workspace, :run_id, :pipeline, :number, :name, :experiment, :spec_digest, 'queued', :params, :options, "
    ":cause, :tags, :owner, 0, 0, :now) ON CONFLICT (workspace, run_id) DO NOTHING"
)
_put_timer = Statement.insert(tables.timer, otherwise="ON CONFLICT (run_no, kind, node, item) DO UPDATE SET fire_at = excluded.fire_at")
_step_numbers = Statement(
    "SELECT u.run_no, s.bytes FROM run u JOIN spec s ON s.workspace = u.workspace AND s.digest = u.spec_digest "
    "WHERE u.workspace = :workspace AND u.run_id = :run_id"
)
_state = Statement("SELECT state FROM run WHERE run_no = :run_no")
_owned = Statement("SELECT run_no, owner FROM run WHERE ended_at IS NULL AND owner IS NOT NULL")
_own = Statement("UPDATE run SET owner = :owner WHERE run_no = :run_no AND same(owner, :before)")


def lock_numbers(connection: Connection, workspace: str, pipeline: str) -> None:
    """Nobody else makes runs of a pipeline until this transaction ends. Of several pipelines, in the order of workspaces and names."""
    lock_name(connection, "numbers of", workspace, pipeline)


def submit(connection: Connection, request: SubmitRun, now: int) -> tuple[int, bool]:
    """Makes the run that is asked for; its number, and whether it is new.

    :raises InvalidInput: a parameter is missing or unknown, a named step does not exist, or a step can never be executed.
    :raises ContractError: the spec is malformed.
    """
    found = _find.first(connection, workspace=request.workspace, run_id=request.run_id)
    if found is not None:
        return int(found[0]), False
    spec = plan_of(request.spec).spec
    parameters, meant = resolved_parameters(connection, request.workspace, spec.parameters, complete_parameters(spec, request.parameters))
    options = _options(connection, request, spec) | ({"resolved": meant} if meant else {})
    check_pools(pools_of(connection, request.workspace), spec, options)
    pipeline = dashed(spec.name)
    lock_numbers(connection, request.workspace, pipeline)
    number = _next_number.number(connection, workspace=request.workspace, pipeline=pipeline)
    digest = digest_bytes(request.spec)
    _put_spec(connection, workspace=request.workspace, digest=digest, bytes=request.spec)
    is_new = _insert_run(
        connection,
        workspace=request.workspace,
        run_id=request.run_id,
        pipeline=pipeline,
        number=number,
        name=request.name or f"{pipeline}-{number}",
        experiment=request.experiment,
        spec_digest=digest,
        params=pack_values(parameters),
        options=json.dumps(options),
        cause=request.cause.model_dump_json(exclude_defaults=True),
        tags=json.dumps(request.tags),
        owner=request.owner,
        now=now,
    )
    run_no = number_of(connection, request.workspace, request.run_id)
    if not is_new:
        # Another coordinator was given the same request.
        return run_no, False
    record_uses(connection, request.workspace, _uses(run_no, spec, parameters), now)
    if request.options.timeout_seconds is not None:
        _put_timer(
            connection, run_no=run_no, kind="timeout", node=-1, item=0, fire_at=now + int(request.options.timeout_seconds * 1_000_000)
        )
    return run_no, True


def _uses(run_no: int, spec: PipelineSpec, parameters: dict[str, Value]) -> list[Use]:
    """What a run uses before its first step run."""
    itself = {"run_no": run_no, "node": -1, "item": 0}
    uses: list[Use] = [(itself, f"parameter {name}", value) for name, value in parameters.items()]
    if spec.snapshot is not None:
        uses.append((itself, "snapshot", spec.snapshot))
    steps = [*spec.steps, *spec.hooks.values()]
    brought = {step.snapshot.digest: step.snapshot for step in steps if step.snapshot is not None}
    uses += [(itself, f"snapshot {digest}", snapshot) for digest, snapshot in brought.items()]
    locks = {step.software.lock.digest: step.software.lock for step in steps if step.software is not None and step.software.lock}
    uses += [(itself, f"lock {digest}", lock) for digest, lock in locks.items()]
    return uses


def submit_all(connection: Connection, workspace: str, requests: Sequence[SubmitRun], now: int) -> list[int | ContractError]:
    """Makes the runs that are asked for, in few statements however many; the number of each, or why it can't be. One that is there
    already stays as it is. Their pipelines are locked in the order of their names."""
    numbers = _numbers_of(connection, workspace, requests)
    pools = pools_of(connection, workspace)
    asked: list[_Asked] = []
    refused: dict[str, ContractError] = {}
    for request in {one.run_id: one for one in requests if one.run_id not in numbers}.values():
        try:
            asked.append(_asked(connection, request, pools))
        except ContractError as error:
            refused[request.run_id] = error
    if asked:
        rows = [one.row(number, now) for one, number in _numbered(connection, workspace, asked)]
        specs = {one.digest: one.request.spec for one in asked}
        _put_spec.many(connection, [{"workspace": workspace, "digest": digest, "bytes": specs[digest]} for digest in sorted(specs)])
        _insert_run.many(connection, rows)
        numbers |= _numbers_of(connection, workspace, [one.request for one in asked])
        record_uses(
            connection, workspace, [use for one in asked for use in _uses(numbers[one.request.run_id], one.spec, one.parameters)], now
        )
    return [refused[one.run_id] if one.run_id in refused else numbers[one.run_id] for one in requests]


@dataclass(frozen=True, slots=True)
class _Asked:
    """A run that can be made."""

    request: SubmitRun
    spec: PipelineSpec
    parameters: dict[str, Value]
    options: dict[str, Any]
    digest: str

    @property
    def pipeline(self) -> str:
        return dashed(self.spec.name)

    def row(self, number: int, now: int) -> dict[str, Any]:
        """The run's row, as the `number`th of its pipeline."""
        request = self.request
        return {
            "workspace": request.workspace,
            "run_id": request.run_id,
            "pipeline": self.pipeline,
            "number": number,
            "name": request.name or f"{self.pipeline}-{number}",
            "experiment": request.experiment,
            "spec_digest": self.digest,
            "params": pack_values(self.parameters),
            "options": json.dumps(self.options),
            "cause": request.cause.model_dump_json(exclude_defaults=True),
            "tags": json.dumps(request.tags),
            "owner": request.owner,
            "now": now,
        }


def _asked(connection: Connection, request: SubmitRun, pools: dict[str, PoolSpec]) -> _Asked:
    """
    :raises ContractError: as `submit`.
    """
    spec = plan_of(request.spec).spec
    parameters, meant = resolved_parameters(connection, request.workspace, spec.parameters, complete_parameters(spec, request.parameters))
    options = _options(connection, request, spec) | ({"resolved": meant} if meant else {})
    check_pools(pools, spec, options)
    return _Asked(request, spec, parameters, options, digest_bytes(request.spec))


def _numbered(connection: Connection, workspace: str, asked: Sequence[_Asked]) -> Iterator[tuple[_Asked, int]]:
    """Each with its number among the runs of its pipeline, which nobody else gives away until this transaction ends."""
    for pipeline, some in groupby(sorted(asked, key=lambda one: one.pipeline), key=lambda one: one.pipeline):
        lock_numbers(connection, workspace, pipeline)
        first = _next_number.number(connection, workspace=workspace, pipeline=pipeline)
        yield from ((one, first + place) for place, one in enumerate(some))


def _numbers_of(connection: Connection, workspace: str, requests: Sequence[SubmitRun]) -> dict[str, int]:
    run_ids = json.dumps([request.run_id for request in requests])
    return {row[0]: row[1] for row in _find_all.rows(connection, workspace=workspace, run_ids=run_ids)}


def number_of(connection: Connection, workspace: str, run_id: str) -> int:
    """The store's number of a run.

    :raises InvalidInput: there is no such run.
    """
    found = _find.first(connection, workspace=workspace, run_id=run_id)
    if found is None:
        raise InvalidInput(f"there is no run {run_id} in the workspace {workspace}")
    return int(found[0])


def complete_parameters(spec: PipelineSpec, given: dict[str, Value]) -> dict[str, Value]:
    """The value of every parameter of a pipeline.

    :raises InvalidInput: one is missing or unknown.
    """
    known = {parameter.name for parameter in spec.parameters}
    unknown = sorted(set(given) - known)
    if unknown:
        raise InvalidInput(f"the pipeline {spec.name} has no parameter {unknown[0]!r} (it has {', '.join(sorted(known)) or 'none'})")
    values: dict[str, Value] = {}
    for parameter in spec.parameters:
        value = given.get(parameter.name, parameter.default)
        if value is None:
            raise InvalidInput(f"the pipeline {spec.name} needs the parameter {parameter.name!r} ({parameter.type})")
        values[parameter.name] = value
    return values


def _options(connection: Connection, request: SubmitRun, spec: PipelineSpec) -> dict[str, Any]:
    names = {step.name for step in spec.steps}
    asked = request.options
    for name in (*(name for name in asked.rerun if name != "all"), *asked.pools, *([] if asked.until is None else [asked.until])):
        if name not in names:
            raise InvalidInput(f"the pipeline {spec.name} has no step {name!r} (it has {', '.join(sorted(names))})")
    options = asked.model_dump(mode="json", exclude_defaults=True)
    if request.tags:
        # Limits go by the tags that a run began with; its steps may add others.
        options["given_tags"] = request.tags
    if asked.pinned_from is not None:
        options |= _pins(connection, request, spec)
    return options


def _pins(connection: Connection, request: SubmitRun, spec: PipelineSpec) -> dict[str, Any]:
    """Which nodes keep the outputs of the run that this one reruns: all but the forced ones and those below them."""
    row = _step_numbers.first(connection, workspace=request.workspace, run_id=request.options.pinned_from)
    if row is None:
        raise InvalidInput(f"there is no run {request.options.pinned_from} to rerun")
    old = plan_of(bytes(row[1])).numbers
    plan = plan_of(request.spec)
    below = {plan.numbers[name] for name in request.options.rerun if name in plan.numbers}
    for node in plan.nodes[: len(spec.nodes)]:
        if any(edge.parent in below for edge in node.edges_in) or any(each in below for each in node.chain):
            below.add(node.no)
    # Items of one fan-out are numbered in the order of their list, of a nested one by expansion: those are left to the cache.
    pins = {
        str(node.no): old[node.name]
        for node in plan.nodes[: len(spec.nodes)]
        if node.name in old and node.no not in below and len(node.chain) <= 1
    }
    return {"pinned_run_no": row[0], "pins": pins}


def live_owners(connection: Connection) -> list[tuple[int, str]]:
    """(run, owning incarnation) of every run that has not ended and that a process owns."""
    return [(row[0], row[1]) for row in _owned.rows(connection)]


def own(connection: Connection, run_no: int, owner: str, before: str | None) -> bool:
    """Takes a run over from the owner `before`; whether nobody else was faster."""
    return _own(connection, run_no=run_no, owner=owner, before=before) > 0


def ask_to_cancel(connection: Connection, run_no: int, now: int) -> None:
    """Leaves word for whatever process drives the run, to be found from `now` on. Who asks while its hooks run wants them to end too."""
    row = _state.first(connection, run_no=run_no)
    kind = "leave" if row is not None and row[0] == RunState.FINISHING.value else "cancel"
    _put_timer(connection, run_no=run_no, kind=kind, node=-1, item=0, fire_at=now)
