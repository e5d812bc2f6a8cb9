"""What users import: steps, pipelines, the types of their signatures."""

from penstock.contracts.errors import GraphError, InvalidInput, PenstockError, RunFailed
from penstock.sdk.conditions import either, not_, otherwise, when
from penstock.sdk.context import current_run, recorded_run
from penstock.sdk.fanout import collect, each
from penstock.sdk.later import Decision, approval, register, transfer
from penstock.sdk.pipelines import Pipeline, pipeline
from penstock.sdk.runs.run import Run, StepRun, StepRuns
from penstock.sdk.scripts import CommandStep, ScriptStep
from penstock.sdk.steps import Step, step
from penstock.sdk.triggers import All, Any, Cron, OnData, OnEvent, OnRun
from penstock.sdk.types import Directory, Done, Environment, File, KeepName, Output, Resources, Retry, RunSummary, Secret

__all__ = [
    "All",
    "Any",
    "CommandStep",
    "Cron",
    "Decision",
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
    "Run",
    "RunFailed",
    "RunSummary",
    "ScriptStep",
    "Secret",
    "Step",
    "StepRun",
    "StepRuns",
    "approval",
    "collect",
    "current_run",
    "each",
    "either",
    "not_",
    "otherwise",
    "pipeline",
    "recorded_run",
    "register",
    "step",
    "transfer",
    "when",
]
