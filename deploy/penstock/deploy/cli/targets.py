"""What `run`, `check` and `graph` are pointed at: a pipeline file, or a module, and which pipeline in it."""

from dataclasses import dataclass
from pathlib import Path

from typing_extensions import override

from penstock.contracts.errors import InvalidInput
from penstock.sdk.nearest import nearest_hint


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A file or a module, one of them; `pipeline` None where it holds a single one."""

    file: Path | None = None
    module: str | None = None
    pipeline: str | None = None

    @property
    def start(self) -> Path:
        """From where the project around it is looked for."""
        return self.file if self.file is not None else Path.cwd()

    @override
    def __str__(self) -> str:
        here = Path.cwd()
        file = self.file.relative_to(here) if self.file is not None and self.file.is_relative_to(here) else self.file
        own = str(file) if file is not None else f"-m {self.module}"
        return f"{own}:{self.pipeline}" if self.pipeline else own


def parse_target(file: str | None, module: str | None) -> Target:
    """`FILE[:PIPELINE]` or `pkg.mod[:PIPELINE]`.

    :raises InvalidInput: neither or both, or no such file.
    """
    if (file is None) == (module is None):
        raise InvalidInput("name a pipeline file (penstock run pipeline.py) or a module (penstock run -m package.module:pipeline)")
    if module is not None:
        name, _, pipeline = module.partition(":")
        return Target(module=name, pipeline=pipeline or None)
    assert file is not None  # noqa: S101 -- by the test above, for the type checkers
    path, pipeline_name = _split(file)
    if not path.is_file():
        folder = path.parent if path.parent.is_dir() else Path()
        scripts = sorted(entry.name for entry in folder.glob("*.py"))
        raise InvalidInput(f"there is no file {path}{nearest_hint(path.name, scripts[:10])}")
    return Target(file=path.absolute(), pipeline=pipeline_name)


def _split(text: str) -> tuple[Path, str | None]:
    """The colon of a Windows drive is no separator, nor is one in the name of a file that exists."""
    head, colon, tail = text.rpartition(":")
    if colon and tail.isidentifier() and len(head) > 1 and not Path(text).exists():
        return Path(head), tail
    return Path(text), None
