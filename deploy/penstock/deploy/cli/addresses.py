"""How people name things inside runs: `train`, `train/3`, `fit/3/0`, `split.train`; RUN in front of it, or the last run."""

from dataclasses import dataclass

from typing_extensions import override

from penstock.contracts.bindings import RESULT
from penstock.contracts.errors import InvalidInput
from penstock.contracts.views import RunView, StepRunView
from penstock.sdk.client import EngineClient
from penstock.sdk.nearest import nearest_hint

LAST = "last"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A step of a run; `index` empty for all its step runs, `output` None for all its outputs."""

    run: RunView
    step: str
    index: tuple[int, ...] = ()
    output: str | None = None

    @override
    def __str__(self) -> str:
        return "/".join([self.step, *map(str, self.index)])


def located(client: EngineClient, words: list[str]) -> Address:
    """The address in `[RUN] STEP[/INDEX...][.OUTPUT]`. Names of steps may hold dots and slashes themselves; the longest counts.

    :raises InvalidInput: no such run or step, or too many words.
    """
    if not 1 <= len(words) <= 2:
        raise InvalidInput("name a step, after its run if that is not the last one: [RUN] STEP[/INDEX]")
    run = client.run(words[0] if len(words) == 2 else LAST)
    text = words[-1]
    names = step_names(run)
    for name in sorted(names, key=len, reverse=True):
        rest = text.removeprefix(name)
        if not text.startswith(name) or (rest and rest[0] not in "/."):
            continue
        indexes, _, output = rest.partition(".")
        parts = indexes.split("/")[1:]
        if all(part.isdecimal() for part in parts):
            return Address(run=run, step=name, index=tuple(map(int, parts)), output=output or None)
    raise InvalidInput(f"{run.name} has no step {text!r}{nearest_hint(text.partition('/')[0], names)}")


def step_names(run: RunView) -> list[str]:
    """The steps of a run, without the fan-outs and joins between them."""
    return [count.name for count in run.steps if count.kind == "step"]


def steps_of(client: EngineClient, run: RunView) -> list[StepRunView]:
    """The run's step runs, without the items of fan-outs and joins."""
    names = set(step_names(run))
    return [step_run for step_run in client.step_runs(run.run_id) if step_run.step in names]


def step_runs_at(client: EngineClient, address: Address) -> list[StepRunView]:
    """The step runs at `address`, at least one.

    :raises InvalidInput: none is there, or not yet.
    """
    depth = len(address.index)
    step_runs = [step_run for step_run in client.step_runs(address.run.run_id, address.step) if step_run.index[:depth] == address.index]
    if not step_runs:
        raise InvalidInput(f"{address.run.name} has no step run {address} (yet); see: penstock runs show {address.run.name}")
    return step_runs


def one_step_run(client: EngineClient, address: Address) -> StepRunView:
    """The step run at `address`; of several, the first that failed.

    :raises InvalidInput: none, or several with none failed.
    """
    step_runs = step_runs_at(client, address)
    if len(step_runs) == 1:
        return step_runs[0]
    failed = [step_run for step_run in step_runs if step_run.failure is not None]
    if failed:
        return failed[0]
    example = "/".join([address.step, *map(str, step_runs[0].index)])
    raise InvalidInput(f"{address} has {len(step_runs)} step runs in {address.run.name}; name one, as {example}")


def chosen_output(step_run: StepRunView, output: str | None) -> str:
    """The name of the wanted output: the named one, the only one, or `result`.

    :raises InvalidInput: no such output.
    """
    if output is None and (RESULT in step_run.outputs or len(step_run.outputs) == 1):
        return RESULT if RESULT in step_run.outputs else next(iter(step_run.outputs))
    if output is None or output not in step_run.outputs:
        wanted = f"no output {output!r}" if output else "no single output"
        raise InvalidInput(f"{step_run.step} has {wanted}{nearest_hint(output or '', list(step_run.outputs))}")
    return output
