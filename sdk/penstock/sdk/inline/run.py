"""Inline runs: a whole pipeline in this process, step after step, without engine, store or cache. For tests and debuggers."""

import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, cast

from penstock.contracts.errors import InvalidInput, RunFailed
from penstock.contracts.messages import Failure, Metric
from penstock.contracts.named_artifacts import SCHEME
from penstock.contracts.spec import CollectSpec, CommandTarget, EachSpec, Node, PipelineSpec, StepSpec
from penstock.contracts.states import FailureKind, RunState, StepState
from penstock.contracts.targets import QUESTION, ApprovalTarget
from penstock.contracts.views import AttemptView, RunView, StepCount, StepRunView, Why
from penstock.sdk.context import CurrentRun, Identity, Record, bound_run
from penstock.sdk.drawing.calls import Call
from penstock.sdk.drawing.drawing import Drawing
from penstock.sdk.drawing.places import users_traceback
from penstock.sdk.drawing.results import rebuilt
from penstock.sdk.inline.answers import answered
from penstock.sdk.inline.steps import called, executed
from penstock.sdk.inline.surroundings import Surroundings, variables_set
from penstock.sdk.inline.values import Absent, Index, Missing, Outputs, Values, output_of
from penstock.sdk.nearest import nearest_hint
from penstock.sdk.runs.run import StepRun
from penstock.sdk.runs.run_ids import new_run_id
from penstock.sdk.scripts import Program
from penstock.sdk.steps import Step
from penstock.sdk.types import Directory, File, RunSummary

Replacements = Mapping[str, Callable[..., Any]]
_numbers = count(1)


@dataclass(slots=True)
class _Done:
    """A step run that ended."""

    view: StepRunView
    result: Any
    inputs: dict[str, Any] = field(default_factory=dict[str, Any])


