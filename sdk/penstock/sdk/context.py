"""What a step may say and ask while it runs: `current_run()`. Outside a run it is an inert stub.

Imports nothing but the standard library, since every guest and every user's test loads it.
"""

import json
import shutil
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

EMITTED_LIMIT = 128 * 1024
"""Bytes of all events of a step: they travel with its report."""
_TYPE_LIMIT = 255


class Figure(Protocol):
    """A drawing that can save itself, as matplotlib's can."""

    def savefig(self, fname: Any, /) -> object: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which attempt of which step run this is."""

    run_id: str = ""
    index: tuple[int, ...] = ()
    attempt: int = 0
    cause: Mapping[str, Any] = field(default_factory=dict[str, Any])
    seed: int = 0
    idempotency_key: str = ""


@dataclass(slots=True)
class Record:
    """What a step said while it ran."""

    points: list[tuple[str, float, int | None]] = field(default_factory=list[tuple[str, float, int | None]])
    tags: dict[str, str] = field(default_factory=dict[str, str])
    attachments: dict[str, object] = field(default_factory=dict[str, object])
    """By name: the figure, path or bytes that was given."""
    emitted: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    emitted_bytes: int = 0
    last_progress: tuple[float, float | None, str] | None = None
    saw_identity: bool = False

    @property
    def metrics(self) -> dict[str, list[float]]:
        """The values of each metric in the order in which they were logged."""
        values: dict[str, list[float]] = {}
        for name, value, _ in self.points:
            values.setdefault(name, []).append(value)
        return values


def _check_event_type(name: str) -> None:
    """:raises ValueError: no event can be of that type."""
    if not name.isprintable() or not 0 < len(name) <= _TYPE_LIMIT or name != name.strip():
        raise ValueError(f"{name[:80]!r} is no type of an event: it is text such as 'model.trained', {_TYPE_LIMIT} characters at most")
    if name.startswith("penstock."):
        raise ValueError(f"{name!r}: types that begin with 'penstock.' are Penstock's own; call it something like 'model.trained'")


class Checkpoint:
    """One file or directory that outlives attempts: what one attempt saved the next one loads."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    def load(self) -> Path | None:
        """What was saved last, or None. Read it, don't change it."""
        if self._folder is None:
            return None
        self._restore(self._folder)
        return next(self._folder.iterdir(), None) if self._folder.is_dir() else None

    def save(self, path: str | Path) -> None:
        """Keeps a copy of a file or directory in place of the one before. An attempt that dies meanwhile leaves the one before."""
        if self._folder is None:
            return
        self._restore(self._folder)
        source = Path(path)
        fresh, old = self._folder.with_name(self._folder.name + ".new"), _old(self._folder)
        for leftover in (fresh, old):
            shutil.rmtree(leftover, ignore_errors=True)
        fresh.mkdir(parents=True)
        if source.is_dir():
            shutil.copytree(source, fresh / source.name)
        else:
            shutil.copy2(source, fresh / source.name)
        if self._folder.exists():
            self._folder.rename(old)
        fresh.rename(self._folder)
        shutil.rmtree(old, ignore_errors=True)

    def _restore(self, folder: Path) -> None:
        """Whoever died between the two renames has left the one before under its other name."""
        if not folder.exists() and _old(folder).is_dir():
            _old(folder).rename(folder)


def _old(folder: Path) -> Path:
    return folder.with_name(folder.name + ".old")


