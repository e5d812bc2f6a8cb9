"""Steps: functions that a pipeline calls. Outside of a pipeline a step is its plain function."""

import importlib
import inspect
from collections.abc import Callable, Coroutine, Mapping
from functools import cached_property, partial, update_wrapper
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, Protocol, TypeVar, Unpack, cast, overload

from typing_extensions import override

from penstock.contracts.errors import GraphError
from penstock.contracts.spec import FunctionTarget
from penstock.sdk.drawing.annotations import hints_of
from penstock.sdk.drawing.calls import Call, draw_call
from penstock.sdk.drawing.drawing import current_drawing
from penstock.sdk.drawing.places import user_place
from penstock.sdk.drawing.signatures import bound_arguments
from penstock.sdk.options import CallOptions, StepOptions, checked_options, spec_fields
from penstock.sdk.types import Done

if TYPE_CHECKING:
    from penstock.contracts.publishing import VersionView

P = ParamSpec("P")
T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)


class Step(Generic[P, R_co]):
    """A function that can be a step of a pipeline."""

    def __init__(self, function: Callable[P, Any], options: StepOptions) -> None:
        self._function = function
        self._options = options
        spec_fields(options, f"{user_place()}: step {function.__name__!r}")
        update_wrapper(self, function)

    @property
    def fn(self) -> Callable[P, Any]:
        """The plain function."""
        return self._function

    @property
    def name(self) -> str:
        return self._options.get("name") or self._function.__name__

    @property
    def declared(self) -> StepOptions:
        """The options it was given."""
        return self._options

    @cached_property
    def signature(self) -> inspect.Signature:
        return inspect.signature(self._function)

    @cached_property
    def hints(self) -> dict[str, Any]:
        """Its annotations, resolved; `return` is its result's."""
        return hints_of(self._function)

    @overload
    def options(self, *, allow_failure: Literal[True], **options: Unpack[CallOptions]) -> "Step[P, R_co | None]": ...
    @overload
    def options(self, **options: Unpack[StepOptions]) -> "Step[P, R_co]": ...
    def options(self, **options: Any) -> Any:
        """The same step under other options; those not named stay as they are."""
        checked_options(options, StepOptions, f"{user_place()}: {self.name}.options(...)")
        return Step[P, R_co](self._function, cast(StepOptions, {**self._options, **options}))

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        drawing = current_drawing()
        if drawing is None:
            return cast(R_co, self._function(*args, **kwargs))
        target = FunctionTarget(module=self._function.__module__, function=self._function.__qualname__)
        call = Call(
            name=self.name,
            maker=self,
            target=target,
            arguments=_bound_arguments(self, args, kwargs),
            hints={name: hint for name, hint in self.hints.items() if name != "return"},
            result=self.hints.get("return", Any),
            options=self._options,
            doc=inspect.getdoc(self._function) or "",
        )
        return cast(R_co, draw_call(drawing, call))

    def publish(self, version: str | None = None, *, default: bool = True, note: str = "") -> "VersionView":
        """Publishes it as a component, for pipelines of others: `component("clean@1.2")`.

        A version never changes (None: the next number); the same again is the same.

        :raises InvalidInput: the version exists and is another one.
        """
        from penstock.sdk.drawing.step_component import drawn_step  # noqa: PLC0415 -- guests publish nothing
        from penstock.sdk.runs.publication import published_component  # noqa: PLC0415 -- as above

        return published_component(
            self.name, drawn_step(self), self._function, "step", {"version": version, "makes_default": default, "note": note}
        )

    @override
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        module, name = self._function.__module__, self._function.__qualname__
        found = _attribute(module, name)
        if found is self:
            return _attribute, (module, name)
        return _with_options, (module, name, dict(self._options))

    @override
    def __repr__(self) -> str:
        return f"<step {self.name}>"


def _attribute(module: str, name: str) -> Any:
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _with_options(module: str, name: str, options: StepOptions) -> Step[..., Any]:
    found: Step[..., Any] = _attribute(module, name)
    return Step(found.fn, options)


def _bound_arguments(step: Step[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, object]:
    try:
        arguments = bound_arguments(step.signature, args, kwargs).arguments
    except TypeError as error:
        raise GraphError(f"{user_place()}: {step.name}{step.signature} was called wrongly: {error}") from error
    found: dict[str, object] = {}
    for name, value in arguments.items():
        match step.signature.parameters[name].kind:
            case inspect.Parameter.VAR_POSITIONAL:
                raise GraphError(f"{user_place()}: {step.name}(*{name}): the inputs of a step have names; take a list instead of *{name}")
            case inspect.Parameter.VAR_KEYWORD:
                found |= value
            case _:
                found[name] = value
    return found


class StepDecorator(Protocol):
    """What `@step(pool=...)` gives."""

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, T]], /) -> Step[P, T]: ...
    @overload
    def __call__(self, function: Callable[P, None], /) -> Step[P, Done]: ...
    @overload
    def __call__(self, function: Callable[P, T], /) -> Step[P, T]: ...


@overload
def step(function: Callable[P, Coroutine[Any, Any, T]], /) -> Step[P, T]: ...
@overload
def step(function: Callable[P, None], /) -> Step[P, Done]: ...
@overload
def step(function: Callable[P, T], /) -> Step[P, T]: ...
@overload
def step(**options: Unpack[StepOptions]) -> StepDecorator: ...
def step(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Makes a function a step: `@step` or `@step(pool="gpu", retries=2)`."""
    checked = cast(StepOptions, checked_options(options, StepOptions, f"{user_place()}: @step(...)"))
    if function is not None:
        return _made(function, checked)
    return partial(_made, options=checked)


def _made(function: Callable[..., Any], options: StepOptions) -> Step[..., Any]:
    if isinstance(function, Step):
        raise GraphError(f"{user_place()}: {function.name!r} is a step already; use .options(...) to change its options")
    if not inspect.isroutine(function):
        raise GraphError(f"{user_place()}: @step takes a function, not {function!r}")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise GraphError(f"{user_place()}: the step {function.__name__!r} yields; return a list instead")
    return Step(function, options)
