"""Where in the user's code something was written, for the text of errors."""

import contextlib
import inspect
import traceback
from pathlib import Path

_HERE = str(Path(__file__).parent.parent)
_STANDARD_LIBRARY = str(Path(contextlib.__file__).parent)


def user_place() -> str:
    """`file.py:12` of the innermost caller outside of the SDK and the standard library."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_back and _is_between(frame.f_code.co_filename):
        frame = frame.f_back
    return "?" if frame is None else f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"


def users_traceback(error: BaseException) -> str:
    """The traceback of an error from the first frame that is neither the SDK's nor the standard library's."""
    frames = error.__traceback__
    while frames is not None and frames.tb_next is not None and _is_between(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames))


def _is_between(file: str) -> bool:
    return file.startswith(_HERE) or (file.startswith(_STANDARD_LIBRARY) and "site-packages" not in file)
