"""Commands about pools and runners: whom they ask, and how what they are told is shown."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager

import typer

from penstock.contracts.errors import InvalidInput
from penstock.contracts.fleet_views import PoolView, RunnerView
from penstock.deploy.cli.durations import seconds_text
from penstock.deploy.cli.progress import aligned
from penstock.deploy.cli.wiring import engine, services
from penstock.deploy.fleet_client import FleetClient, PoolOperator
from penstock.deploy.settings import Settings

# Three heartbeats of a runner.
_SILENCE_SECONDS = 15.0


@contextmanager
def fleet(context: typer.Context) -> Generator[FleetClient]:
    """The services where somebody says where they are, else the engine of this project.

    :raises InvalidInput: that engine has no pools.
    """
    chosen = services if Settings.read().names_services else engine
    with chosen(context) as client:
        if not isinstance(client, FleetClient):
            raise InvalidInput("this engine has no pools")
        yield client


@contextmanager
def operator(context: typer.Context) -> Generator[PoolOperator]:
    """The services, whose pools can be changed.

    :raises InvalidInput: nobody says where they are.
    """
    with services(context) as client:
        if not isinstance(client, PoolOperator):
            raise InvalidInput("the pools of this engine can't be changed: write them into [pools] of the project's penstock.toml")
        yield client


def pool_lines(pools: Sequence[PoolView]) -> list[str]:
    """A table of pools, and why something waits."""
    table = [("pool", "runners", "slots", "taken", "ready", "demand", "waits", "")]
    for pool in pools:
        bounds = f" of {pool.definition.min_runners}-{pool.definition.max_runners}" if pool.definition is not None else ""
        waits = seconds_text(pool.oldest_wait_seconds) if pool.oldest_wait_seconds is not None else ""
        table.append(
            (
                pool.name,
                f"{pool.runners}{bounds}",
                str(pool.slots),
                str(pool.executing_slots),
                str(pool.waiting),
                str(pool.demand),
                waits,
                pool.why or ("draining" if pool.definition is not None and pool.definition.is_draining else ""),
            )
        )
    return aligned(table)


def advice_lines(pools: Sequence[PoolView], runners: Sequence[RunnerView]) -> list[str]:
    """What to do about work that nobody takes, and about silence."""
    lines = [f"start a runner: penstock runner --pool {pool.name}" for pool in pools if _is_left_alone(pool)]
    if runners and min(runner.heard_seconds_ago for runner in runners) > _SILENCE_SECONDS:
        lines.append("no runner was heard lately: look at the broker, and at /readyz of the coordinators")
    return lines


def _is_left_alone(pool: PoolView) -> bool:
    is_closed = pool.definition is not None and pool.definition.is_draining
    return bool(pool.waiting) and not pool.runners and not is_closed and "/" not in pool.name


def runner_lines(runners: Sequence[RunnerView], pools: Sequence[PoolView]) -> list[str]:
    """A table of runners, and where one differs from its pool's definition."""
    sizes = {pool.name: pool.definition.slots_per_runner for pool in pools if pool.definition is not None}
    table = [("runner", "host", "pools", "executes", "heard", "software", "")]
    for runner in runners:
        others = [f"{pool} is defined with {sizes[pool]} slots" for pool, slots in runner.pools.items() if sizes.get(pool, slots) != slots]
        notes = ["draining"] if runner.is_draining else []
        table.append(
            (
                runner.name,
                runner.host,
                " ".join(f"{pool}={slots}" for pool, slots in runner.pools.items()),
                str(runner.attempts),
                f"{seconds_text(runner.heard_seconds_ago)} ago",
                runner.software,
                "; ".join([*notes, *others]),
            )
        )
    return aligned(table)
