"""What an artifact was made of: found by the digests that a run's step runs read and wrote."""

from collections.abc import Iterator

from penstock.contracts.artifacts import refs_in
from penstock.contracts.drawing import value_text
from penstock.contracts.views import RunView, StepRunView
from penstock.deploy.cli.addresses import steps_of
from penstock.deploy.cli.summary import address
from penstock.sdk.client import EngineClient


def lineage_lines(client: EngineClient, view: RunView, start: StepRunView) -> Iterator[str]:
    """A tree from a step run back to parameters; what was shown above is named again, but not opened again."""
    step_runs = steps_of(client, view)
    makers: dict[str, list[StepRunView]] = {}
    for step_run in step_runs:
        for value in step_run.outputs.values():
            for ref in refs_in(value):
                makers.setdefault(ref.digest, []).append(step_run)
    parameters = {ref.digest: name for name, value in view.parameters.items() for ref in refs_in(value)}
    yield _title(start)
    yield from _below(client, start, makers, parameters, "  ", {address(start)})


def _below(
    client: EngineClient,
    step_run: StepRunView,
    makers: dict[str, list[StepRunView]],
    parameters: dict[str, str],
    indent: str,
    seen: set[str],
) -> Iterator[str]:
    for name, value in step_run.inputs.items():
        refs = [ref for item in client.value_items(value) for ref in refs_in(item)] if _is_list(value) else refs_in(value)
        found: dict[str, StepRunView] = {}
        for ref in refs:
            for maker in makers.get(ref.digest, [])[:1]:
                if maker.step != step_run.step:
                    found.setdefault(address(maker), maker)
        if not found:
            origin = next((f"parameter {parameters[ref.digest]}" for ref in refs if ref.digest in parameters), "")
            yield f"{indent}{name} = {value_text(value, 60)}" + (f"  ({origin})" if origin else "")
        for where, maker in found.items():
            yield f"{indent}{name} <- {_title(maker)}" + ("  (see above)" if where in seen else "")
            if where not in seen:
                seen.add(where)
                yield from _below(client, maker, makers, parameters, indent + "  ", seen)


def _is_list(value: object) -> bool:
    return getattr(value, "kind", None) == "list"


def _title(step_run: StepRunView) -> str:
    origin = f"hit, made by {step_run.hit_run}" if step_run.hit and step_run.hit_run else "hit" if step_run.hit else "executed"
    return f"{address(step_run)} ({origin})"