class CurrentRun:
    """The run that a step belongs to, as the step sees it."""

    def __init__(
        self,
        identity: Identity | None = None,
        record: Record | None = None,
        *,
        checkpoint: Checkpoint | None = None,
        on_progress: Callable[[float, float | None, str], None] | None = None,
        on_attach: Callable[[str, object], None] | None = None,
    ) -> None:
        self._identity = identity or Identity()
        self._record = record
        self._on_progress = on_progress
        self._on_attach = on_attach
        self.checkpoint = checkpoint or Checkpoint()

    def log_metric(self, name: str, value: float, step: int | None = None) -> None:
        """Records a number; `step` counts epochs, batches or whatever makes a curve of it."""
        if self._record is not None:
            self._record.points.append((name, float(value), step))

    def progress(self, done: float, total: float | None = None, text: str = "") -> None:
        """Shows how far the step is."""
        if self._record is not None:
            self._record.last_progress = (float(done), None if total is None else float(total), text)
        if self._on_progress is not None:
            self._on_progress(float(done), None if total is None else float(total), text)

    def attach(self, name: str, content: "Figure | str | Path | bytes") -> None:
        """Keeps a figure, file, directory or bytes, as it is now, beside the step's outputs. `name` may end in a suffix."""
        if isinstance(content, str | Path) and not Path(content).exists():
            raise FileNotFoundError(f"there is no file or directory {str(content)!r} to attach")
        if not isinstance(content, str | Path | bytes) and not hasattr(content, "savefig"):
            raise TypeError(f"a {type(content).__name__} can't be attached: give a figure with savefig(), a path, or bytes")
        if self._record is not None:
            self._record.attachments[name] = content
        if self._on_attach is not None:
            self._on_attach(name, content)

    def tag(self, **tags: object) -> None:
        """Adds tags to the run."""
        if self._record is not None:
            self._record.tags.update({name: str(value) for name, value in tags.items()})

    def emit(self, type: str, data: Mapping[str, Any] | None = None) -> None:  # noqa: A002  # as events name it
        """Publishes an event once the step has succeeded: triggers may start from it, subscribers hear of it. `data` is plain JSON data.

        What a cached step emitted is not emitted again by a hit.
        """
        _check_event_type(type)
        text = json.dumps(dict(data or {}), allow_nan=False)
        if self._record is None:
            return
        size = self._record.emitted_bytes + len(type.encode()) + len(text)
        if size > EMITTED_LIMIT:
            raise ValueError(f"what this step emits comes to {size} bytes, {EMITTED_LIMIT} at most: let events name where their data is")
        self._record.emitted_bytes = size
        self._record.emitted.append({"type": type, "data": json.loads(text)})

    @property
    def seed(self) -> int:
        """The number that random, numpy and torch are seeded with: the same for the same code and inputs."""
        return self._identity.seed

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt of this step run, and for no other: pass it to services that must not act twice."""
        return self._identity.idempotency_key

    @property
    def run_id(self) -> str:
        return self._seen().run_id

    @property
    def index(self) -> tuple[int, ...]:
        """The step run's path through the fan-outs around it."""
        return self._seen().index

    @property
    def attempt(self) -> int:
        """1 for the first attempt."""
        return self._seen().attempt

    @property
    def cause(self) -> Mapping[str, Any]:
        """Why the run exists."""
        return self._seen().cause

    def _seen(self) -> Identity:
        # The result depends on who asked, so nobody else may be given it.
        if self._record is not None:
            self._record.saw_identity = True
        return self._identity


_STUB = CurrentRun()
# A plain global, not a context variable: threads that a step starts see the same run.
_bound: list[CurrentRun] = []
_importing: list[str] = []


def current_run() -> CurrentRun:
    """The run that is being executed here; an inert stub outside one."""
    return _bound[-1] if _bound else _STUB


@contextmanager
def bound_run(run: CurrentRun) -> Generator[CurrentRun]:
    """Makes `run` the current one inside the block."""
    _bound.append(run)
    try:
        yield run
    finally:
        _bound.remove(run)


@contextmanager
def recorded_run(**identity: Any) -> Generator[Record]:
    """For tests: what steps say inside the block is found in the record.

    Example: `with recorded_run() as run: evaluate(model)` and then `run.metrics["accuracy"]`.
    """
    record = Record()
    with bound_run(CurrentRun(Identity(**identity), record)):
        yield record


def importing_in_guest() -> bool:
    """Whether a guest (or the tracer) is importing the user's module: a pipeline must not be run then."""
    return bool(_importing)


@contextmanager
def guest_import(module: str) -> Generator[None]:
    """Marks the block in which a guest imports the user's module."""
    _importing.append(module)
    try:
        yield
    finally:
        _importing.remove(module)
