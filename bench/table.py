"""From measurements and limits to the rows of the table: what each figure is, what bounds it, and how much of that is reached."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.demo import DemoRun
from bench.limits import Limits
from bench.measure import Measurement

_HEAD = ("case", "module", "median (min–max)", "aim", "CPU a step: engine + guests", "CPU alone allows", "bounded by", "share")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Measurements of one case, one a run; `module` is the module's name in the table, `package` the one that was imported."""

    name: str
    module: str
    package: str
    items: int
    runs: tuple[Measurement, ...]


def table(rows: Sequence[tuple[str, ...]], head: tuple[str, ...] = _HEAD) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def spread(values: Sequence[float], digits: int = 0, unit: str = "") -> str:
    """`12 (11–14) ms`"""
    middle, low, high = (f"{value:,.{digits}f}" for value in (statistics.median(values), min(values), max(values)))
    return f"{middle} ({low}–{high}){' ' * bool(unit)}{unit}"


def rows_of(case: Case, limits: Limits, cores: int) -> list[tuple[str, ...]]:
    match case.name:
        case "start":
            return [_start(case, limits)]
        case "chain":
            return [_chain(case, limits)]
        case "hits":
            return [_throughput(case, "≥ 10,000" if case.items == 1000 else "", 1, 1 / limits.row, "SQLite rows, 1 a step")]
        case _:
            allowed = cores / limits.fork_cpu[case.package]
            aim = "≥ 500" if case.module == "bare" and case.name == "fan" else ""
            return [_throughput(case, aim, cores, allowed, f"{cores} cores, 1 fork a step"), *_memory(case)]


def _memory(case: Case) -> list[tuple[str, ...]]:
    if case.name != "fan" or case.items < 10_000:
        return []
    peaks = [run.peak_bytes / 1e6 for run in case.runs]
    return [
        (
            f"fan of {case.items:,}: peak memory",
            case.module,
            spread(peaks, 0, "MB"),
            "≤ 600",
            "",
            "",
            "the user's process with its engine",
            "",
        )
    ]


def comparison(small: Case, large: Case) -> tuple[str, ...]:
    """How a large fan-out's steps compare with a small one's, in wall time and, for noisy machines, in CPU time."""
    wall, cpu = (_middle(large, of) / _middle(small, of) for of in (_seconds, _cpu_seconds))
    title = f"fan of {large.items:,} against {small.items:,}"
    return (title, large.module, f"{wall:.2f} × the time a step", "0.8–1.2", f"{cpu:.2f} × the CPU a step", "", "", "")


def demo_row(again: Sequence[DemoRun], limits: Limits) -> tuple[str, ...]:
    seconds = [run.seconds for run in again]
    imported = sorted({name for run in again for name in run.imported})
    clean = (
        "nothing of the user's imported" if not imported and not any(run.started_processes for run in again) else f"IMPORTED: {imported}"
    )
    executed = sum(run.executed for run in again)
    title = f"`penstock run` of the demo, {executed} steps executed"
    share = limits.interpreter / statistics.median(seconds)
    return (title, "", spread(seconds, 2, "s"), "< 1 s", clean, "", "`python -c pass`", f"{share:.0%}")


def limit_rows(limits: Limits) -> list[tuple[str, str]]:
    forks = [
        (f"fork, exit, wait: a process that imported {module}", f"{seconds * 1e3:.2f} ms, {limits.fork_cpu[module] * 1e3:.2f} ms of CPU")
        for module, seconds in limits.fork.items()
    ]
    return [
        *forks,
        ("socket pair, round trip to another process", f"{limits.round_trip * 1e6:.0f} µs"),
        ("SQLite commit, WAL, synchronous=FULL", f"{limits.commit * 1e3:.2f} ms"),
        ("SQLite row, 1,000 a commit", f"{limits.row * 1e6:.1f} µs"),
        ("SHA-256, one thread", f"{1 / limits.hashed_gibibyte:.2f} GiB/s"),
        ("python -c pass", f"{limits.interpreter * 1e3:.0f} ms"),
    ]


def _start(case: Case, limits: Limits) -> tuple[str, ...]:
    seconds = [run.seconds for run in case.runs]
    share = 2 * limits.interpreter / statistics.median(seconds)
    return (
        "first run of 1 step",
        case.module,
        spread(seconds, 2, "s"),
        "",
        _cpu(case),
        "",
        "2 interpreters: tracer, zygote",
        f"{share:.0%}",
    )


def _chain(case: Case, limits: Limits) -> tuple[str, ...]:
    values = [_seconds(run) * 1e3 for run in case.runs]
    bound = (limits.fork[case.package] + limits.commit + 3 * limits.round_trip) * 1e3
    share = bound / statistics.median(values)
    aim = "≤ 5 ms" if case.module == "bare" else ""
    because = f"1 fork, 1 commit, 3 round trips: {bound:.2f} ms"
    return ("chain of 100", case.module, spread(values, 2, "ms a step"), aim, _cpu(case), "", because, f"{share:.0%}")


def _throughput(case: Case, aim: str, cores: int, allowed: float, because: str) -> tuple[str, ...]:
    title = {"many": f"{case.items} runs of 5 steps at once", "hits": f"fan of {case.items:,}, all hits"}.get(
        case.name, f"fan of {case.items:,}"
    )
    values = [1 / _seconds(run) for run in case.runs]
    # The engine is one thread; its guests share the cores with it.
    alone = min(1 / _middle(case, _engine_seconds), cores / _middle(case, _cpu_seconds))
    share = statistics.median(values) / allowed
    return (
        title,
        case.module,
        spread(values, 0, "steps/s"),
        aim,
        _cpu(case),
        f"{alone:,.0f} steps/s",
        f"{because}: {allowed:,.0f}/s",
        f"{share:.0%}",
    )


def _cpu(case: Case) -> str:
    engine = _middle(case, _engine_seconds) * 1e3
    guests = (_middle(case, _cpu_seconds) * 1e3) - engine
    return f"{engine:.2f} + {guests:.2f} ms"


def _middle(case: Case, of: Callable[[Measurement], float]) -> float:
    return statistics.median(of(run) for run in case.runs)


def _seconds(run: Measurement) -> float:
    return run.seconds / run.steps


def _engine_seconds(run: Measurement) -> float:
    return run.engine_cpu_seconds / run.steps


def _cpu_seconds(run: Measurement) -> float:
    return (run.engine_cpu_seconds + run.guests_cpu_seconds) / run.steps
