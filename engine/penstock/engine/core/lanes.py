"""Lanes: where a step run waits for its slot while runners serve its step. Pure."""

from collections.abc import Mapping

from penstock.contracts.names import lane_of
from penstock.contracts.spec import StepSpec
from penstock.engine.core.placement import pool_of_step
from penstock.engine.core.rows import RunRow

LaneKey = tuple[str, str]
"""Workspace and lane."""
Lanes = Mapping[LaneKey, frozenset[str]]
"""The lanes that are served, with the digests of the code that those who serve them have; empty: any code."""


def lane_if_served(run: RunRow, step: StepSpec, lanes: Lanes) -> str | None:
    """The step's lane, if somebody serves the step as it is in this run."""
    lane = lane_of(run.pipeline, step.name)
    codes = lanes.get((run.workspace, lane), frozenset())
    return lane if step.code.digest in codes or "" in codes else None


def pool_of(run: RunRow, step: StepSpec) -> str:
    """The pool that the step waits for where nobody serves it: the one that the run names for it comes first."""
    return pool_of_step(run.options, step)
