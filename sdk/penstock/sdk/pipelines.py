"""Pipelines: functions whose body draws a graph of steps. A pipeline called in another becomes part of it."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial, update_wrapper
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, Protocol, TypedDict, TypeVar, Unpack, cast, overload

from typing_extensions import override

from penstock.contracts.bindings import FromParameter
from penstock.contracts.errors import GraphError, PenstockError
from penstock.contracts.names import checked_name, dashed
from penstock.contracts.spec import PipelineSpec
from penstock.sdk.drawing.annotations import hints_of
from penstock.sdk.drawing.body_check import check_body
from penstock.sdk.drawing.drawing import Drawing, current_drawing
from penstock.sdk.drawing.handles import Handle, Source
from penstock.sdk.drawing.hooks import hook_steps
from penstock.sdk.drawing.parameters import parameter_specs
from penstock.sdk.drawing.places import user_place
from penstock.sdk.drawing.results import output_bindings
from penstock.sdk.drawing.signatures import bound_arguments
from penstock.sdk.options import RunOptions, StepOptions, checked_options
from penstock.sdk.steps import Step
from penstock.sdk.triggers import Trigger, check_declared
from penstock.sdk.types import RunSummary

# Guests import pipelines, and neither trace nor run nor show them: what that takes is imported where it is done.
if TYPE_CHECKING:
    from penstock.contracts.publishing import VersionView
    from penstock.sdk.drawing.traced import Traced
    from penstock.sdk.runs.run import Run

P = ParamSpec("P")
R = TypeVar("R")
Hook = Step[[RunSummary], Any]


class PipelineOptions(TypedDict, total=False):
    """Options of a pipeline: `@pipeline(name="sales.daily", defaults={"pool": "gpu"}, on_failure=tell)`."""

    name: str
    defaults: StepOptions
    triggers: Sequence[Trigger]
    on_success: Hook
    on_failure: Hook
    on_exit: Hook


class Pipeline(Generic[P, R]):
    """A pipeline, under the options of its runs."""

    def __init__(self, function: Callable[P, R], declared: PipelineOptions, run_options: RunOptions | None = None) -> None:
        self._function = function
        self._declared = declared
        self._run_options: RunOptions = run_options or {}
        update_wrapper(self, function)

    @property
    def name(self) -> str:
        return self._declared.get("name") or dashed(self._function.__name__)

    @property
    def triggers(self) -> tuple[Trigger, ...]:
        return tuple(self._declared.get("triggers", ()))

    @property
    def run_options(self) -> RunOptions:
        return self._run_options

    @property
    def fn(self) -> Callable[P, R]:
        """The plain function."""
        return self._function

    @property
    def signature(self) -> inspect.Signature:
        return inspect.signature(self._function)

    @property
    def hints(self) -> dict[str, Any]:
        """Its annotations, resolved; `return` is its result's."""
        return hints_of(self._function)

    def options(self, **options: Unpack[RunOptions]) -> "Pipeline[P, R]":
        """The same pipeline, whose runs go under these options."""
        checked_options(options, RunOptions, f"{user_place()}: {self.name}.options(...)")
        return Pipeline(self._function, self._declared, cast(RunOptions, {**self._run_options, **options}))

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        drawing = current_drawing()
        if drawing is None:
            raise GraphError(f"{user_place()}: {self.name} is a pipeline; to run it, use .run(...): {self._function.__name__}.run(...)")
        try:
            arguments = bound_arguments(self.signature, args, kwargs)
        except TypeError as error:
            raise GraphError(f"{user_place()}: {self.name}{self.signature} was called wrongly: {error}") from error
        scope = drawing.open(arguments.arguments, self._function.__name__)
        defaults = drawing.defaults
        drawing.defaults = {**defaults, **self._declared.get("defaults", {})}
        try:
            with drawing.inside(self._function.__name__, scope):
                return self._function(*arguments.args, **arguments.kwargs)
        finally:
            drawing.defaults = defaults

    def draw(self) -> tuple[Drawing, PipelineSpec]:
        """The graph, without code and environment of its steps.

        :raises GraphError: it can't be built; the text names the line and the mend.
        """
        drawing = Drawing(self.name)
        drawing.defaults = self._declared.get("defaults", {})
        with drawing.drawn():
            parameters = parameter_specs(self._function, self.signature, self.hints, drawing.constants)
            returned = _call(self._function, [self._parameter(name) for name in self.signature.parameters], self.signature)
            drawing.returned = returned
            outputs, types = output_bindings(drawing, returned, self.hints.get("return", Any))
            spec = PipelineSpec(
                name=self.name,
                parameters=tuple(parameters),
                nodes=tuple(drawing.nodes),
                outputs=outputs,
                output_types=types,
                hooks=hook_steps(drawing, self._declared),
                doc=inspect.getdoc(self._function) or "",
            )
        return drawing, spec

    def trace(self) -> "Traced":
        """The spec, complete but for its snapshot, and the files it is made of."""
        from penstock.sdk.drawing.tracing import traced  # noqa: PLC0415 -- see above

        drawing, spec = self.draw()
        return replace(traced(drawing, spec, self._function), triggers=self.plain_triggers())

    def plain_triggers(self) -> tuple[dict[str, Any], ...]:
        """Its triggers as plain data.

        :raises GraphError: an option of one has a value that it can't have.
        """
        if not self.triggers:
            return ()
        from penstock.contracts.triggers import plain_trigger  # noqa: PLC0415 -- see above
        from penstock.sdk.drawing.trigger_specs import trigger_specs  # noqa: PLC0415 -- see above

        return tuple(plain_trigger(spec) for spec in trigger_specs(self.name, self.triggers))

    def run(self, *args: P.args, **kwargs: P.kwargs) -> "Run[R]":
        """Runs it and waits.

        :raises GraphError: the graph can't be built.
        :raises InvalidInput: a parameter does not fit.
        :raises RunFailed: a step failed; the text begins with the user's traceback.
        """
        from penstock.sdk.runs.starting import started, waited  # noqa: PLC0415 -- see above

        run: Run[R] = started(self, args, kwargs)
        waited(run)
        run.raise_if_failed()
        return run

    async def arun(self, *args: P.args, **kwargs: P.kwargs) -> "Run[R]":
        """As `run`, without blocking the event loop. Cancelling it cancels the run."""
        from penstock.sdk.runs.starting import awaited  # noqa: PLC0415 -- see above

        run: Run[R] = await awaited(self, args, kwargs)
        run.raise_if_failed()
        return run

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> "Run[R]":
        """Starts a run and returns at once; `.wait()` or `.result()` follows it."""
        from penstock.sdk.runs.starting import started  # noqa: PLC0415 -- see above

        run: Run[R] = started(self, args, kwargs)
        return run

    def publish(
        self, version: str | None = None, *, triggers: Literal["paused", "on"] = "paused", default: bool = True, note: str = ""
    ) -> "VersionView":
        """Publishes it: a version that never changes (None: the next number), which runs and triggers name. The same again is the same.

        As the `default` it is what runs that name no version take, and its triggers take over from those of the version before: those
        that are new begin `paused`, or `on`.

        :raises InvalidInput: the version exists and is another one, or a trigger does not fit.
        """
        from penstock.sdk.runs.publication import published  # noqa: PLC0415 -- see above

        asked = {"version": version, "trigger_state": triggers, "makes_default": default, "note": note}
        asked |= {"profile": self._run_options.get("profile")}
        return published(self.name, self.draw(), self._function, self.plain_triggers(), asked)

    def publish_component(self, version: str | None = None, *, default: bool = True, note: str = "") -> "VersionView":
        """Publishes it for other pipelines, which take it into theirs: `component("prep@1.2")`."""
        from penstock.sdk.runs.publication import published_component  # noqa: PLC0415 -- see above

        asked = {"version": version, "makes_default": default, "note": note, "profile": self._run_options.get("profile")}
        return published_component(self.name, self.draw(), self._function, "pipeline", asked)

    @property
    def text(self) -> str:
        """The graph as text, a line a step."""
        from penstock.contracts.drawing import as_text  # noqa: PLC0415 -- see above
        from penstock.contracts.fan_outs import defaults_of, fan_out_lines  # noqa: PLC0415 -- see above

        spec = self.draw()[1]
        return "\n".join([as_text(spec), *fan_out_lines(spec, defaults_of(spec))])

    def _parameter(self, name: str) -> Handle:
        return Handle(Source(label=name, annotation=self.hints.get(name, Any), bind=lambda: FromParameter(parameter=name)))

    @override
    def __repr__(self) -> str:
        return f"<pipeline {self.name}>"

    def _repr_html_(self) -> str:
        import html  # noqa: PLC0415 -- see above

        try:
            text = self.text
        except PenstockError as error:
            text = f"it can't be drawn: {error}"
        return f"<p><b>{html.escape(self.name)}</b></p><pre>{html.escape(text)}</pre>"


