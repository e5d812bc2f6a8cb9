"""Peers that keep their state in services, doing the same: steps that pass a number, two worker processes where a peer has them.

Runs by itself under an interpreter that has them installed, `PYTHON bench/service_peers.py PEER`; the services' addresses come by
`PEER_RABBITMQ`, `PEER_REDIS` and `PEER_POSTGRES`. Celery's workers and DBOS's second process import this file too.
"""

import importlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

CHAIN, FAN = 100, 1000
_HERE = Path(__file__)
_PREFECT_PORT = 24200


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def plus_one(number: int) -> int:
    return number + 1


def last(numbers: Sequence[int]) -> int:
    return numbers[-1]


# Celery: RabbitMQ carries tasks, Redis keeps results. Late acknowledgement, so that a worker's death loses no task.

if _installed("celery") and "PEER_RABBITMQ" in os.environ:
    app: Any = importlib.import_module("celery").Celery(
        "service_peers", broker=os.environ["PEER_RABBITMQ"], backend=os.environ["PEER_REDIS"]
    )
    app.conf.update(task_acks_late=True, worker_prefetch_multiplier=8, broker_connection_retry_on_startup=True)
    celery_plus_one: Any = app.task(name="plus_one")(plus_one)
    celery_last: Any = app.task(name="last")(last)


def celery() -> tuple[float, float]:
    """Two prefork workers; a chain, and a chord of a group."""
    celery: Any = importlib.import_module("celery")
    command = [sys.executable, "-m", "celery", "-A", "service_peers", "worker", "--concurrency", "2", "--loglevel", "ERROR"]
    with _process([*command, "--without-gossip", "--without-mingle"]):
        celery_plus_one.delay(0).get(timeout=60)

        def chain() -> None:
            signatures = [celery_plus_one.s(0), *(celery_plus_one.s() for _ in range(CHAIN - 1))]
            _expect(celery.chain(*signatures)().get(timeout=300), CHAIN)

        def fan() -> None:
            _expect(celery.chord([celery_plus_one.s(number) for number in range(FAN)], celery_last.s())().get(timeout=300), FAN)

        return _seconds(chain), _seconds(fan)


# DBOS: PostgreSQL keeps workflows and steps.

if _installed("dbos") and "PEER_POSTGRES" in os.environ:
    _dbos: Any = importlib.import_module("dbos")
    _dbos_step: Any = _dbos.DBOS.step(name="plus_one")(plus_one)

    @_dbos.DBOS.workflow(name="chain")  # type: ignore[untyped-decorator]  # known at run time
    def _dbos_chain(steps: int) -> int:
        number = 0
        for _ in range(steps):
            number = _dbos_step(number)
        return number

    @_dbos.DBOS.workflow(name="one")  # type: ignore[untyped-decorator]  # as above
    def _dbos_one(number: int) -> int:
        return plus_one(number)

    @_dbos.DBOS.workflow(name="queued_chain")  # type: ignore[untyped-decorator]  # as above
    def _dbos_queued_chain(steps: int) -> int:
        number = 0
        for _ in range(steps):
            number = _dbos.DBOS.enqueue_workflow("steps", _dbos_one, number).get_result(polling_interval_sec=0.01)
        return number

    @_dbos.DBOS.workflow(name="queued_fan")  # type: ignore[untyped-decorator]  # as above
    def _dbos_queued_fan(items: int) -> int:
        handles = [_dbos.DBOS.enqueue_workflow("steps", _dbos_one, number) for number in range(items)]
        return last([handle.get_result(polling_interval_sec=0.01) for handle in handles])


def _dbos_launched() -> Any:
    dbos: Any = importlib.import_module("dbos")
    url = os.environ["PEER_POSTGRES"].replace("postgresql://", "postgresql+psycopg://")
    dbos.DBOS(config={"name": "bench", "system_database_url": url, "log_level": "ERROR", "application_version": "bench"})
    dbos.DBOS.launch()
    dbos.DBOS.register_queue("steps", worker_concurrency=32, polling_interval_sec=0.05)
    return dbos.DBOS


def dbos() -> tuple[float, float]:
    """Steps in the workflow's own process, one after another."""
    launched = _dbos_launched()
    try:
        _dbos_chain(5)
        return _seconds(lambda: _expect(_dbos_chain(CHAIN), CHAIN)), _seconds(lambda: _expect(_dbos_chain(FAN), FAN))
    finally:
        launched.destroy()


def dbos_queue() -> tuple[float, float]:
    """Each step is an enqueued child workflow; two processes take them."""
    launched = _dbos_launched()
    try:
        with _process([sys.executable, str(_HERE), "dbos-worker"]):
            _dbos_queued_chain(5)
            return (
                _seconds(lambda: _expect(_dbos_queued_chain(CHAIN), CHAIN)),
                _seconds(lambda: _expect(_dbos_queued_fan(FAN), FAN)),
            )
    finally:
        launched.destroy()


def _dbos_worker() -> None:
    _dbos_launched()
    signal.pause()


# Prefect: its server keeps flow and task runs in PostgreSQL.


def prefect() -> tuple[float, float]:
    """A server on PostgreSQL; tasks run in threads of the flow's process."""
    address = f"http://127.0.0.1:{_PREFECT_PORT}"
    url = os.environ["PEER_POSTGRES"].replace("postgresql://", "postgresql+asyncpg://")
    home = tempfile.mkdtemp(prefix="prefect-")
    variables = {
        "PREFECT_HOME": home, "PREFECT_API_DATABASE_CONNECTION_URL": url, "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_LEVEL": "ERROR", "PREFECT_API_URL": f"{address}/api", "PREFECT_CLIENT_METRICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }  # fmt: skip
    os.environ |= variables
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(_PREFECT_PORT)]
    with _process(command):
        _await_page(f"{address}/api/health")
        prefect: Any = importlib.import_module("prefect")
        task = prefect.task(plus_one)

        def chain(steps: int) -> int:
            number = 0
            for _ in range(steps):
                number = task(number)
            return number

        def fan(items: int) -> int:
            return last(task.map(range(items)).result())

        chain_flow, fan_flow = prefect.flow(chain), prefect.flow(fan)
        chain_flow(2)
        return _seconds(lambda: _expect(chain_flow(CHAIN), CHAIN)), _seconds(lambda: _expect(fan_flow(FAN), FAN))


PEERS: dict[str, Callable[[], tuple[float, float]]] = {"celery": celery, "dbos": dbos, "dbos-queue": dbos_queue, "prefect": prefect}


@contextmanager
def _process(command: Sequence[str]) -> Generator[None]:
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, cwd=_HERE.parent, stdout=output, stderr=output, start_new_session=True)
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _await_page(address: str) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            with urlopen(address):  # noqa: S310 - a server that was started here
                return
        except (URLError, ConnectionError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _expect(found: object, expected: object) -> None:
    if found != expected:
        raise RuntimeError(f"the result is {found!r}, and should be {expected!r}")


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    name = sys.argv[1]
    if name == "dbos-worker":
        _dbos_worker()
        return
    if not _installed(name.partition("-")[0]):
        sys.exit(f"{name} is not installed for {sys.executable}")
    print(json.dumps(PEERS[name]()), flush=True)
    # Some wait at their end for a server that was ended first.
    os._exit(0)


if __name__ == "__main__":
    main()
