"""Says whether uv.lock still fits pyproject.toml. Offline, where that can't be known, it says so and passes."""

import subprocess
import sys

# What uv writes when an index can't be reached, against what it writes when the lock file is out of date.
UNREACHABLE = (
    "Failed to fetch",
    "error sending request",
    "dns error",
    "Connection refused",
    "network was disabled",
    "No such file or directory",
)


def main(uv: str) -> int:
    try:
        checked = subprocess.run([uv, "lock", "--check", "--quiet"], capture_output=True, text=True, timeout=60, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        sys.stderr.write("uv.lock was not checked: uv is not here or did not answer\n")
        return 0
    if checked.returncode and any(text in checked.stderr for text in UNREACHABLE):
        sys.stderr.write("uv.lock was not checked: the package index can't be reached\n")
        return 0
    if checked.returncode:
        sys.stderr.write(f"{checked.stderr}uv.lock does not fit pyproject.toml; run: make lock\n")
    return checked.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
