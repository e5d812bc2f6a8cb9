"""Where in the user's code something was written, for the text of errors."""

import sys
from pathlib import Path

_HERE = str(Path(__file__).parent)


def user_place() -> str:
    """`file.py:12` of the innermost caller outside the SDK."""
    frame = sys._getframe(1)  # noqa: SLF001  # the documented way to look at callers, without building a whole stack
    while frame.f_back is not None and (frame.f_code.co_filename.startswith(_HERE) or "contextlib" in frame.f_code.co_filename):
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
