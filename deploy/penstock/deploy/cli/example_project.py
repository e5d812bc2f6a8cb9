"""The retraining example as files: in a wheel beside this package, in a checkout where its sources are."""

import shutil
from importlib.resources import files
from pathlib import Path

from penstock.contracts.errors import InvalidInput

_PARTS = ("pipeline.py", "penstock.toml", "README.md", "drops")
_IGNORED = ".penstock/\n__pycache__/\n"


def example_folder() -> Path:
    """Where the example's files are.

    :raises InvalidInput: this installation lacks them.
    """
    packaged = Path(str(files("penstock.deploy") / "example_retrain"))
    checkout = Path(__file__).resolve().parents[4] / "examples" / "retrain"
    for folder in (packaged, checkout):
        if (folder / "pipeline.py").is_file():
            return folder
    raise InvalidInput("this installation of Penstock lacks its example; install it again (pip install --force-reinstall penstock)")


def write_example(target: Path) -> list[Path]:
    """Copies the example into a folder, which is made if need be; gives the paths inside it.

    :raises InvalidInput: a file of that name is there already, or the folder can't be written.
    """
    source = example_folder()
    taken = [name for name in _PARTS if (target / name).exists()]
    if taken:
        raise InvalidInput(f"{target / taken[0]} exists already; name an empty or new folder")
    try:
        target.mkdir(parents=True, exist_ok=True)
        for name in _PARTS:
            if (source / name).is_dir():
                shutil.copytree(source / name, target / name, copy_function=shutil.copyfile)
            else:
                shutil.copyfile(source / name, target / name)
        ignore = target / ".gitignore"
        if not ignore.exists():
            ignore.write_text(_IGNORED)
    except OSError as error:
        raise InvalidInput(f"can't write the example to {target}: {error}") from error
    return sorted(path.relative_to(target) for name in _PARTS for path in [target / name, *(target / name).rglob("*")] if path.is_file())
