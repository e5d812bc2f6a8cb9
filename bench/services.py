"""`python -m bench.services`: the cases on RabbitMQ and PostgreSQL, started here, beside peers that keep their state in services.

One table: Penstock, the machine's limits, and the peers, all measured in the same run; `--write` puts it into bench/README.md.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil

from bench import pipelines_bare as pipelines
from bench.cases import expect
from bench.machine import machine
from bench.service_limits import ServiceLimits, service_limits
from bench.table import spread, table
from bench.written import write_results
from tests.servers.cluster import Cluster
from tests.servers.postgres import PostgresServer
from tests.servers.process import Server
from tests.servers.rabbitmq import RabbitServer
from tests.servers.redis import RedisServer

_HEAD = ("case", "median (min–max)", "aim", "CPU a step: coordinators, runners, guests, broker, database", "bounded by", "share")
_FRESH = 5_000_000
"""Numbers from here on are in no other case: equal code on equal numbers would be a hit."""
_PEERS = ("celery", "dbos", "dbos-queue", "prefect")
_PEER = Path(__file__).with_name("service_peers.py")


@dataclass(slots=True)
class Readings:
    """Of one case, a value a run: its figure, and milliseconds of CPU a step by who used them."""

    figures: list[float] = field(default_factory=list[float])
    cpu: list[dict[str, float]] = field(default_factory=list[dict[str, float]])

    def used(self) -> str:
        names = ("coordinator", "runner", "guests", "broker", "database")
        return " + ".join(f"{statistics.median(cpu.get(name, 0.0) for cpu in self.cpu):.2f}" for name in names) + " ms"


def main(arguments: Sequence[str] | None = None) -> None:
    asked = _asked(arguments)
    with ExitStack() as stack:
        broker, database = stack.enter_context(RabbitServer(schedulers=2)).start(), stack.enter_context(PostgresServer()).start()
        folder = Path(tempfile.mkdtemp(prefix="penstock-bench-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        _note("limits")
        limits = service_limits(broker.url(), database.create_database(), asked.runs)
        found = _measured(asked, folder, broker, database)
        peers = _peers(asked, stack, broker, database) if asked.peers else []
    parts = [
        machine(asked.runs),
        table(_rows(found, limits), _HEAD),
        table(_limit_rows(limits), ("limit, measured in the same run", "median")),
    ]
    if peers:
        parts.append(table(peers, ("peer", "chain of 100, ms a step", "fan of 1,000, steps/s")))
    text = "\n\n".join(parts)
    print(text)
    if asked.write:
        write_results("services", text)


def _asked(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.services")
    parser.add_argument("--runs", type=int, default=3, help="runs of each case; the table has medians (default: 3)")
    parser.add_argument("--items", type=int, default=1000, help="items of the fan-outs (default: 1000)")
    parser.add_argument("--coordinators", type=int, default=1)
    parser.add_argument("--runners", type=int, default=1)
    parser.add_argument("--slots", type=int, default=4, help="slots of each runner (default: 4)")
    parser.add_argument("--cases", nargs="+", default=list(_CASES), choices=list(_CASES))
    parser.add_argument("--peers", metavar="PYTHON", help="an interpreter that has celery, redis, dbos or prefect installed")
    parser.add_argument("--write", action="store_true", help="put the table into bench/README.md")
    return parser.parse_args(arguments)


def _measured(asked: argparse.Namespace, folder: Path, broker: RabbitServer, database: PostgresServer) -> dict[str, Readings]:
    found: dict[str, Readings] = {name: Readings() for name in asked.cases}
    for number in range(asked.runs):
        runners = [{"cpu": asked.slots}] * asked.runners
        with Cluster(folder / str(number), coordinators=asked.coordinators, runners=runners, broker=broker, database=database) as cluster:
            # The first run starts zygotes; it is part of no figure.
            cluster.run(pipelines.fan, numbers=[-1, -2, -3, -4, -5, -6, -7, -8])
            cluster.run(pipelines.fan_reused, numbers=[-1, -2, -3, -4, -5, -6, -7, -8])
            for name in asked.cases:
                _note(f"{name}, run {number + 1} of {asked.runs}")
                _read(found[name], cluster, partial(_CASES[name], cluster, asked.items))
        shutil.rmtree(folder / str(number), ignore_errors=True)
    return found


def _read(readings: Readings, cluster: Cluster, case: "Callable[[], tuple[float, int]]") -> None:
    before = _cpu_seconds(cluster)
    figure, steps = case()
    after = _cpu_seconds(cluster)
    readings.figures.append(figure)
    readings.cpu.append({name: (after[name] - before.get(name, 0.0)) / steps * 1e3 for name in after})


def _cpu_seconds(cluster: Cluster) -> dict[str, float]:
    """So far, by kind of process. The guests are all that is under a runner; a database works under its first process."""
    used: dict[str, float] = {}
    servers: dict[str, Server] = {**cluster.services, **cluster.servers}
    for name, server in servers.items():
        kind = name.rsplit("-", 1)[0]
        process = psutil.Process(server.process_id)
        below = "guests" if kind == "runner" else kind
        used[kind] = used.get(kind, 0.0) + sum(process.cpu_times()[:2])
        used[below] = used.get(below, 0.0) + sum(process.cpu_times()[2:4]) + sum(map(_seconds_of, process.children(recursive=True)))
    return used


def _seconds_of(process: psutil.Process) -> float:
    try:
        return sum(process.cpu_times()[:4])
    except psutil.NoSuchProcess:
        # What it used is its parent's by now.
        return 0.0


def _chain(cluster: Cluster, items: int) -> tuple[float, int]:
    del items
    seconds = _timed(lambda: expect(cluster.run(pipelines.chain_of_100, number=10**6).result(), 10**6 + 100))
    return seconds / 100 * 1e3, 100


def _fan(cluster: Cluster, items: int) -> tuple[float, int]:
    seconds = _timed(lambda: expect(cluster.run(pipelines.fan, numbers=list(range(items))).result(), items))
    return (items + 1) / seconds, items + 1


def _fan_reused(cluster: Cluster, items: int) -> tuple[float, int]:
    seconds = _timed(
        lambda: expect(cluster.run(pipelines.fan_reused, numbers=list(range(_FRESH, _FRESH + items))).result(), _FRESH + items)
    )
    return (items + 1) / seconds, items + 1


def _relay(cluster: Cluster, items: int) -> tuple[float, int]:
    """From the last line of one step's code to the first line of the next one's, in milliseconds; a median of 29."""
    del items
    times = cluster.run(pipelines.relay, before=[]).result()
    return statistics.median(began - ended for ended, began in zip(times[1::2], times[2::2], strict=False)) * 1e3, len(times) // 2


_CASES: "dict[str, Callable[[Cluster, int], tuple[float, int]]]" = {
    "chain": _chain,
    "relay": _relay,
    "fan": _fan,
    "hits": _fan,
    "fan_reused": _fan_reused,
}


def _rows(found: dict[str, Readings], limits: ServiceLimits) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    steps, hand_off = 1 / limits.step, limits.hand_off * 1e3
    because = f"1 order, 1 report, 1 row: {steps:,.0f} steps/s"
    shown: dict[str, tuple[str, int, str, str, float, str]] = {
        "chain": ("chain of 100, a fork each", 2, "ms a step", "", hand_off, f"2 messages, 1 commit: {hand_off:.2f} ms"),
        "relay": ("hand-off from step to step", 2, "ms", "≤ 6 ms", hand_off, f"2 messages, 1 commit: {hand_off:.2f} ms"),
        "fan": ("fan of 1,000, a fork each", 0, "steps/s", "≥ 500", steps, because),
        "hits": ("the same again, all hits", 0, "steps/s", "", 1 / limits.row, "PostgreSQL rows, 1 a step"),
        "fan_reused": ('fan of 1,000, `isolation="reuse"`', 0, "steps/s", "≥ 1,200", steps, because),
    }
    for name, readings in found.items():
        title, digits, unit, aim, bound, bounded_by = shown[name]
        middle = statistics.median(readings.figures)
        share = bound / middle if unit.startswith("ms") else middle / bound
        rows.append((title, spread(readings.figures, digits, unit), aim, readings.used(), bounded_by, f"{share:.0%}"))
    return rows


def _limit_rows(limits: ServiceLimits) -> list[tuple[str, ...]]:
    return [
        ("a persistent message through a quorum queue, confirmed and acknowledged, 64 in flight", f"{1 / limits.message:,.0f} /s"),
        ("the same, one at a time", f"{limits.message_alone * 1e3:.2f} ms"),
        ("a PostgreSQL transaction of 1 row", f"{limits.commit * 1e3:.2f} ms"),
        ("a row, 300 in a transaction", f"{limits.row * 1e6:.0f} µs"),
    ]


def _peers(asked: argparse.Namespace, stack: ExitStack, broker: RabbitServer, database: PostgresServer) -> list[tuple[str, ...]]:
    redis = stack.enter_context(RedisServer()).start()
    rows: list[tuple[str, ...]] = []
    for name in _PEERS:
        runs: list[list[float]] = []
        for number in range(asked.runs):
            _note(f"{name}, run {number + 1} of {asked.runs}")
            services = {"PEER_RABBITMQ": broker.url(), "PEER_REDIS": redis.url, "PEER_POSTGRES": database.create_database()}
            done = subprocess.run(
                [asked.peers, str(_PEER), name], env={**os.environ, **services}, check=False, capture_output=True, text=True
            )
            if done.returncode:
                rows.append((name, f"skipped: {(done.stderr.splitlines() or ['no answer'])[-1]}", ""))
                break
            runs.append(json.loads(done.stdout.splitlines()[-1]))
        else:
            chain, fan = (statistics.median(values) for values in zip(*runs, strict=True))
            rows.append((name, f"{chain / 100 * 1e3:.2f}", f"{1000 / fan:,.0f}"))
    return rows


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _note(text: str) -> None:
    print(f"... {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