class InlineRun:
    """A run that is over when this is made. Its files last as long as it does."""

    def __init__(
        self,
        drawing: Drawing,
        spec: PipelineSpec,
        parameters: Mapping[str, Any],
        hint: Any,
        replace: Replacements,
        around: Surroundings | None = None,
    ) -> None:
        _known(spec, replace)
        _local(parameters)
        self._around = around or Surroundings()
        self._drawing = drawing
        self._spec = spec
        self._hint = hint
        self._replace = replace
        self._folder = tempfile.mkdtemp(prefix="penstock-inline-")
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        weakref.finalize(self, drawing.constants.remove)
        self._values = Values(drawing.constants, parameters, Path(self._folder))
        self._values.depths = {node.name: len(node.scope) for node in spec.nodes}
        self._tolerated = _tolerated(spec)
        self._ended: list[_Done] = []
        self._error: str | None = None
        self._run_id = new_run_id()
        self._name = f"{spec.name}-inline-{next(_numbers)}"
        self._started = time.time_ns() // 1000
        self._execute()

    def _execute(self) -> None:
        for node in self._spec.nodes:
            for index in self._indexes(node):
                self._node(node, index)
                if self._error is not None:
                    break
            if self._error is not None:
                break
        self._finish()

    def _indexes(self, node: Node) -> Iterator[Index]:
        indexes: list[Index] = [()]
        for opening in node.scope:
            indexes = [(*index, i) for index in indexes for i in range(len(self._values.items[opening, index]))]
        yield from indexes

    def _node(self, node: Node, index: Index) -> None:
        try:
            if not all(self._values.read(condition, index) for condition in node.when):
                self._skip(node, index, Missing("its condition does not hold"))
                return
            match node:
                case StepSpec():
                    self._step(node, index)
                case EachSpec():
                    self._values.items[node.name, index] = self._opened(node, index)
                case CollectSpec():
                    self._values.results[node.name, index] = Outputs({"result": self._collected(node, index)})
        except Absent as absent:
            self._skip(node, index, absent.missing)

    def _skip(self, node: Node, index: Index, missing: Missing) -> None:
        self._values.results[node.name, index] = missing
        self._values.items[node.name, index] = []
        if isinstance(node, StepSpec):
            self._end(_Done(StepRunView(step=node.name, index=index, state=StepState.SKIPPED, reason=missing.reason), None))
        elif missing.is_failure and isinstance(node, CollectSpec):
            self._error = self._error or missing.reason

    def _opened(self, node: EachSpec, index: Index) -> list[Any]:
        lists = [list(self._values.read(items, index)) for items in node.each]
        if len({len(items) for items in lists}) > 1:
            raise InvalidInput(
                f"{node.name}: each(a, b) zips lists of one length; these have {' and '.join(str(len(items)) for items in lists)}"
            )
        if node.batch is not None:
            return [lists[0][start : start + node.batch] for start in range(0, len(lists[0]), node.batch)]
        return lists[0] if len(lists) == 1 else list(zip(*lists, strict=True))

    def _collected(self, node: CollectSpec, index: Index) -> list[Any]:
        total = len(self._values.items[node.over, index])
        kept: list[Any] = []
        there = 0
        for i in range(total):
            try:
                kept.append(self._values.read(node.collect, (*index, i)))
                there += 1
            except Absent:
                if node.missing == "fail":
                    raise
                if node.missing == "none":
                    kept.append(None)
                    there += 1
            if node.until is not None and self._holds(node, (*index, i)):
                return kept
        if node.until is None and there < node.at_least * total:
            told = f"{node.name}: {there} of {total} items are there, at least {node.at_least:.0%} were asked for"
            raise Absent(Missing(told, is_failure=True))
        return kept

    def _holds(self, node: CollectSpec, index: Index) -> bool:
        try:
            return node.until is not None and bool(self._values.read(node.until, index))
        except Absent:
            return False

    def _step(self, node: StepSpec, index: Index) -> None:
        call: Call = self._drawing.makers[node.name]
        inputs = self._inputs(node, call, index)
        if not node.is_dispatched:
            self._undispatched(node, index, inputs)
            return
        workdir = Path(tempfile.mkdtemp(dir=self._folder, prefix=f"{node.name.replace('/', '.')}-"))
        record = Record()
        try:
            current = CurrentRun(Identity(run_id=self._run_id, index=index, attempt=1), record)
            with bound_run(current), variables_set(self._around.variables(node)):
                result = self._performed(node, call, inputs, workdir)
        except Exception as error:  # noqa: BLE001  # whatever the user's code raises is this step run's failure
            self._failed(node, index, inputs, error)
            return
        metrics = tuple(Metric(name=name, value=value, step=step) for name, value, step in record.points)
        view = StepRunView(step=node.name, index=index, state=StepState.SUCCEEDED, metrics=metrics, attempts=_one_attempt("succeeded"))
        self._values.results[node.name, index] = result
        self._end(_Done(view, result, inputs))

    def _undispatched(self, node: StepSpec, index: Index, inputs: dict[str, Any]) -> None:
        """People are not asked, and nothing gets a name: there is nobody but this process."""
        result: Any = "not registered: an inline run gives nothing a name"
        if isinstance(node.run, ApprovalTarget):
            result = answered(node.name, str(inputs[QUESTION]), self._replace.get(node.name))
        self._values.results[node.name, index] = Outputs({"result": result})
        reason = result if isinstance(result, str) else "answered with replace="
        self._end(_Done(StepRunView(step=node.name, index=index, state=StepState.SUCCEEDED, reason=reason), result, inputs))

    def _end(self, done: _Done, error: Exception | None = None) -> None:
        self._ended.append(done)
        self._around.told(done.view, error)

    def _inputs(self, node: StepSpec, call: Call, index: Index) -> dict[str, Any]:
        inputs: dict[str, Any] = {}
        for name, binding in node.inputs.items():
            try:
                inputs[name] = self._values.read(binding, index, call.hints.get(name, Any), name)
            except Absent:
                if name not in node.accepts_none:
                    raise
                inputs[name] = None
        return inputs

    def _performed(self, node: StepSpec, call: Call, inputs: dict[str, Any], workdir: Path) -> Any:
        fake = self._replace.get(node.name)
        maker = call.maker
        match maker:
            case _ if fake is not None:
                result = called(fake.fn if isinstance(fake, Step) else fake, inputs, workdir)
            case Step():
                result = called(cast(Step[..., Any], maker).fn, inputs, workdir)
            case Program() if isinstance(node.run, CommandTarget):
                return executed(maker, node.run, node.outputs, inputs, workdir)
            case _:
                raise InvalidInput(f"{node.name} can't run inline; give a function for it with replace=")
        return Outputs({"result": result}) if [output.name for output in node.outputs] == ["result"] else result

    def _failed(self, node: StepSpec, index: Index, inputs: dict[str, Any], error: Exception) -> None:
        text = users_traceback(error)
        message = f"{type(error).__name__}: {error}"
        failure = Failure(kind=FailureKind.ERROR, message=message, error_type=type(error).__name__, traceback=text)
        view = StepRunView(step=node.name, index=index, state=StepState.FAILED, failure=failure, attempts=_one_attempt("failed"))
        self._values.results[node.name, index] = Missing(f"{node.name} failed: {message}", is_failure=True)
        self._end(_Done(view, None, inputs), error)
        if not node.allow_failure and not self._tolerated & set(node.scope):
            self._error = f"{node.name} failed: {message}"

    def _finish(self) -> None:
        state = RunState.SUCCEEDED if self._error is None else RunState.FAILED
        summary = RunSummary(run_id=self._run_id, name=self._name, state=str(state), pipeline=self._spec.name, error=self._error)
        wanted = {"on_exit", "on_success" if self._error is None else "on_failure"}
        for kind, hook in self._spec.hooks.items():
            if kind in wanted:
                call: Call = self._drawing.makers[f"{kind} {hook.name}"]
                self._performed(hook, call, {next(iter(hook.types)): summary}, Path(tempfile.mkdtemp(dir=self._folder)))

    def view(self) -> RunView:
        counts: dict[str, StepCount] = {}
        for done in self._ended:
            before = counts.get(done.view.step, StepCount(name=done.view.step, total=0))
            states = {**before.states, done.view.state: before.states.get(done.view.state, 0) + 1}
            counts[done.view.step] = before.model_copy(update={"total": (before.total or 0) + 1, "states": states})
        return RunView(
            run_id=self._run_id,
            number=0,
            name=self._name,
            pipeline=self._spec.name,
            spec_digest="",
            state=RunState.SUCCEEDED if self._error is None else RunState.FAILED,
            created_at=self._started,
            started_at=self._started,
            error=self._error,
            steps=tuple(counts.values()),
        )

    def outputs(self) -> Any:
        return rebuilt(self.named_outputs(), self._hint, lambda value, hint: value)

    def named_outputs(self) -> dict[str, Any]:
        """:raises RunFailed: a step that gives one failed or was skipped."""
        try:
            return {name: self._values.read(binding, (), self._hint) for name, binding in self._spec.outputs.items()}
        except Absent as absent:
            raise RunFailed(f"{self._name} has no result: {absent.missing.reason}", self._run_id) from absent

    def step_runs(self) -> list[StepRun[Any]]:
        return [StepRun(done.view, partial(_plain, done.result), partial(dict[str, Any], done.inputs)) for done in self._ended]

    def why(self, step: str, index: tuple[int, ...]) -> Why:
        for done in self._ended:
            if (done.view.step, done.view.index) == (step, index):
                return Why(step=step, index=index, state=done.view.state, verdict=done.view.reason or "an inline run executes every step")
        raise InvalidInput(f"{self._name} has no step run {step!r}{nearest_hint(step, [done.view.step for done in self._ended])}")

    def cancel(self, reason: str) -> None:
        """Nothing to do: it is over."""

    def wait(self) -> None:
        """Returns at once: it is over."""


def _plain(result: Any) -> Any:
    if not isinstance(result, Outputs):
        return result
    return output_of(result, "result") if set(result.by_name) == {"result"} else dict(result.by_name)


def _one_attempt(state: str) -> tuple[AttemptView, ...]:
    return (AttemptView(number=1, state=state, runner="inline"),)


def _tolerated(spec: PipelineSpec) -> set[str]:
    """The fan-outs whose items may fail, because what collects them accepts that."""
    return {node.over for node in spec.nodes if isinstance(node, CollectSpec) and node.missing != "fail"}


def _local(parameters: Mapping[str, Any]) -> None:
    for name, value in parameters.items():
        if isinstance(value, File | Directory) and value.uri.startswith(SCHEME):
            raise InvalidInput(
                f"the parameter {name!r}: {value!r} needs an engine, and an inline run has none; give a file of this machine"
            )


def _known(spec: PipelineSpec, replace: Replacements) -> None:
    known = [step.name for step in spec.steps]
    for name in replace:
        if name not in known:
            raise InvalidInput(f"replace=: {spec.name} has no step {name!r}{nearest_hint(name, known)}")
