"""What services show of themselves: metrics, one trace for each run, logs without secrets."""

import json
from collections.abc import Callable
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

from penstock.contracts.states import RunState
from penstock.deploy.remote.client import HttpClient
from penstock.deploy.services.naming import host_name
from penstock.deploy.services.traces import trace_id
from penstock.sdk.pipelines import Pipeline
from penstock.sdk.runs.run import Run
from tests.end_to_end.user_project import until
from tests.servers.cluster import Cluster
from tests.services.trace_receiver import ReceivedSpan, TraceReceiver

Written = Callable[[str], Pipeline[..., object]]

CHAIN = """
    from penstock.sdk import pipeline, step

    @step
    def first(n: int) -> int:
        return n + 1

    @step(pool="gpu")
    def second(n: int) -> int:
        return n * 2

    @pipeline
    def flow(n: int = 1) -> int:
        return second(first(n))
"""


def spans_of(traces: TraceReceiver, run: Run[Any]) -> list[ReceivedSpan]:
    wanted = trace_id(run.run_id).to_bytes(16)
    return [span for span in traces.spans if span.trace == wanted]


def of_kind(cluster: Cluster, kind: str, metric: str, **labels: str) -> list[float]:
    """The metric of every service of a kind."""
    return [service.metric(metric, **labels) for name, service in cluster.services.items() if name.startswith(kind)]


def test_a_run_is_one_trace_over_all_services(cluster: Cluster, traces: TraceReceiver, written: Written) -> None:
    run = cluster.run(written(CHAIN), n=101)

    assert run.state is RunState.SUCCEEDED
    until(lambda: len(spans_of(traces, run)) == 5)
    spans = {span.name: span for span in spans_of(traces, run)}
    root = spans["run flow"]
    assert sorted(spans) == ["attempt first", "attempt second", "execute first", "execute second", "run flow"]
    for step in ("first", "second"):
        assert spans[f"attempt {step}"].parent == root.span
        assert spans[f"execute {step}"].parent == spans[f"attempt {step}"].span
        assert spans[f"execute {step}"].service == "penstock-runner"
    assert root.service == "penstock-coordinator"
    assert root.parent == b""
    assert spans["execute second"].began >= spans["execute first"].ended


def test_metrics_tell_what_was_done(cluster: Cluster, written: Written) -> None:
    executed = sum(of_kind(cluster, "runner", "penstock_attempts_executed_total", outcome="succeeded"))
    misses = sum(of_kind(cluster, "coordinator", "penstock_cache_lookups_total", result="miss"))
    hits = sum(of_kind(cluster, "coordinator", "penstock_cache_lookups_total", result="hit"))

    cluster.run(written(CHAIN), n=202)
    cluster.run(written(CHAIN), n=202)

    assert sum(of_kind(cluster, "runner", "penstock_attempts_executed_total", outcome="succeeded")) == executed + 2
    until(lambda: sum(of_kind(cluster, "coordinator", "penstock_cache_lookups_total", result="hit")) >= hits + 2)
    until(lambda: sum(of_kind(cluster, "coordinator", "penstock_cache_lookups_total", result="miss")) >= misses + 2)
    assert sum(of_kind(cluster, "coordinator", "penstock_batch_size_count")) > 0
    assert sum(of_kind(cluster, "coordinator", "penstock_order_to_start_seconds_count")) > 0
    assert sum(of_kind(cluster, "runner", "penstock_slots", pool="cpu")) == 3
    assert sum(of_kind(cluster, "runner", "penstock_zygotes_started")) > 0
    until(lambda: of_kind(cluster, "coordinator", "penstock_pool_demand", pool="gpu") == [0, 0])


def test_demand_counts_what_nobody_executes(cluster: Cluster, written: Written) -> None:
    run = cluster.submit(written(CHAIN.replace('pool="gpu"', 'pool="tpu"')), n=303)

    until(lambda: of_kind(cluster, "coordinator", "penstock_pool_demand", workspace="default", pool="tpu") == [1, 1])
    run.cancel("nobody has that pool")
    assert run.wait().state is RunState.CANCELLED
    until(lambda: of_kind(cluster, "coordinator", "penstock_pool_demand", workspace="default", pool="tpu") == [0, 0])


def test_no_log_holds_a_secret(cluster: Cluster, written: Written) -> None:
    cluster.run(written(CHAIN), n=404)
    secrets = [cluster.settings["PENSTOCK_SIGNING_KEY"], cluster.settings["PENSTOCK_API_TOKEN"], cluster.settings["AWS_SECRET_ACCESS_KEY"]]
    secrets += [urlsplit(cluster.settings["PENSTOCK_BROKER_URL"]).password or "?"]

    logs = {name: service.log_text() for name, service in cluster.services.items()}

    assert all(log.strip() for log in logs.values())
    assert [name for name, log in logs.items() for secret in secrets if secret in log] == []
    lines = [json.loads(line) for log in logs.values() for line in log.splitlines()]
    assert all({"event", "level", "timestamp", "service", "name"} <= set(line) for line in lines)


def test_runners_tell_where_they_work(cluster: Cluster) -> None:
    assert isinstance(cluster.engine, HttpClient)
    client = cluster.engine
    until(lambda: len(client.runners()) >= 3)

    told = {runner.name: runner for runner in client.runners()}

    assert {"runner-1", "runner-2", "runner-3"} <= set(told)
    assert told["runner-3"].pools == {"cpu": 1, "gpu": 1}
    assert told["runner-1"].host == host_name()
    assert told["runner-1"].software == version("penstock")
    assert not told["runner-1"].is_draining
