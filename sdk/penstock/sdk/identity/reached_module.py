"""What was reached of one module of the project, as components of an identity. Standard library alone."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from penstock.sdk.identity.module_syntax import Code, ModuleSyntax
from penstock.sdk.identity.syntax_encoding import syntax_digest, text_digest


@dataclass
class Module:
    """A module of the project, and what was reached of it."""

    syntax: ModuleSyntax
    file: Path
    label: str
    touched: bool = False
    whole: bool = False
    reached: dict[str, Code] = field(default_factory=dict[str, Code])
    followed: set[str] = field(default_factory=set[str])
    """The names that were followed through an import: what they are bound to is as much code as their use."""

    @property
    def counting(self) -> list[ast.stmt]:
        """The statements that count, in their order."""
        codes = self.syntax.statements + (self.syntax.literals if self.touched else [])
        return sorted((node for code in codes for node in code.nodes), key=lambda node: (node.lineno, node.col_offset))

    def components(self) -> Iterator[tuple[str, str]]:
        if self.whole:
            yield f"{self.label} (whole)", self.syntax.everything.digest
        else:
            yield from ((f"{self.label}::{name}", code.digest) for name, code in self.reached.items())
            if statements := self.counting:
                yield f"{self.label} (top level)", syntax_digest(*statements)
        if self.followed:
            targets = {name: [target.target for target in self.syntax.imports[name]] for name in sorted(self.followed)}
            yield f"{self.label} (imports)", text_digest("\n".join(f"{name}={target}" for name in targets for target in targets[name]))


@dataclass(frozen=True)
class Place:
    """Where in the code something is referred to."""

    label: str
    line: int

    @property
    def text(self) -> str:
        return f"{self.label}:{self.line}"
