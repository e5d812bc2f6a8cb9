"""Which files of a folder are left out of a script's snapshot.

The patterns of `.gitignore` and `.penstockignore` at the top of the folder count, in Git's syntax: `*`, `?`, `[...]`, `**`, `!` to take
back, `/` at the end for folders alone, `/` elsewhere to anchor. Ignore files in folders below are not read. Standard library alone.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

_ALWAYS = frozenset({".git", ".hg", ".svn", "__pycache__", ".venv", ".penstock", ".ipynb_checkpoints"}) | {
    f".{tool}_cache" for tool in ("mypy", "pytest", "ruff")
}
_FILES = (".gitignore", ".penstockignore")


@dataclass(frozen=True)
class _Rule:
    expression: re.Pattern[str]
    takes_back: bool
    folders_only: bool


@dataclass(frozen=True)
class Ignores:
    """The rules of one folder; the last that matches a path decides."""

    folder: Path
    rules: tuple[_Rule, ...]

    @classmethod
    def of(cls, folder: Path) -> "Ignores":
        lines: list[str] = []
        for name in _FILES:
            if (folder / name).is_file():
                lines += (folder / name).read_text("utf-8", "replace").splitlines()
        rules = [_rule(line.rstrip()) for line in lines if line.strip() and not line.startswith("#")]
        return cls(folder, tuple(rules))

    def leaves_out(self, path: str, *, is_folder: bool) -> bool:
        """Whether `path`, relative with `/`, is left out. What is in a folder that is left out is so too, and is not asked for."""
        if path.rpartition("/")[2] in _ALWAYS or path.endswith(".pyc"):
            return True
        out = False
        for rule in self.rules:
            if (is_folder or not rule.folders_only) and rule.expression.fullmatch(path):
                out = not rule.takes_back
        return out

    def files(self) -> dict[str, Path]:
        """The files that are left, by their path below the folder. Links to folders are not followed."""
        found: dict[str, Path] = {}
        for place, folders, names in os.walk(self.folder):
            base = Path(place).relative_to(self.folder)
            folders[:] = [name for name in folders if not self.leaves_out((base / name).as_posix(), is_folder=True)]
            for name in names:
                path = (base / name).as_posix()
                if name not in _FILES and not self.leaves_out(path, is_folder=False) and Path(place, name).is_file():
                    found[path] = Path(place, name)
        return dict(sorted(found.items()))


def _rule(line: str) -> _Rule:
    takes_back = line.startswith("!")
    pattern = line[1:] if takes_back else line
    folders_only = pattern.endswith("/")
    pattern = pattern.rstrip("/")
    anchored = "/" in pattern
    body = _expression(pattern.lstrip("/"))
    try:
        expression = re.compile(body if anchored else f"(?:.*/)?{body}")
    except re.error:
        # Such as a range from z to a: it matches nothing, as for Git.
        expression = re.compile(r"(?!)")
    return _Rule(expression, takes_back, folders_only)


_PARTS = {"**/": "(?:.*/)?", "/**": "/.*", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def _expression(pattern: str) -> str:
    tokens = re.findall(r"\*\*/|/\*\*$|\*\*|\*|\?|\[[^\]]+\]|\\?.", pattern)
    return "".join(_PARTS.get(token) or (_class(token) if len(token) > 1 and token[0] == "[" else re.escape(token[-1])) for token in tokens)


def _class(token: str) -> str:
    negated = token[1] in "!^"
    inner = re.sub(r"([\[\]\\&~|^])", r"\\\1", token[2:-1] if negated else token[1:-1])
    return f"[^/{inner}]" if negated else f"[{inner}]"
