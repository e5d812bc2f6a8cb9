"""The pipeline that events start in the benchmark: its only step says how old the event was at its first line."""

import time

from penstock.sdk import OnEvent, pipeline, step

EVENT = "org.example.tick"


@step(cache=False)
def look(sent: float) -> float:
    return time.time() - sent


@pipeline(triggers=[OnEvent(EVENT, parameters={"sent": "event.data.sent"})])
def heard(sent: float) -> float:
    return look(sent)
