"""Named artifacts: a run gives what it made a name, by which later runs and people find it."""

from typing import cast

from penstock.contracts.errors import GraphError
from penstock.contracts.targets import ARTIFACT, RegisterTarget
from penstock.sdk.drawing.drawing import needed_drawing
from penstock.sdk.drawing.handles import handles_in, source_of
from penstock.sdk.drawing.places import user_place
from penstock.sdk.drawing.undispatched import checked_target, draw_undispatched
from penstock.sdk.types import Done


def register(artifact: object, name: str, *, alias: str | None = None) -> Done:
    """Makes `artifact` the next version of `name`: `register(best, "churn", alias="candidate")`, found by `File("artifact://churn@candidate")`.

    What the newest version is already becomes no other; the alias moves there in any case.

    :raises GraphError: outside of a pipeline, a name that can't be one, or something that no step made.
    """
    drawing = needed_drawing("register(...)")
    where = f"{user_place()}: register"
    if not handles_in(artifact):
        raise GraphError(f"{where}: {artifact!r} is no result of a step and no parameter; register what the pipeline makes")
    source = source_of(artifact)
    if source is not None and source.annotation is Done:
        raise GraphError(f"{where}: {source.label} returns nothing that could have a name")
    target = checked_target(where, RegisterTarget, name=name, alias=alias)
    return cast(Done, draw_undispatched(drawing, f"register-{name}"[:63], target, {ARTIFACT: artifact}, Done))
