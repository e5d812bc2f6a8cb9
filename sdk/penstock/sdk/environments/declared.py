"""An environment as a pipeline declares it, with its places made absolute: what travels with a trace until it is resolved."""

import re
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from penstock.contracts.errors import InvalidInput
from penstock.sdk.types import Environment

_INCLUDES = re.compile(r"^\s*(?:-r|-c|--requirement|--constraint)[\s=]+(?P<file>[^\s#]+)", re.MULTILINE)
_CREDENTIALS = re.compile(r"\b(?:https?|git\+https?)://[^/\s@]+@")


class Declared(BaseModel):
    """`source` is an absolute path, or an image."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    kind: Literal["packages", "requirements", "project", "image"]
    source: str = ""
    extras: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    python: str | None = None
    network: bool = False

    @classmethod
    def of(cls, environment: Environment, folder: Path) -> "Declared":
        """`folder` is where relative paths start."""
        source = environment.source
        if environment.kind in ("requirements", "project"):
            source = str((folder / Path(source).expanduser()).resolve())
        return cls(
            kind=environment.kind,
            source=source,
            extras=environment.extras,
            packages=tuple(environment.packages),
            python=environment.python,
            network=environment.network,
        )

    def texts(self) -> dict[str, str]:
        """Everything that a resolution reads, by name.

        :raises InvalidInput: a file can't be read, or it holds a password.
        """
        texts = self._texts()
        for name, text in texts.items():
            refuse_credentials(name, text)
        return texts

    def _texts(self) -> dict[str, str]:
        match self.kind:
            case "packages":
                return {"packages": "\n".join(self.packages)}
            case "requirements":
                return _with_includes(Path(self.source), {})
            case "project":
                folder = Path(self.source)
                texts = {"pyproject.toml": _read(folder / "pyproject.toml")}
                return texts | ({"uv.lock": _read(folder / "uv.lock")} if (folder / "uv.lock").exists() else {})
            case "image":
                return {}


def refuse_credentials(name: str, text: str) -> None:
    """:raises InvalidInput: an address in `text` holds a user's name or password; it would travel to all who can see a run."""
    found = _CREDENTIALS.search(text)
    if found is not None:
        line = text.count("\n", 0, found.start()) + 1
        raise InvalidInput(
            f"{name}, line {line}: an address holds credentials, which would be stored with every run; "
            "leave them out, and give them to uv where it runs: UV_INDEX_<NAME>_USERNAME and _PASSWORD, or a keyring"
        )


def _with_includes(file: Path, texts: dict[str, str]) -> dict[str, str]:
    if str(file) not in texts:
        texts[str(file)] = _read(file)
        for found in _INCLUDES.finditer(texts[str(file)]):
            _with_includes((file.parent / found["file"]).resolve(), texts)
    return texts


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"the environment's file {file} can't be read: {getattr(error, 'strerror', None) or error}") from error
