"""What a run asks people, told once to whoever watches it, with how to answer."""

from penstock.contracts.states import StepState
from penstock.contracts.views import RunView, StepCount


class Asked:
    """Remembers what was told."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def lines(self, view: RunView) -> list[str]:
        """What to tell of the run as it is now."""
        waiting = [count for count in view.steps if StepState.ASKING in count.states]
        new = [count for count in waiting if count.name not in self._told]
        self._told |= {count.name for count in new}
        return [line for count in new for line in _lines(view, count)]


def _lines(view: RunView, count: StepCount) -> list[str]:
    number = count.states[StepState.ASKING]
    if count.total is None or count.total > 1:
        return [f"{count.name}: {number} wait for approval; see: penstock approvals {view.name}"]
    # The run alone says which one, for as long as it waits for one only.
    which = f" {count.name}" if sum(StepState.ASKING in other.states for other in view.steps) > 1 else ""
    return [
        f"{count.name} {count.note}",
        f"  answer in another terminal: penstock approve {view.name}{which}, or penstock reject {view.name}{which}",
    ]