def _call(function: Callable[..., Any], handles: list[Handle], signature: inspect.Signature) -> Any:
    positional: list[Handle] = []
    named: dict[str, Handle] = {}
    for handle, parameter in zip(handles, signature.parameters.values(), strict=True):
        match parameter.kind:
            case inspect.Parameter.KEYWORD_ONLY:
                named[parameter.name] = handle
            case inspect.Parameter.VAR_POSITIONAL | inspect.Parameter.VAR_KEYWORD:
                raise GraphError(f"{function.__name__}: the parameters of a pipeline have names; *{parameter.name} has none")
            case _:
                positional.append(handle)
    return function(*positional, **named)


class PipelineDecorator(Protocol):
    """What `@pipeline(name=...)` gives."""

    def __call__(self, function: Callable[P, R], /) -> Pipeline[P, R]: ...


@overload
def pipeline(function: Callable[P, R], /) -> Pipeline[P, R]: ...
@overload
def pipeline(**options: Unpack[PipelineOptions]) -> PipelineDecorator: ...
def pipeline(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Makes a function a pipeline: `@pipeline` or `@pipeline(name="sales.daily", on_failure=tell)`."""
    checked = cast(PipelineOptions, checked_options(options, PipelineOptions, f"{user_place()}: @pipeline(...)"))
    checked_options(checked.get("defaults", {}), StepOptions, f"{user_place()}: @pipeline(defaults=...)")
    if "name" in checked:
        # Dots are how people tell parts of a name apart; runs, routes and tables write them as dashes.
        checked["name"] = checked_name(checked["name"].replace(".", "-"), "the pipeline's name")
    if function is not None:
        return _made(function, checked)
    return partial(_made, options=checked)


def _made(function: Callable[..., Any], options: PipelineOptions) -> Pipeline[..., Any]:
    if not inspect.isfunction(function):
        raise GraphError(f"{user_place()}: @pipeline takes a function, not {function!r}")
    check_body(function)
    check_declared(options.get("triggers", ()), function, f"{user_place()}: {options.get('name') or dashed(function.__name__)}")
    return Pipeline(function, options)
