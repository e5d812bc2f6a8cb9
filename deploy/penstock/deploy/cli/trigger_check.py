"""Triggers as far as they can be judged without an engine: their expressions, schedules, and how they fit the pipeline."""

from collections.abc import Sequence

from penstock.contracts.errors import InvalidInput
from penstock.contracts.spec import PipelineSpec
from penstock.contracts.triggers import TriggerSpec


def check_triggers(triggers: Sequence[TriggerSpec], spec: PipelineSpec) -> str:
    """Empty, or why their expressions could not be looked at here.

    :raises InvalidInput: one can't work; the text says where and what to do.
    """
    if not triggers:
        return ""
    try:
        from penstock.engine.triggers.checking import check_trigger  # noqa: PLC0415 -- a plain installation can't evaluate expressions
    except ModuleNotFoundError as error:
        return f"the expressions of triggers were not looked at ({error.name} is missing): pip install 'penstock[services]'"
    for number, trigger in enumerate(triggers):
        try:
            check_trigger(trigger, spec)
        except InvalidInput as error:
            raise InvalidInput(f"triggers[{number}]: {error}") from error
    return ""
