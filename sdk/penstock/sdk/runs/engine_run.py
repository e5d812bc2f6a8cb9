"""A run of an engine, read through its client. Values come back as the annotations of the pipeline's steps say."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from penstock.contracts.artifacts import RecordValue, Value
from penstock.contracts.views import RunView, StepRunView, Why
from penstock.sdk.client import EngineClient
from penstock.sdk.drawing.calls import Call
from penstock.sdk.drawing.results import rebuilt
from penstock.sdk.runs.run import StepRun
from penstock.sdk.values.codecs import decode

_PAGE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotations:
    """What the pipeline's code says of the values: of its result, and of each step's call by the step's name."""

    result: Any = Any
    calls: Mapping[str, Call] = field(default_factory=dict[str, Call])


class EngineRun:
    """Reads a run from an engine. A terminal run is read once."""

    def __init__(self, client: EngineClient, run_id: str, annotations: Annotations | None = None) -> None:
        self._client = client
        self._run_id = run_id
        self._annotations = annotations or Annotations()
        self._final: RunView | None = None

    def view(self) -> RunView:
        if self._final is not None:
            return self._final
        view = self._client.run(self._run_id)
        if view.state.is_terminal:
            self._final = view
        return view

    def outputs(self) -> Any:
        return rebuilt(self.view().outputs, self._annotations.result, self._decoded)

    def step_runs(self) -> list[StepRun[Any]]:
        views = self._client.step_runs(self._run_id, limit=_PAGE)
        if len(views) == _PAGE:
            names = [count.name for count in self.view().steps if count.kind == "step"]
            views = [view for name in names for view in self._client.step_runs(self._run_id, name, limit=10**9)]
        return [self._step_run(view) for view in views]

    def _step_run(self, view: StepRunView) -> StepRun[Any]:
        return StepRun(view, partial(self._result, view), partial(self._inputs, view))

    def _result(self, view: StepRunView) -> Any:
        call = self._annotations.calls.get(view.step)
        if call is not None and call.outputs is not None:
            return {output.name: self._decoded(view.outputs[output.name], Any) for output in call.outputs}
        return rebuilt(view.outputs, Any if call is None else call.result, self._decoded)

    def _inputs(self, view: StepRunView) -> dict[str, Any]:
        call = self._annotations.calls.get(view.step)
        hints: Mapping[str, Any] = {} if call is None else call.hints
        return {name: self._decoded(value, hints.get(name, Any)) for name, value in view.inputs.items()}

    def _decoded(self, value: Value, hint: Any) -> Any:
        if isinstance(value, RecordValue) and hint is Any:
            return {name: self._decoded(part, Any) for name, part in value.record.items()}
        return decode(value, hint, self._client.local)

    def why(self, step: str, index: tuple[int, ...]) -> Why:
        return self._client.why(self._run_id, step, index)

    def cancel(self, reason: str) -> None:
        self._client.cancel(self._run_id, reason)

    def wait(self) -> None:
        for _ in self._client.follow(self._run_id):
            pass
