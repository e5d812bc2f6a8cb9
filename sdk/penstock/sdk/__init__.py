"""What users import: steps, pipelines, the types of their signatures.

A name is imported when it is asked for: a guest, forked from what was imported before it, bears what its user's module uses and no more.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.contracts.errors import GraphError, InvalidInput, PenstockError, RunFailed
    from penstock.sdk.approvals import Decision, approval
    from penstock.sdk.components import component
    from penstock.sdk.conditions import either, not_, otherwise, when
    from penstock.sdk.context import current_run, recorded_run
    from penstock.sdk.fanout import collect, each
    from penstock.sdk.later import transfer
    from penstock.sdk.pipelines import Pipeline, pipeline
    from penstock.sdk.registrations import register
    from penstock.sdk.runs.run import Run, StepRun, StepRuns
    from penstock.sdk.scripts import CommandStep, ScriptStep
    from penstock.sdk.steps import Step, step
    from penstock.sdk.triggers import All, Any, Batch, Concurrency, Cron, Debounce, OnData, OnEvent, OnRun, Throttle
    from penstock.sdk.types import Directory, Done, Environment, File, KeepName, Output, Resources, Retry, RunSummary, Secret

__all__ = [
    "All",
    "Any",
    "Batch",
    "CommandStep",
    "Concurrency",
    "Cron",
    "Debounce",
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
    "Throttle",
    "approval",
    "collect",
    "component",
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

_NAMES = {
    "penstock.contracts.errors": ("GraphError", "InvalidInput", "PenstockError", "RunFailed"),
    "penstock.sdk.approvals": ("Decision", "approval"),
    "penstock.sdk.components": ("component",),
    "penstock.sdk.conditions": ("either", "not_", "otherwise", "when"),
    "penstock.sdk.context": ("current_run", "recorded_run"),
    "penstock.sdk.fanout": ("collect", "each"),
    "penstock.sdk.later": ("transfer",),
    "penstock.sdk.pipelines": ("Pipeline", "pipeline"),
    "penstock.sdk.registrations": ("register",),
    "penstock.sdk.runs.run": ("Run", "StepRun", "StepRuns"),
    "penstock.sdk.scripts": ("CommandStep", "ScriptStep"),
    "penstock.sdk.steps": ("Step", "step"),
    "penstock.sdk.triggers": ("All", "Any", "Batch", "Concurrency", "Cron", "Debounce", "OnData", "OnEvent", "OnRun", "Throttle"),
    "penstock.sdk.types": ("Directory", "Done", "Environment", "File", "KeepName", "Output", "Resources", "Retry", "RunSummary", "Secret"),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}


def __dir__() -> list[str]:
    return __all__


# Where type checkers can't see it: to them, a name that is not imported above is an error.
if not TYPE_CHECKING:

    def __getattr__(name):
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_HOMES[name]), name)
        return value
