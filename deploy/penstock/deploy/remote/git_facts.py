"""What git knows of the code that a run is made of: its commit, and how it differs from that. Only files of the snapshot are looked at."""

import subprocess
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

_SECONDS = 10.0
_DIFF_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class GitFacts:
    """`diff` None: it is too large to be kept."""

    commit: str
    branch: str
    is_dirty: bool
    diff: bytes | None = b""


def git_facts(root: Path, files: Collection[str]) -> GitFacts | None:
    """The facts about the files below `root` that are in the snapshot; None where there is no git, no repository or no commit."""
    commit = _git(root, "rev-parse", "--verify", "HEAD")
    if commit is None:
        return None
    branch = _git(root, "rev-parse", "--abbrev-ref", "HEAD") or b""
    # What is not in the snapshot stays on this machine, whether git knows it or not.
    paths = [f":(literal){name}" for name in sorted(files)]
    status = _git(root, "status", "--porcelain", "--untracked-files=normal", "--", *paths) if paths else b""
    diff = _git(root, "diff", "--no-color", "--no-ext-diff", "--no-textconv", "--binary", "HEAD", "--", *paths) if paths else b""
    return GitFacts(
        commit=commit.decode().strip(),
        branch=branch.decode(errors="replace").strip(),
        is_dirty=bool(status),
        diff=None if diff is None or len(diff) > _DIFF_BYTES else diff,
    )


def _git(root: Path, *arguments: str) -> bytes | None:
    command = ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", "-C", str(root), *arguments]
    try:
        done = subprocess.run(
            command, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
