"""Answers to approvals in inline runs: there is nobody to ask, so a test says what is answered."""

from collections.abc import Callable
from typing import Any, cast

from penstock.contracts.errors import InvalidInput
from penstock.sdk.approvals import Decision
from penstock.sdk.steps import Step


def answered(step: str, question: str, fake: object) -> Decision:
    """The decision that `replace=` gives for an approval: a function of the question.

    :raises InvalidInput: there is none, or it gives something else.
    """
    if fake is None:
        raise InvalidInput(
            f"{step} asks {question!r}, and an inline run has nobody to ask; answer with "
            f"replace={{{step!r}: lambda question: Decision(approved=True)}}"
        )
    function = cast("Callable[[str], Any]", cast("Step[[str], Any]", fake).fn if isinstance(fake, Step) else fake)
    decision = function(question)
    if not isinstance(decision, Decision):
        raise InvalidInput(f"replace=: {step} needs a Decision, and got {decision!r}")
    return decision
