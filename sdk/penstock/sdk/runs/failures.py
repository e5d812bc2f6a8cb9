"""How a step run that did not succeed is told: the user's own traceback first."""

from penstock.contracts.views import StepRunView


def failure_text(view: StepRunView) -> str:
    """Several lines: which step run, why, and what to do where that is known."""
    address = "/".join([view.step, *map(str, view.index)])
    if view.failure is None:
        return f"{address} is {view.state}{f': {view.reason}' if view.reason else ''}"
    failure = view.failure
    lines = [failure.traceback.rstrip()] if failure.traceback else []
    lines.append(f"{address} failed ({failure.kind}): {failure.message}")
    if failure.hint:
        lines.append(f"hint: {failure.hint}")
    return "\n".join(lines)
