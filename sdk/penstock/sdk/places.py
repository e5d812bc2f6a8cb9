"""Where in the user's code something was written, for the text of errors."""

import inspect
from pathlib import Path

_HERE = str(Path(__file__).parent)


def user_place() -> str:
    """`file.py:12` of the innermost caller outside the SDK."""
    frame = inspect.currentframe()
    while (
        frame is not None
        and frame.f_back is not None
        and (frame.f_code.co_filename.startswith(_HERE) or "contextlib" in frame.f_code.co_filename)
    ):
        frame = frame.f_back
    return "?" if frame is None else f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
