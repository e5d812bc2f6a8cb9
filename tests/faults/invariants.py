"""What must hold after every trial, whatever happened in it. The rows, the queues, the processes and the witness are looked at."""

import time
from collections import Counter
from collections.abc import Callable
from urllib.parse import quote, unquote, urlsplit

import psutil

from penstock.contracts.views import StepRunView
from penstock.sdk.runs.run import Run
from penstock.transport.bus import DEAD
from tests.faults.witness import RAISE, START, Journal
from tests.servers.cluster import Cluster
from tests.servers.keeper import processes_of
from tests.servers.rabbitmq import RabbitServer

QUIET_SECONDS = 30.0
ALL_STEP_RUNS = 100_000
RECORDED = ("lost", "superseded", "released", "cancelled")
"""How attempts end that came to nothing through no fault of the user's code."""


def check(cluster: Cluster, run: Run[object], journal: Journal, *, poison: int = 0) -> None:
    """Everything, for a run that has succeeded; `poison`: so many dead letters were provoked.

    :raises AssertionError: naming what does not hold.
    """
    everything_is_terminal(cluster)
    views = cluster.client.step_runs(run.run_id, limit=ALL_STEP_RUNS)
    one_winner_each(views)
    executions_are_accounted_for(views, journal)
    nothing_starts_early(cluster, run.run_id)
    queues_are_empty(cluster, poison)
    no_orphans(cluster)


def everything_is_terminal(cluster: Cluster) -> None:
    """I1 and I6: nothing is left in the rows that somebody would have to do. Attempts that came to nothing may take a moment."""
    rows = cluster.client.rows
    assert rows("SELECT run_no, state FROM run WHERE ended_at IS NULL") == []
    states = "('succeeded', 'failed', 'skipped', 'cancelled')"
    assert rows(f"SELECT run_no, node, item, state FROM step_run WHERE state NOT IN {states}") == []  # noqa: S608 - constants
    _soon(lambda: rows("SELECT * FROM attempt WHERE state IN ('dispatched', 'running')"), "attempts that are not closed")
    for table in ("ready", "timer", "flight"):
        assert rows(f"SELECT * FROM {table}") == [], f"rows are left in {table}"  # noqa: S608 - constants


def one_winner_each(views: list[StepRunView]) -> None:
    """I2: a step run that has succeeded has one attempt that has, or was known from the cache."""
    for view in views:
        if view.state.value == "succeeded" and not view.hit:
            winners = [attempt.number for attempt in view.attempts if attempt.state == "succeeded"]
            assert len(winners) == 1, f"{view.step}{view.index} has the winners {winners}"
            assert view.outputs, f"{view.step}{view.index} succeeded without outputs"


def executions_are_accounted_for(views: list[StepRunView], journal: Journal) -> None:
    """I4: each execution that was too many is a recorded loss with a cause, or a failure of the step's own."""
    assert extra_executions(journal) <= sum(losses(views).values()), f"the witness saw more than the store: {losses(views)}"
    started = journal.counts(START)
    by_step = Counter(label.partition("/")[0] for label in started.elements())
    recorded = Counter(view.step.partition("-")[0] for view in views for _ in view.attempts)
    for name in by_step.keys() & recorded.keys():
        assert by_step[name] <= recorded[name], f"{name} was executed {by_step[name]} times in {recorded[name]} attempts"


def extra_executions(journal: Journal) -> int:
    """Beyond one for each step run and one for each failure of the step's own."""
    started = journal.counts(START)
    return started.total() - len(started) - journal.counts(RAISE).total()


def losses(views: list[StepRunView]) -> Counter[str]:
    """Attempts that came to nothing, by how they ended."""
    return Counter(attempt.state for view in views for attempt in view.attempts if attempt.state in RECORDED)


def causes(cluster: Cluster, run_id: str) -> Counter[str]:
    """Of losses, as the run's timeline tells."""
    told = cluster.client.rows(
        f"SELECT t.type, t.data FROM timeline t JOIN run r ON r.run_no = t.run_no WHERE r.run_id = '{run_id}' AND t.type LIKE 'attempt.%'"  # noqa: S608
    )
    return Counter(f"{kind}: {data}" for kind, data in told)


def nothing_starts_early(cluster: Cluster, run_id: str) -> None:
    """I3: no attempt was made twice at a time for a step run: each later one was made after the earlier one had ended."""
    overlapping = cluster.client.rows(
        "SELECT b.node, b.item, b.number FROM attempt a JOIN attempt b ON b.run_no = a.run_no AND b.node = a.node AND b.item = a.item "  # noqa: S608
        "AND b.number = a.number + 1 JOIN run r ON r.run_no = a.run_no "
        f"WHERE r.run_id = '{run_id}' AND a.state <> 'succeeded' AND b.made_at < a.ended_at - 1000000"
    )
    assert overlapping == [], "attempts were made before their predecessors were closed"


def queues_are_empty(cluster: Cluster, poison: int = 0) -> None:
    """I6 and I11."""
    _soon(lambda: {name: count for name, count in depths(cluster).items() if count and name != DEAD}, "messages in queues")
    dead = depths(cluster).get(DEAD, 0)
    assert dead == poison, f"{dead} dead letters, where {poison} were provoked"


def depths(cluster: Cluster) -> dict[str, int]:
    """Messages by queue, delivered ones included."""
    broker = cluster.servers["broker"]
    assert isinstance(broker, RabbitServer)
    listed = broker.api("GET", f"queues/{quote(virtual_host(cluster), safe='')}?disable_stats=true&enable_queue_totals=true").json()
    return {queue["name"]: queue.get("messages", 0) for queue in listed}


def virtual_host(cluster: Cluster) -> str:
    return unquote(urlsplit(cluster.settings["PENSTOCK_BROKER_URL"]).path[1:])


def no_orphans(cluster: Cluster) -> None:
    """I6: every process of a service has come from the one that runs now."""
    _soon(lambda: orphans(cluster), "guests that outlived their runner")


def orphans(cluster: Cluster) -> list[int]:
    found: list[int] = []
    for service in cluster.services.values():
        family = _family(service.process_id) if service.is_running else set[int]()
        found += [process for process in processes_of(str(service.folder)) if process not in family and _lives(process)]
    return found


def _family(process_id: int) -> set[int]:
    try:
        process = psutil.Process(process_id)
        return {process_id, *(child.pid for child in process.children(recursive=True))}
    except psutil.NoSuchProcess:
        return set()


def _lives(process_id: int) -> bool:
    try:
        return psutil.Process(process_id).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _soon(left: Callable[[], object], what: str) -> None:
    """Returns when there is nothing left. Queues and processes take a moment after a run has ended."""
    deadline = time.monotonic() + QUIET_SECONDS
    while found := left():
        assert time.monotonic() < deadline, f"{what}: {found}"
        time.sleep(0.05)
