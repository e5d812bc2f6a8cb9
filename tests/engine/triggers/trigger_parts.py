"""Small triggers, pipelines and events for tests."""

from typing import Any

from penstock.contracts.cloud_events import CloudEvent
from penstock.contracts.spec import ParameterSpec, PipelineSpec
from penstock.contracts.triggers import OnEventSource, TriggerSpec

RAW = ParameterSpec(name="raw", type="File", read="file")
RAWS = ParameterSpec(name="raws", type="list[File]", read="object")
FOLDER = ParameterSpec(name="folder", type="Directory", read="directory")
NAME = ParameterSpec(name="name", type="str", read="text")
ROWS = ParameterSpec(name="rows", type="int", schema={"type": "integer"})
DAY = ParameterSpec(name="day", type="date", schema={"type": "string", "format": "date"})
MODEL = ParameterSpec(name="model", type="Model", read="object")


def pipeline(*parameters: ParameterSpec) -> PipelineSpec:
    return PipelineSpec.model_construct(name="retrain", parameters=parameters)


def trigger(**fields: Any) -> TriggerSpec:
    return TriggerSpec.model_validate({"name": "new-data", "pipeline": "retrain", "on": OnEventSource(type="data.published"), **fields})


def event(data: Any = None, **fields: Any) -> CloudEvent:
    return CloudEvent.model_validate({"id": "1", "source": "/lake", "type": "data.published", "data": data, **fields})
