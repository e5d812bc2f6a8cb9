"""What to do about an error, where Penstock knows: a module that is missing, a file that the step did not declare."""

import os
from pathlib import Path


def import_hint(error: BaseException) -> str:
    """What to do about a module that can't be imported."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"install {error.name.partition('.')[0]} where the step runs, or import it where it is in the project"
    return ""


def missing_file_hint(error: BaseException, snapshot: str, project: str, declared: dict[str, str]) -> str:
    """What to do about a file of the project that is not in the snapshot; empty where `error` is about something else."""
    if not isinstance(error, FileNotFoundError) or not isinstance(error.filename, str | bytes):
        return ""
    path = os.fsdecode(error.filename)
    here = os.getcwd()  # noqa: PTH109  # paths are compared as text
    if here != os.sep and path.startswith(here + os.sep):
        # The working directory may lie inside of the project, but nothing of the project is in it.
        path = os.path.relpath(path, here)
    for root in filter(None, (snapshot, project)):
        if path.startswith(root.rstrip(os.sep) + os.sep):
            relative = os.path.relpath(path, root)
            return f'declare the file that it reads: @step(files=["{relative}"])'
    if Path(path).is_absolute():
        return ""
    relative = os.path.normpath(path)
    if relative in declared:
        return f'{relative} is beside the module, not in the working directory: open Path(__file__).parent / "{relative}"'
    if project and (Path(project) / relative).exists():
        return f'declare the file and open it beside the module: @step(files=["{relative}"]) and Path(__file__).parent / "{relative}"'
    return ""
