"""What process groups use at this moment, as the kernel tells."""

import os
from collections.abc import Collection
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")
_GROUP, _USER_TIME, _SYSTEM_TIME, _RESIDENT = 2, 11, 12, 21
"""Fields of /proc/<pid>/stat after the command's name."""


def memory_by_group(groups: Collection[int]) -> dict[int, int]:
    """Resident bytes of all processes of each of `groups`; one pass over the processes of this machine."""
    used = dict.fromkeys(groups, 0)
    for entry in Path("/proc").iterdir():
        name = entry.name
        if name.isdigit() and (fields := _fields(int(name))) and (group := int(fields[_GROUP])) in used:
            used[group] += int(fields[_RESIDENT]) * _PAGE
    return used


def cpu_seconds(pid: int) -> float:
    """CPU time of a process so far; 0 where it has ended."""
    fields = _fields(pid)
    return (int(fields[_USER_TIME]) + int(fields[_SYSTEM_TIME])) / _TICKS if fields else 0.0


def _fields(pid: int) -> list[str]:
    try:
        # The command's name may hold anything, so what counts begins after its last bracket.
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []
