"""Published components in a pipeline's body: `clean = component("clean@1.2")`, then `clean(raw)` as any step."""

import inspect
from pathlib import Path
from typing import Any

from typing_extensions import override

from penstock.contracts.errors import GraphError, InvalidInput
from penstock.sdk.client import EngineClient, Publishing
from penstock.sdk.drawing.drawing import current_drawing
from penstock.sdk.drawing.places import user_place


class Component:
    """A component by reference. It is fetched when a pipeline with it is drawn, from the engine that runs go to."""

    def __init__(self, reference: str, start: Path) -> None:
        self._reference = reference
        self._start = start

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from penstock.sdk.drawing.components import bound_arguments_of, draw_component  # noqa: PLC0415 -- guests draw nothing

        drawing = current_drawing()
        if drawing is None:
            raise GraphError(f"{user_place()}: component({self._reference!r}) has a meaning only in the body of a function under @pipeline")
        if self._reference not in drawing.components:
            drawing.components[self._reference], warning = _fetched(_engine(self._start), self._reference)
            drawing.notes += [warning] if warning else []
        fetched = drawing.components[self._reference]
        where = f"{user_place()}: component({self._reference!r})"
        return draw_component(drawing, fetched, bound_arguments_of(fetched.spec, args, kwargs, where))

    @override
    def __repr__(self) -> str:
        return f"<component {self._reference}>"


def component(reference: str) -> Component:
    """A published step or pipeline: `"clean@1.2"`, `"clean@stable"` by an alias, `"clean"` for the default version.

    It runs with the code that it was published with. Name a version where the pipeline shall stay as it is.
    """
    frame = inspect.currentframe()
    caller = frame.f_back if frame is not None else None
    return Component(reference, Path(caller.f_code.co_filename) if caller is not None else Path.cwd())


def _engine(start: Path) -> EngineClient:
    from penstock.sdk.runs.state_home import engine_of  # noqa: PLC0415 -- guests need no engine

    return engine_of(start)


def _fetched(client: EngineClient, reference: str) -> tuple[Any, str]:
    """The component, and what is to be said of it."""
    from penstock.contracts.spec import decode_spec  # noqa: PLC0415 -- as above
    from penstock.sdk.drawing.components import Fetched  # noqa: PLC0415 -- as above

    if not isinstance(client, Publishing):
        raise GraphError("this engine keeps no published components")
    try:
        found = client.component(reference)
    except InvalidInput as error:
        raise GraphError(f"component({reference!r}): {error}") from error
    exact = f"{found.name}@{found.version}"
    because = f": {found.note}" if found.note else ""
    if found.state == "disabled":
        raise GraphError(f"component({reference!r}): {exact} is disabled{because}; take another version, or activate this one")
    warning = f"the component {exact} is deprecated{because}" if found.state == "deprecated" else ""
    return Fetched(reference=exact, kind=found.kind, spec=decode_spec(found.spec)), warning
