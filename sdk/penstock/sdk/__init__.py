"""What users import: steps, pipelines, the types of their signatures."""

from penstock.contracts.errors import GraphError, InvalidInput, PenstockError, RunFailed
from penstock.sdk.conditions import either, not_, otherwise, when
from penstock.sdk.fanout import collect, each
from penstock.sdk.pipelines import Pipeline, pipeline
from penstock.sdk.scripts import CommandStep, ScriptStep
from penstock.sdk.steps import Step, step
from penstock.sdk.triggers import All, Any, Cron, OnData, OnEvent, OnRun
from penstock.sdk.types import Directory, Done, Environment, File, KeepName, Output, Resources, Retry, RunSummary, Secret

__all__ = [
    "All",
    "Any",
    "CommandStep",
    "Cron",
    "Directory",
    "Done",
    "Environment",
    "File",
    "GraphError",
    "InvalidInput",
    "KeepName",
    "OnData",
    "OnEvent",
    "OnRun",
    "Output",
    "PenstockError",
    "Pipeline",
    "Resources",
    "Retry",
    "RunFailed",
    "RunSummary",
    "ScriptStep",
    "Secret",
    "Step",
    "collect",
    "each",
    "either",
    "not_",
    "otherwise",
    "pipeline",
    "step",
    "when",
]
