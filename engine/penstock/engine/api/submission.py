"""Runs that are asked for over HTTP, by whatever address: checked, written down, and rung for."""

import structlog
from fastapi import Response
from sqlalchemy import Connection

from penstock.contracts.errors import BusUnavailable
from penstock.contracts.messages import SubmitRun, encode
from penstock.contracts.views import RunView
from penstock.engine.api.admission import admitted
from penstock.engine.api.services import Services, answer, now
from penstock.engine.queries import run_view
from penstock.engine.runs import submit
from penstock.transport.bus import Envelope, Exchange

log: structlog.stdlib.BoundLogger = structlog.get_logger("penstock.api")


async def taken_in(services: Services, submission: SubmitRun) -> Response:
    """201 once the run is durable; 200 where it was asked for before."""
    await admitted(services, submission)

    def function(connection: Connection) -> tuple[bool, RunView]:
        _, is_new = submit(connection, submission, now())
        return is_new, run_view(connection, services.row(connection, submission.run_id), now())

    is_new, view = await services.write(function)
    # The doorbell: coordinators find the run by its rows, so they need neither spec nor parameters.
    bell = SubmitRun(workspace=services.workspace, run_id=submission.run_id, spec=b"")
    try:
        await services.bus.publish(Envelope(exchange=Exchange.REPORTS, key="submit", body=encode(bell)))
    except BusUnavailable as error:
        # A coordinator begins what nobody rang for, a little later.
        log.warning("publish.failed", exchange=Exchange.REPORTS.value, reason=str(error))
    return answer(view, 201 if is_new else 200)
