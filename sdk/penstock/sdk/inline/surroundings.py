"""What an inline run has around its steps: their variables, and who hears how they end."""

import os
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from penstock.contracts.spec import StepSpec
from penstock.contracts.views import StepRunView

Told = Callable[[StepRunView, Exception | None], None]
"""Hears of each step run that ended, and of what its code raised, while the traceback's frames are there to look at."""


def plain_variables(step: StepSpec) -> dict[str, str]:
    """The step's variables without its secrets: a test has none, but what it sets itself."""
    return {name: value for name, value in step.env_vars.items() if isinstance(value, str)}


def _unheard(view: StepRunView, error: Exception | None) -> None:
    """Nobody listens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    told: Told = _unheard
    variables: Callable[[StepSpec], Mapping[str, str]] = plain_variables


@contextmanager
def variables_set(variables: Mapping[str, str]) -> Generator[None]:
    """While it lasts, this process has these variables beside its own."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
