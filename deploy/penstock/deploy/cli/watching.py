"""`penstock run --watch`: again, whenever a file changes that the pipeline is made of."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from penstock.contracts.errors import PenstockError
from penstock.deploy.cli.exits import ExitCode
from penstock.deploy.cli.trace_record import source_digest

PAUSE_SECONDS = 0.3
Sources = Mapping[str, str]
"""Files to their digests when they were read."""
Once = Callable[[], tuple[ExitCode, Sources]]


def watch(once: Once, start: Path, say: Callable[[str], None], pause: Callable[[float], None]) -> ExitCode:
    """Runs `once`, waits until one of its sources changes, and runs it again, until Ctrl-C ends a run or the waiting.

    While the pipeline can't be built, the Python files around `start` are watched too.
    """
    known: Sources = {}
    while True:
        # Read before the attempt: an edit during it is then seen as one.
        before = {path: source_digest(path) for path in [*known, *_around(start)]}
        try:
            code, known = once()
        except PenstockError as error:
            say(f"error: {error}")
            code, known = ExitCode.USAGE, before
        if code is ExitCode.INTERRUPTED:
            return code
        say(f"watching {len(known)} files; Ctrl-C ends")
        changed = _changes(known, pause)
        say(f"\n{', '.join(_shown(path) for path in changed)} changed: running again")


def _changes(sources: Sources, pause: Callable[[float], None]) -> list[str]:
    """Waits until files differ from their digests, and for editors to have written them all."""
    seen: dict[str, tuple[int, int] | None] = {}
    changed: list[str] = []
    while True:
        stamps = {path: _stamp(path) for path in sources}
        moved = [path for path in sources if path not in seen or seen[path] != stamps[path]]
        if changed and not moved:
            return changed
        if moved:
            changed = [path for path, digest in sources.items() if (path in moved or path in changed) and source_digest(path) != digest]
        seen = stamps
        pause(PAUSE_SECONDS)


def _around(start: Path) -> list[str]:
    folder = start if start.is_dir() else start.parent
    return sorted({*([] if start.is_dir() else [str(start)]), *(str(path) for path in folder.glob("*.py"))})


def _stamp(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 -- hundreds of files, several times a second
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _shown(path: str) -> str:
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path
