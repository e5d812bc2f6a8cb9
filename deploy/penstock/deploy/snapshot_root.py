"""The folder that a snapshot was taken from. A module of its own: what makes snapshots is more than a client has time to import."""

from pathlib import Path


def root_of(files: dict[str, Path]) -> Path | None:
    """`files`: by path inside the snapshot. None: they were taken from several."""
    for name, path in files.items():
        if path.as_posix().endswith("/" + name):
            return Path(path.as_posix()[: -len(name) - 1])
    return None
