"""Whose containers they are: the next incarnation of a runner removes what this one may leave behind."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """`is_gone` says whether another incarnation of the runner has ended; without it, all others have."""

    runner: str
    incarnation: str
    is_gone: Callable[[str], bool] | None = None

    @property
    def labels(self) -> dict[str, str]:
        return {"penstock.runner": self.runner, "penstock.incarnation": self.incarnation}

    def has_lost(self, incarnation: str) -> bool:
        """Whether what that incarnation made is nobody's any more."""
        return incarnation != self.incarnation if self.is_gone is None else self.is_gone(incarnation)
