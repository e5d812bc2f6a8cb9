"""The triggers in a pipeline's YAML document: trigger specs, whose name and pipeline may be left out."""

from collections.abc import Mapping
from typing import Any, cast

from penstock.contracts.errors import GraphError
from penstock.contracts.names import dashed
from penstock.contracts.spec import PipelineSpec
from penstock.contracts.triggers import TriggerSpec, plain_trigger
from penstock.sdk.drawing.yaml_bindings import mapping, refuse_unknown, sequence, validated
from penstock.sdk.nearest import nearest_hint


def written_triggers(plain: tuple[dict[str, Any], ...]) -> list[dict[str, Any]]:
    """Plain triggers as a document has them: their pipeline is the document's."""
    return [{name: value for name, value in trigger.items() if name != "pipeline"} for trigger in plain]


def read_triggers_of(document: Mapping[str, Any], spec: PipelineSpec, file: str) -> tuple[dict[str, Any], ...]:
    """The plain triggers of a document whose pipeline is `spec`.

    :raises GraphError: one has a wrong form, is another pipeline's, or maps a parameter that there is not.
    """
    if "triggers" not in document:
        return ()
    triggers = sequence(document["triggers"], f"{file}: triggers")
    return tuple(_trigger(written, number, spec, f"{file}: triggers[{number - 1}]") for number, written in enumerate(triggers, 1))


def _trigger(data: Any, number: int, spec: PipelineSpec, where: str) -> dict[str, Any]:
    written = mapping(_with_on(data), where)
    refuse_unknown(written, TriggerSpec, where)
    pipeline = dashed(spec.name)
    if written.get("pipeline", pipeline) != pipeline:
        raise GraphError(f"{where}.pipeline: it starts {written['pipeline']!r}; leave that out, for it starts {pipeline!r}")
    fields = {"name": pipeline if number == 1 else f"{pipeline}-{number}", "pipeline": pipeline, **written}
    trigger = cast(TriggerSpec, validated(TriggerSpec, fields, where))
    known = [parameter.name for parameter in spec.parameters]
    for name in trigger.parameters:
        if name not in known:
            raise GraphError(f"{where}.parameters: {spec.name} has no parameter {name!r}{nearest_hint(name, known)}")
    return plain_trigger(trigger)


def _with_on(data: Any) -> Any:
    """YAML 1.1 reads the word `on` as true."""
    match data:
        case {**parts} if True in parts:
            return {"on" if name is True else name: part for name, part in parts.items()}
        case _:
            return data
