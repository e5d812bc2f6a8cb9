"""Traces by OpenTelemetry: one for each run across all services. Exported only where `OTEL_EXPORTER_OTLP_ENDPOINT` is set.

Ids are derived from the run's id and the attempt's numbers, so no service has to hand them to another: the runner parents its span on the
attempt's before anybody has written that one. Runs and attempts are written from their rows when the run has ended.
"""

import hashlib
import os
from typing import Self

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from penstock.contracts.messages import Completed, Order
from penstock.contracts.spec import StepSpec
from penstock.contracts.states import AttemptState
from penstock.engine.histories import PastAttempt, PastRun

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_FLUSH_MILLISECONDS = 3000
Attributes = dict[str, str | int | float]


def _number(text: str, size: int) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:size], "big") or 1


def trace_id(run_id: str) -> int:
    """The trace of a run."""
    return _number(f"penstock run {run_id}", 16)


def _context(run_id: str, *part: object) -> SpanContext:
    span = _number("/".join(map(str, (run_id, *part))), 8)
    return SpanContext(trace_id(run_id), span, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))


class Tracer:
    """Writes spans; they are sent in the background, and dropped where the receiver is away."""

    def __init__(self, service: str, name: str, exporter: SpanExporter | None = None) -> None:
        self._resource = Resource.create({"service.name": f"penstock-{service}", "service.instance.id": name})
        self._processor = BatchSpanProcessor(exporter or OTLPSpanExporter())

    @classmethod
    def where_wanted(cls, service: str, name: str) -> Self | None:
        """One that exports where the environment says; None where it says nothing."""
        return cls(service, name) if any(os.environ.get(variable) for variable in ENDPOINTS) else None

    def close(self) -> None:
        """Sends what is there, if that can be done soon."""
        self._processor.force_flush(_FLUSH_MILLISECONDS)
        self._processor.shutdown()  # type: ignore[no-untyped-call]  # it tells no type

    def run(self, run: PastRun) -> None:
        """A run that has ended, with its attempts."""
        root = _context(run.run_id)
        attributes: Attributes = {
            "penstock.run": run.name,
            "penstock.run_id": run.run_id,
            "penstock.workspace": run.workspace,
            "penstock.state": run.state,
        }
        self._write(f"run {run.pipeline}", root, None, (run.created_at, run.ended_at), attributes, is_good=run.state == "succeeded")
        for attempt in run.attempts:
            self._attempt(run, root, attempt)

    def _attempt(self, run: PastRun, root: SpanContext, attempt: PastAttempt) -> None:
        attributes: Attributes = {
            "penstock.step": attempt.step,
            "penstock.item": attempt.item,
            "penstock.attempt": attempt.number,
            "penstock.pool": attempt.pool,
            "penstock.runner": attempt.runner,
            "penstock.state": attempt.state,
        }
        ended = attempt.ended_at if attempt.ended_at is not None else run.ended_at
        context = _context(run.run_id, attempt.node, attempt.item, attempt.number)
        is_good = attempt.state == AttemptState.SUCCEEDED.value
        self._write(f"attempt {attempt.step}", context, root, (attempt.made_at, ended), attributes, is_good=is_good)

    def execution(self, order: Order, step: StepSpec, times: tuple[int, int], completed: Completed | None) -> None:
        """An attempt as its runner saw it, from taking it up to its end."""
        key = order.attempt
        parent = _context(order.run_id, key.step_no, key.item_no, key.attempt_no)
        context = _context(order.run_id, key.step_no, key.item_no, key.attempt_no, "execution")
        attributes: Attributes = {
            "penstock.run": order.run_name,
            "penstock.step": step.name,
            "penstock.attempt": key.attempt_no,
            "penstock.pool": order.pool,
        }
        if completed is not None:
            attributes |= {"penstock.state": completed.outcome.value, "penstock.cpu_seconds": completed.cpu_seconds}
        is_good = completed is not None and completed.outcome is AttemptState.SUCCEEDED
        self._write(f"execute {step.name}", context, parent, times, attributes, is_good=is_good)

    def _write(
        self,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        times: tuple[int, int],
        attributes: Attributes,
        *,
        is_good: bool,
    ) -> None:
        began, ended = times
        span = ReadableSpan(
            name=name,
            context=context,
            parent=parent,
            resource=self._resource,
            attributes=attributes,
            kind=SpanKind.CONSUMER if parent is not None else SpanKind.INTERNAL,
            status=Status(StatusCode.OK if is_good else StatusCode.ERROR),
            start_time=began * 1000,
            end_time=max(began, ended) * 1000,
        )
        self._processor.on_end(span)
