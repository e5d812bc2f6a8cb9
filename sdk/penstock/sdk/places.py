"""Where in the user's code something was written, for the text of errors."""

import contextlib
import inspect
from pathlib import Path

_HERE = str(Path(__file__).parent)
_STANDARD_LIBRARY = str(Path(contextlib.__file__).parent)


def user_place() -> str:
    """`file.py:12` of the innermost caller outside of the SDK and the standard library."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_back and _is_between(frame.f_code.co_filename):
        frame = frame.f_back
    return "?" if frame is None else f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"


def _is_between(file: str) -> bool:
    return file.startswith(_HERE) or (file.startswith(_STANDARD_LIBRARY) and "site-packages" not in file)
