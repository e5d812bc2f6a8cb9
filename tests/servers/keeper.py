"""Waits until whoever started it closes its standard input or dies, then kills every process of a private server and removes its folder.

A program of its own, so that a killed pytest leaves nothing behind either. It knows the processes by the variable in their environment,
so those that detached themselves are found too.
"""

import os
import shutil
import signal
import sys
import time
from pathlib import Path

MARKER = "PENSTOCK_TEST_SERVER"
"""Environment variable that holds the folder of the server that a process belongs to."""

_PAUSE_SECONDS = 0.01


def processes_of(folder: str) -> list[int]:
    mark = f"{MARKER}={folder}".encode()
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and mark in _environment(entry)]


def _environment(process: Path) -> list[bytes]:
    try:
        return (process / "environ").read_bytes().split(b"\0")
    except OSError:  # it has ended
        return []


def main() -> None:
    folder = sys.argv[1]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    while found := processes_of(folder):
        for process in found:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(_PAUSE_SECONDS)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
