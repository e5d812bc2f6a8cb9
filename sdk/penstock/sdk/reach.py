"""The walk that finds what a piece of code can reach in its project: definitions, and the statements of the modules they live in.

A module is *imported* when its import runs, and *touched* when a name of it is reached. Of both, the statements count; of a merely
imported one, names bound to constants don't, because nothing reads them. What can't be followed widens to a whole module, with a note.
Standard library alone.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path

from penstock.sdk.module_syntax import Code, ModuleSyntax, parse_module
from penstock.sdk.project import Project, label_of
from penstock.sdk.references import Chain, Import
from penstock.sdk.syntax_encoding import syntax_digest, text_digest

_STANDARD = frozenset(sys.stdlib_module_names) | {"penstock", "__future__"}


@dataclass
class Module:
    syntax: ModuleSyntax
    file: Path | None
    label: str
    touched: bool = False
    whole: bool = False
    followed: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    """The imports that were followed: name to targets. Which one a name stands for is as much code as the name's use."""
    reached: dict[str, Code] = field(default_factory=dict[str, Code])


class Reach:
    """All that was reached so far; `add` reaches more."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.modules: dict[str, Module] = {}
        self.imports: set[str] = set()
        self.environ: dict[str, str] = {}
        self.notes: dict[str, None] = {}
        self._waiting: list[tuple[Module, Code]] = []

    def add(self, module: str, code: Code) -> None:
        """Reaches all that `code`, a part of the project's `module`, refers to."""
        home = self.module(module)
        assert home is not None
        self._touch(home)
        self._waiting.append((home, code))
        while self._waiting:
            self._follow(*self._waiting.pop())

    def add_name(self, module: str, chain: Chain) -> None:
        """Reaches what `chain` names in a module of the project."""
        home = self.module(module)
        assert home is not None
        self._resolve_in(home, chain, (home, 1))
        while self._waiting:
            self._follow(*self._waiting.pop())

    def adopt(self, name: str, syntax: ModuleSyntax, label: str) -> Module:
        """Takes in a module that has no file."""
        self.modules[name] = Module(syntax, None, label)
        return self.modules[name]

    def module(self, name: str) -> Module | None:
        """The project's module of that name, which counts as imported from here on; None if it is not the project's."""
        if name in self.modules:
            return self.modules[name]
        file = self.project.file_of(name)
        if file is None:
            return None
        syntax = parse_module(file.read_bytes(), name, is_package=file.name == "__init__.py")
        module = self.modules[name] = Module(syntax, file, label_of(name, file))
        self._imported(module)
        return module

    def components(self) -> dict[str, str]:
        """What was reached, by label: the digest of each definition, and of the statements and imports of each module."""
        found: dict[str, str] = {}
        for module in self.modules.values():
            if module.whole:
                found[f"{module.label} (whole)"] = module.syntax.everything.digest
            else:
                found |= {f"{module.label}::{name}": code.digest for name, code in module.reached.items()}
                statements = [node for code in self._counting(module) for node in code.nodes]
                if statements:
                    statements.sort(key=lambda node: (node.lineno, node.col_offset))
                    found[f"{module.label} (top level)"] = syntax_digest(*statements)
            if module.followed:
                lines = [f"{name}={target}" for name, targets in sorted(module.followed.items()) for target in sorted(targets)]
                found[f"{module.label} (imports)"] = text_digest("\n".join(lines))
        return found

    def _counting(self, module: Module) -> list[Code]:
        return module.syntax.statements + (module.syntax.literals if module.touched else [])

    def _imported(self, module: Module) -> None:
        """The statements of a module run, and so do its imports and its parent packages."""
        parent = module.syntax.name.rpartition(".")[0]
        if parent:
            self.module(parent)
        for name, target, _ in module.syntax.executed:
            self._execute(target)
            if name.partition(".")[0] not in module.syntax.used_names:
                # Nothing uses the name here: the import is there for what it does, or for others to import from here.
                self._third_party(target)
        self._waiting += [(module, code) for code in module.syntax.statements]

    def _touch(self, module: Module) -> None:
        if not module.touched:
            module.touched = True
            self._waiting += [(module, code) for code in module.syntax.literals]

    def _widen(self, module: Module, place: tuple[Module, int], why: str) -> None:
        if module.syntax.name not in self.modules:
            return
        self._touch(module)
        if not module.whole:
            module.whole = True
            self.notes[f"{place[0].label}:{place[1]}: {why}, so all of {module.label} counts"] = None
            self._waiting.append((module, module.syntax.everything))

    def _follow(self, module: Module, code: Code) -> None:
        references = code.references
        for target in references.executed:
            self._execute(target)
            self._third_party(target)
        for what, line in references.dynamic.items():
            self._widen(module, (module, line), f"{what} can reach any name")
        for chain, line in references.chains.items():
            for target in references.imports.get(chain[0], []):
                self._follow_import(target, chain[1:], (module, line))
            self._resolve_in(module, chain, (module, line))
        for (chain, key), line in references.variables.items():
            if self._reads_environ(module, code, chain):
                self.environ.setdefault(key, f"{module.label}:{line}")

    def _resolve_in(self, module: Module, chain: Chain, place: tuple[Module, int]) -> bool:
        """Reaches what a chain names among the names of a module; False if the module has no such name."""
        name, syntax = chain[0], module.syntax
        known = False
        if name in syntax.pipelines:
            return True
        if name in syntax.definitions:
            known = True
            self._touch(module)
            if name not in module.reached:
                module.reached[name] = syntax.definitions[name]
                self._waiting.append((module, syntax.definitions[name]))
        if name in syntax.bound:
            known = True
            self._touch(module)
        for target in syntax.imports.get(name, []):
            known = True
            module.followed.setdefault(name, set()).add(target.target)
            self._follow_import(target, chain[1:], place)
        if not known:
            known = self._resolve_by_stars(module, chain, place)
        return known

    def _resolve_by_stars(self, module: Module, chain: Chain, place: tuple[Module, int]) -> bool:
        for target in module.syntax.imports.get("*", []):
            source = self.module(target.module)
            if source is not None:
                self._widen(source, place, f"`from {target.module} import *` may bind {chain[0]!r}")
        return False

    def _follow_import(self, target: Import, rest: Chain, place: tuple[Module, int]) -> None:
        self._third_party(target)
        if target.name is None:
            self._attribute(target.module, rest, place)
        elif target.name != "*":
            self._attribute(target.module, (target.name, *rest), place)

    def _attribute(self, name: str, chain: Chain, place: tuple[Module, int]) -> None:
        """Reaches what a chain names in a module that may be the project's."""
        module = self.module(name)
        if module is None:
            if chain and self.project.is_folder(name):
                self._attribute(f"{name}.{chain[0]}", chain[1:], place)
            return
        if not chain:
            self._widen(module, place, f"{name} is used as a value")
        elif chain[0] == "__dict__":
            self._widen(module, place, f"{name}.__dict__ can reach any name")
        elif not self._resolve_in(module, chain, place):
            if self.project.file_of(f"{name}.{chain[0]}") is not None or self.project.is_folder(f"{name}.{chain[0]}"):
                self._attribute(f"{name}.{chain[0]}", chain[1:], place)
            elif "__getattr__" in module.syntax.definitions:
                self._widen(module, place, f"{name}.__getattr__ answers for {chain[0]!r}")
            else:
                self._touch(module)

    def _execute(self, target: Import) -> None:
        """An import runs: its module, and the module that it may name in a package."""
        module = self.module(target.module)
        if target.name == "*" and module is not None:
            self._widen(module, (module, 1), "a star import takes all names")
        elif target.name is not None:
            defined = module is not None and (target.name in module.syntax.definitions or target.name in module.syntax.bound)
            if not defined:
                self.module(f"{target.module}.{target.name}")

    def _third_party(self, target: Import) -> None:
        top = target.module.partition(".")[0]
        if top and top not in _STANDARD and self.project.file_of(top) is None and not self.project.is_folder(top):
            self.imports.add(top)

    def _reads_environ(self, module: Module, code: Code, chain: Chain) -> bool:
        for target in [*code.references.imports.get(chain[0], []), *module.syntax.imports.get(chain[0], [])]:
            path = (target.module, *([target.name] if target.name else []), *chain[1:])
            if path in (("os", "environ"), ("os", "environ", "get"), ("os", "getenv"), ("os", "environ", "pop"), ("os", "environ", "setdefault")):
                return True
        return False
