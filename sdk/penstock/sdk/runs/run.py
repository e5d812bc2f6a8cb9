"""Runs as users see them: state, result, step runs. Where they come from (an engine, this process) is behind `RunSource`."""

import html
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, Protocol, TypeVar, overload

from typing_extensions import override

from penstock.contracts.errors import InvalidInput, RunFailed
from penstock.contracts.states import RunState, StepState
from penstock.contracts.views import AttemptView, RunView, StepRunView, Why
from penstock.sdk.nearest import nearest_hint
from penstock.sdk.runs.failures import failure_text
from penstock.sdk.steps import Step

R = TypeVar("R")
T = TypeVar("T")


class RunSource(Protocol):
    """What a run is read from."""

    def view(self) -> RunView: ...

    def outputs(self) -> Any:
        """The pipeline's result; asked of a succeeded run only."""
        ...

    def step_runs(self) -> "list[StepRun[Any]]":
        """In order of step and index."""
        ...

    def why(self, step: str, index: tuple[int, ...]) -> Why: ...

    def cancel(self, reason: str) -> None: ...

    def wait(self) -> None:
        """Returns when the run is terminal."""
        ...


class StepRun(Generic[T]):
    """One step run: `.result()`, `.attempts`, `.inputs`, `.state`."""

    def __init__(self, view: StepRunView, read: Callable[[], T], read_inputs: Callable[[], dict[str, Any]]) -> None:
        self._view = view
        self._read = read
        self._read_inputs = read_inputs

    @property
    def view(self) -> StepRunView:
        """All that is known of it, as plain data."""
        return self._view

    @property
    def step(self) -> str:
        return self._view.step

    @property
    def index(self) -> tuple[int, ...]:
        """Its path through the fan-outs around it."""
        return self._view.index

    @property
    def state(self) -> StepState:
        return self._view.state

    @property
    def is_hit(self) -> bool:
        """Whether its outputs came from the cache."""
        return self._view.hit

    @property
    def attempts(self) -> tuple[AttemptView, ...]:
        return self._view.attempts

    @property
    def inputs(self) -> dict[str, Any]:
        return self._read_inputs()

    @property
    def metrics(self) -> dict[str, list[float]]:
        found: dict[str, list[float]] = {}
        for metric in self._view.metrics:
            found.setdefault(metric.name, []).append(metric.value)
        return found

    def result(self) -> T:
        """:raises RunFailed: it has none, with the reason."""
        if self.state is not StepState.SUCCEEDED:
            raise RunFailed(failure_text(self._view))
        return self._read()

    @override
    def __repr__(self) -> str:
        return f"<step run {_address(self)}: {self.state}{', from the cache' if self.is_hit else ''}>"


class StepRuns(Sequence[StepRun[T]]):
    """The step runs of a step in index order. Where there is one only, its results can be asked for directly."""

    def __init__(self, step: str, step_runs: list[StepRun[T]]) -> None:
        self._step = step
        self._step_runs = step_runs

    @overload
    def __getitem__(self, index: int) -> StepRun[T]: ...
    @overload
    def __getitem__(self, index: slice) -> "StepRuns[T]": ...
    @override
    def __getitem__(self, index: int | slice) -> "StepRun[T] | StepRuns[T]":
        if isinstance(index, slice):
            return StepRuns(self._step, self._step_runs[index])
        return self._step_runs[index]

    @override
    def __len__(self) -> int:
        return len(self._step_runs)

    @override
    def __iter__(self) -> Iterator[StepRun[T]]:
        return iter(self._step_runs)

    def result(self) -> T:
        return self._only("result()").result()

    @property
    def state(self) -> StepState:
        return self._only("state").state

    @property
    def is_hit(self) -> bool:
        return self._only("is_hit").is_hit

    @property
    def attempts(self) -> tuple[AttemptView, ...]:
        return self._only("attempts").attempts

    @property
    def inputs(self) -> dict[str, Any]:
        return self._only("inputs").inputs

    @property
    def metrics(self) -> dict[str, list[float]]:
        return self._only("metrics").metrics

    def _only(self, what: str) -> StepRun[T]:
        if len(self._step_runs) != 1:
            raise InvalidInput(f"{self._step!r} has {len(self)} step runs; take one of them: run[{self._step!r}][0].{what}")
        return self._step_runs[0]

    @override
    def __repr__(self) -> str:
        return f"<{len(self)} step runs of {self._step}>"


