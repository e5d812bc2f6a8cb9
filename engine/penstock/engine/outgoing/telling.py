"""Whether anybody is to hear of what a decision changes.

Where nobody registered, a run costs one question at its beginning and one at its end, and its steps nothing. Whether somebody wants to
hear of a run's steps is settled when it begins.
"""

import structlog
from sqlalchemy import Connection

from penstock.engine.core.decision import Decision
from penstock.engine.outgoing.listeners import listeners
from penstock.engine.outgoing.moments import RUN_MOMENTS, STEP_MOMENTS, TELLS_STEPS
from penstock.engine.slice_reader import load_run

log: structlog.stdlib.BoundLogger = structlog.get_logger("penstock.outgoing")


def tell(connection: Connection, decision: Decision) -> bool:
    """Owes what the decision makes known to those who want it; whether there was anything.

    Call it before the decision is written: what is read is as it was.
    """
    emits = any(finding.report.emitted for finding in decision.changes.findings)
    if not emits and not _concerns_others(decision):
        return False
    known = listeners(connection, decision.run.workspace)
    if not emits and not known.are_there:
        return False
    from penstock.engine.outgoing import composing  # noqa: PLC0415 -- a run of which nobody hears has no time for the events' models

    return composing.tell(connection, decision, known)


def tell_of_failure(connection: Connection, run_no: int, now: int) -> None:
    """Owes that a run has failed which nobody could decide. What is wrong with it may keep anybody from being told, too."""
    run = load_run(connection, run_no)
    if run is None:
        return
    from penstock.engine.outgoing import composing  # noqa: PLC0415 -- as above

    try:
        composing.tell_of_failure(connection, run, now)
    except (ValueError, TypeError, LookupError) as error:
        log.warning("event.impossible", run_id=run.run_id, reason=repr(error))


def _concerns_others(decision: Decision) -> bool:
    types = {moment.type for moment in decision.changes.moments}
    return not types.isdisjoint(RUN_MOMENTS) or (TELLS_STEPS in decision.run.options and not types.isdisjoint(STEP_MOMENTS))
