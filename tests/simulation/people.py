"""People in a simulation: how they answer what runs ask, and what must be left of that in the end."""

import asyncio
import random
from functools import partial

from penstock.contracts.approvals import ApprovalView, DecisionRequest
from penstock.contracts.errors import InvalidInput
from penstock.engine.people.approvals import approvals, decide
from tests.simulation.questions import likes
from tests.simulation.world import World

_LOOKS = 400
"""Far more than a run takes that is not stuck."""


def asks(world: World) -> bool:
    """Whether its pipeline does."""
    return not all(step.is_dispatched for step in world.scenario.spec.steps)


async def answer(world: World, run_id: str) -> None:
    """Somebody looks at what a run asks, again and again until it has ended, and answers in the rows; at times they leave it for later."""
    rng = random.Random(f"people {world.scenario.seed} {run_id}")
    for _ in range(_LOOKS):
        if (state := world.run_state(run_id)) is not None and state[0].is_terminal:
            return
        await asyncio.sleep(rng.choice([0.3, 1.0, 4.0]))
        for view in world.database.read(lambda connection: approvals(connection, "default")):
            if view.run_id == run_id and rng.random() < 0.7:
                _answer(world, view)


def _answer(world: World, view: ApprovalView) -> None:
    request = DecisionRequest(approved=likes(view.question))
    try:
        world.database.write(partial(decide, workspace="default", view=view, request=request, by="person", now=world.now()))
    except InvalidInput:
        world.trace("too late", view.run_name, view.address)
    else:
        world.trace("answered", view.run_name, view.address)


def judged(world: World) -> list[str]:
    """Every question was closed, as what the run made of it; versions have no gaps, and aliases mean one that there is."""
    found = [
        f"{run_no}/{node}/{item} is asked still"
        for run_no, node, item in world.database.rows("SELECT run_no, node, item FROM approval WHERE state = 'open'")
    ]
    for run_no, node, item, asked, state in world.database.rows(
        "SELECT a.run_no, a.node, a.item, a.state, s.state FROM approval a JOIN step_run s ON s.run_no = a.run_no AND s.node = a.node "
        "AND s.item = a.item"
    ):
        # An answer may come in the moment in which its run is stopped; then nothing comes of it.
        allowed = {"withdrawn": ("cancelled",), "expired": ("succeeded",)}.get(asked, ("succeeded", "cancelled"))
        if state not in allowed:
            found.append(f"the approval {node}/{item} of run {run_no} is {asked}, its step run {state}")
    versions = [version for (version,) in world.database.rows("SELECT version FROM named_artifact ORDER BY version")]
    if versions != list(range(1, len(versions) + 1)):
        found.append(f"the versions of what is named are {versions}")
    found += [
        f"an alias means version {version}, which there is not"
        for (version,) in world.database.rows("SELECT version FROM artifact_alias")
        if version not in versions
    ]
    return found