class Run(Generic[R]):
    """One execution of a pipeline."""

    def __init__(self, source: RunSource) -> None:
        self._source = source

    @property
    def view(self) -> RunView:
        """All that is known of it, as plain data."""
        return self._source.view()

    @property
    def run_id(self) -> str:
        return self.view.run_id

    @property
    def name(self) -> str:
        return self.view.name

    @property
    def state(self) -> RunState:
        return self.view.state

    def result(self) -> R:
        """What the pipeline returned; waits for it.

        :raises RunFailed: the run did not succeed, with the user's traceback.
        """
        self.wait()
        self.raise_if_failed()
        result: R = self._source.outputs()
        return result

    def wait(self) -> "Run[R]":
        """Returns when the run is terminal, whatever its state."""
        if not self.state.is_terminal:
            self._source.wait()
        return self

    def cancel(self, reason: str = "") -> None:
        self._source.cancel(reason)

    def why(self, step: "str | Step[..., Any]", *index: int) -> Why:
        """Why a step run executed, was a hit or was skipped."""
        return self._source.why(_step_name(step), index)

    @property
    def steps(self) -> dict[str, StepRuns[Any]]:
        """All step runs by step, in order."""
        found: dict[str, list[StepRun[Any]]] = {}
        for step_run in self._source.step_runs():
            found.setdefault(step_run.step, []).append(step_run)
        return {name: StepRuns(name, step_runs) for name, step_runs in found.items()}

    @overload
    def __getitem__(self, step: Step[..., T]) -> StepRuns[T]: ...
    @overload
    def __getitem__(self, step: str) -> StepRuns[Any]: ...
    def __getitem__(self, step: str | Step[..., Any]) -> StepRuns[Any]:
        """The step runs of a step: `run[train]`, or `run["final"]` where it has a name of its own.

        :raises InvalidInput: it has no such step.
        """
        name, steps = _step_name(step), self.steps
        if name in steps:
            return steps[name]
        inner = [full for full in steps if full.endswith(f"/{name}")]
        if len(inner) == 1:
            return steps[inner[0]]
        known = {count.name for count in self.view.steps if count.kind == "step"}
        if name in known:
            return StepRuns(name, [])
        raise InvalidInput(f"{self.name} has no step {name!r}{nearest_hint(name, sorted(known | set(steps)))}")

    def raise_if_failed(self) -> None:
        """:raises RunFailed: the run ended otherwise than well."""
        view = self.view
        if view.state is RunState.SUCCEEDED or not view.state.is_terminal:
            return
        failed = [step_run.view for step_run in self._source.step_runs() if step_run.state is StepState.FAILED]
        reasons = [failure_text(step_run) for step_run in failed[:3]]
        more = [f"... and {len(failed) - 3} more step runs failed"] if len(failed) > 3 else []
        # The traceback first, on a line of its own: a raised error's name stands before its text.
        raise RunFailed(
            "\n" + "\n\n".join([*reasons, *more, f"{view.name} {view.state}{f': {view.error}' if view.error else ''}"]), view.run_id
        )

    @override
    def __repr__(self) -> str:
        view = self.view
        return f"<run {view.name}: {view.state}>"

    def _repr_html_(self) -> str:
        view = self.view
        rows = "".join(
            f"<tr><td>{html.escape(name)}</td><td>{len(step_runs)}</td><td>{html.escape(_states(step_runs))}</td></tr>"
            for name, step_runs in self.steps.items()
        )
        head = "<tr><th>step</th><th>step runs</th><th>state</th></tr>"
        return f"<p><b>{html.escape(view.name)}</b> {html.escape(view.state)}</p><table>{head}{rows}</table>"


def _states(step_runs: StepRuns[Any]) -> str:
    counts: dict[str, int] = {}
    for step_run in step_runs:
        word = "hit" if step_run.is_hit else str(step_run.state)
        counts[word] = counts.get(word, 0) + 1
    return ", ".join(word if count == len(step_runs) else f"{count} {word}" for word, count in counts.items())


def _step_name(step: str | Step[..., Any]) -> str:
    return step if isinstance(step, str) else step.name


def _address(step_run: StepRun[Any]) -> str:
    return "/".join([step_run.step, *map(str, step_run.index)])
