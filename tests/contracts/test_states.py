"""Which states are final: rows in them never change again."""

from penstock.contracts.states import AttemptState, RunState, StepState


def test_a_run_ends_in_one_of_three_states() -> None:
    assert {state for state in RunState if state.is_terminal} == {RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED}


def test_a_step_run_ends_in_one_of_four_states() -> None:
    ends = {StepState.SUCCEEDED, StepState.FAILED, StepState.SKIPPED, StepState.CANCELLED}

    assert {state for state in StepState if state.is_terminal} == ends


def test_an_attempt_is_open_only_while_somebody_may_execute_it() -> None:
    assert {state for state in AttemptState if not state.is_closed} == {AttemptState.DISPATCHED, AttemptState.RUNNING}
