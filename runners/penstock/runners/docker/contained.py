"""What runs first inside of the container of a function: it finds the runner, takes over secrets and output, then serves as any guest.

Nothing outside of the standard library but Penstock's light parts is imported here.
"""

import faulthandler
import io
import os
import socket
import sys
from typing import Any

from penstock.runners.docker.places import SOFTWARE, TALK
from penstock.runners.frames import receive
from penstock.runners.guest import serve

SOCKET = TALK / "socket"
WRONG_PYTHON = 78
"""The exit status where the image's Python can't load the compiled code of Penstock's own needs."""


def program(python: str) -> list[str]:
    """The command of the container, for an image with or without Penstock. `python` is the version that its software is for.

    Penstock in the image comes first, and what the image has of its needs; what is mounted comes last.
    """
    wanted = tuple(map(int, python.split(".")))
    told = f"a function step runs Penstock inside of its image: that needs Python {python} there, or penstock installed; it has Python"
    lines = [
        "import sys",
        "sys.path[:] = [entry for entry in sys.path if entry]",
        "try:",
        "    import penstock.runners.docker.contained",
        "except ImportError:",
        f"    if sys.version_info[:2] != {wanted!r}:",
        f"        sys.stderr.write({told!r} + ' %d.%d' % sys.version_info[:2])",
        f"        sys.exit({WRONG_PYTHON})",
        f"    sys.path.append({str(SOFTWARE)!r})",
        "from penstock.runners.docker.contained import main",
        "main()",
    ]
    return ["python3", "-c", "\n".join(lines)]


def main() -> None:
    stream, output = _connected(), _connected()
    secrets: Any = receive(stream)
    if secrets is None:
        return
    os.environ.update(secrets[1])
    _take_over(output)
    serve(stream, "")


def _connected() -> socket.socket:
    stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    stream.connect(str(SOCKET))
    return stream


def _take_over(output: socket.socket) -> None:
    """What is printed goes to the runner in the order in which outcomes do."""
    for descriptor in (1, 2):
        os.dup2(output.fileno(), descriptor)
    output.close()
    faulthandler.enable(file=2)
    for text in (sys.stdout, sys.stderr):
        if isinstance(text, io.TextIOWrapper):
            text.reconfigure(line_buffering=True, encoding="utf-8", errors="backslashreplace")
