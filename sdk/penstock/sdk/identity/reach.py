"""The walk that finds what a piece of code can reach in its project: definitions, and the statements of the modules they live in.

A module is *imported* when its import runs, and *touched* when a name of it is reached. Of both, the statements count; of a merely
imported one, names bound to constants don't, because nothing reads them. What can't be followed widens to a whole module, with a note.
Standard library alone.
"""

import ast
import builtins
import sys
from collections.abc import Iterable
from pathlib import Path

from penstock.sdk.identity.imports import Chain, Import, chain_of
from penstock.sdk.identity.module_syntax import Code, ModuleSyntax, parse_module
from penstock.sdk.identity.project import Project, label_of
from penstock.sdk.identity.reached_module import Module, Place
from penstock.sdk.identity.references import References

_STANDARD = frozenset(sys.stdlib_module_names) | {"penstock", "__future__"}
_BUILTINS = frozenset(dir(builtins)) | {"__file__", "__path__", "__package__", "__builtins__"}
_ENVIRON = frozenset({("os", "environ"), ("os", "getenv"), *(("os", "environ", read) for read in ("get", "pop", "setdefault"))})


class Reach:
    """All that was reached so far; `add` reaches more."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.modules: dict[str, Module] = {}
        self.imports: set[str] = set()
        self.environ: dict[str, str] = {}
        self.notes: list[str] = []
        self._waiting: list[tuple[Module, Code]] = []
        self._all_subclasses = False
        self._files: dict[str, Path | None] = {}
        self._resolved: dict[tuple[str, Chain], bool] = {}

    def add(self, module: Module, code: Code) -> None:
        """Reaches all that `code`, a part of `module`, refers to."""
        self._touch(module)
        self._waiting.append((module, code))
        self._finish()

    def add_name(self, module: Module, chain: Chain) -> None:
        """Reaches what `chain` names in a module."""
        self._resolve_in(module, chain, Place(module.label, 1))
        self._finish()

    def adopt(self, syntax: ModuleSyntax, file: Path) -> Module:
        """Takes in a module that is not found by its name."""
        module = self.modules[syntax.name] = Module(syntax, file, label_of(syntax.name, file))
        self._imported(module)
        return module

    def module(self, name: str) -> Module | None:
        """The project's module of that name, which counts as imported from here on; None if it is not the project's.

        :raises SyntaxError: its source can't be read by this Python.
        """
        if name in self.modules:
            return self.modules[name]
        file = self._file_of(name)
        if file is None:
            return None
        module = self.modules[name] = Module(_parsed(file, name), file, label_of(name, file))
        self._imported(module)
        return module

    def components(self) -> dict[str, str]:
        """What was reached, by label: the digest of each definition, and of the statements and imports of each module."""
        return dict(component for module in self.modules.values() for component in module.components())

    def _file_of(self, module: str) -> Path | None:
        if module not in self._files:
            self._files[module] = self.project.file_of(module)
        return self._files[module]

    def _finish(self) -> None:
        while self._waiting:
            self._follow(*self._waiting.pop())

    def _imported(self, module: Module) -> None:
        """The statements of a module run, and so do its imports and its parent packages."""
        syntax = module.syntax
        parent = syntax.name.rpartition(".")[0]
        if parent:
            self.module(parent)
        for name, target, _ in syntax.executed:
            self._execute(target)
            if name.partition(".")[0] not in syntax.used_names:
                # Nothing uses the name here: the import is there for what it does, or for others to import from here.
                self._third_party(target)
        self._waiting += [(module, code) for code in syntax.statements]
        self._reach_classes(module)

    def _reach_classes(self, module: Module) -> None:
        """Reaches the classes that can be found without their names: a base of theirs registers them, or is asked for them."""
        for name, node in module.syntax.classes.items():
            if name in module.syntax.definitions and node.bases:
                found = self._all_subclasses or any(self._registers(module, chain_of(base), set()) for base in node.bases)
                if found:
                    self._reach_definition(module, name)

    def _touch(self, module: Module) -> None:
        if not module.touched:
            module.touched = True
            self._waiting += [(module, code) for code in module.syntax.literals]

    def _widen(self, module: Module, place: Place, why: str) -> None:
        self._touch(module)
        if not module.whole:
            module.whole = True
            self.notes.append(f"{place.text}: {why}, so all of {module.label} counts")
            self._waiting.append((module, module.syntax.everything))

    def _follow(self, module: Module, code: Code) -> None:
        references = code.references
        for target in references.executed:
            self._execute(target)
            self._third_party(target)
        for chain, line in references.chains.items():
            place = Place(module.label, line)
            for target in references.imports.get(chain[0], []):
                self._follow_import(target, chain[1:], place)
            self._resolve_in(module, chain, place)
            if "modules" in chain and any(target[:2] == ("sys", "modules") for target in self._targets(module, references, chain)):
                self._widen(module, place, "sys.modules can reach any name")
        if references.subclasses is not None and not self._all_subclasses:
            self._all_subclasses = True
            self.notes.append(f"{module.label}:{references.subclasses}: __subclasses__ can reach any class, so all imported ones count")
            for imported in list(self.modules.values()):
                self._reach_classes(imported)
        self._follow_calls(module, references)
        for text, line in references.texts.items():
            self._follow_text(text, Place(module.label, line))
        for (chain, key), line in references.variables.items():
            if not _ENVIRON.isdisjoint(self._targets(module, references, chain)):
                self.environ.setdefault(key, f"{module.label}:{line}")

    def _follow_calls(self, module: Module, references: References) -> None:
        for what, line in references.dynamic.items():
            self._widen(module, Place(module.label, line), f"{what} can reach any name")
        for name, line in references.loaded.items():
            package = name.removesuffix(".*")
            for found in self.project.modules_below(package) if package != name else [name]:
                loaded = self.module(found)
                if loaded is not None:
                    self._widen(loaded, Place(module.label, line), f"{name} is loaded by a call")

    def _follow_text(self, text: str, place: Place) -> None:
        """Text that spells a name in a module of the project may be used to load it; most text with dots is none of that."""
        path = text.replace(":", ".").split(".")
        for cut in range(len(path) - 1, 0, -1):
            name = ".".join(path[:cut])
            file = self._file_of(name)
            if file is not None:
                known = self.modules.get(name) or Module(_parsed(file, name), file, label_of(name, file))
                if path[cut] in known.syntax.definitions or path[cut] in known.syntax.bound:
                    self._attribute(name, tuple(path[cut:]), place)
                return

    def _resolve_in(self, module: Module, chain: Chain, place: Place) -> bool:
        """Reaches what a chain names among the names of a module; False if the module has no such name."""
        key = (module.syntax.name, chain)
        if key not in self._resolved:
            # What comes back here on its way is an import of a name from its own module: there it has no such name.
            self._resolved[key] = False
            self._resolved[key] = self._resolve_anew(module, chain, place)
        return self._resolved[key]

    def _resolve_anew(self, module: Module, chain: Chain, place: Place) -> bool:
        name, syntax = chain[0], module.syntax
        if name in syntax.pipelines:
            return True
        known = name in syntax.definitions or name in syntax.bound
        if name in syntax.definitions:
            self._reach_definition(module, name)
        if name in syntax.bound:
            self._touch(module)
        for target in syntax.imports.get(name, []):
            known = True
            module.followed.add(name)
            self._follow_import(target, chain[1:], place)
        return known or self._resolve_by_stars(module, chain, place)

    def _reach_definition(self, module: Module, name: str) -> None:
        self._touch(module)
        if name not in module.reached:
            module.reached[name] = module.syntax.definitions[name]
            self._waiting.append((module, module.syntax.definitions[name]))

    def _resolve_by_stars(self, module: Module, chain: Chain, place: Place) -> bool:
        sources = [source for target in module.syntax.imports.get("*", []) if (source := self.module(target.module)) is not None]
        if sources:
            module.followed.add("*")
        # All of them, not the first that has it: which one counts last depends on more.
        if sum(self._resolve_in(source, chain, place) for source in sources):
            return True
        if chain[0] not in _BUILTINS:
            for source in sources:
                self._widen(source, place, f"`from {source.syntax.name} import *` may bind {chain[0]}")
        return False

    def _follow_import(self, target: Import, rest: Chain, place: Place) -> None:
        self._third_party(target)
        if target.name is None:
            self._attribute(target.module, rest, place)
        elif target.name != "*":
            self._attribute(target.module, (target.name, *rest), place)

    def _attribute(self, name: str, chain: Chain, place: Place) -> None:
        """Reaches what a chain names in a module that may be the project's."""
        module = self.module(name)
        if module is None:
            if chain and self.project.is_folder(name):
                self._attribute(f"{name}.{chain[0]}", chain[1:], place)
            return
        if not chain:
            self._widen(module, place, f"the module {name} is used as a value")
        elif chain[0] == "__dict__":
            self._widen(module, place, f"{name}.__dict__ can reach any name")
        elif not self._resolve_in(module, chain, place):
            self._submodule(module, chain, place)

    def _submodule(self, module: Module, chain: Chain, place: Place) -> None:
        name = f"{module.syntax.name}.{chain[0]}"
        if self._file_of(name) is not None or self.project.is_folder(name):
            self._attribute(name, chain[1:], place)
        elif "__getattr__" in module.syntax.definitions:
            self._widen(module, place, f"__getattr__ of {module.syntax.name} answers for {chain[0]}")
        else:
            self._touch(module)

    def _execute(self, target: Import) -> None:
        """An import runs: its module's, and that of the module that it may name in a package."""
        module = self.module(target.module)
        if target.name is not None and target.name != "*":
            defined = module is not None and (target.name in module.syntax.definitions or target.name in module.syntax.bound)
            if not defined:
                self.module(f"{target.module}.{target.name}")

    def _third_party(self, target: Import) -> None:
        top = target.module.partition(".")[0]
        if top and top not in self.imports and top not in _STANDARD and self._file_of(top) is None and not self.project.is_folder(top):
            self.imports.add(top)

    def _targets(self, module: Module, references: References, chain: Chain) -> set[Chain]:
        """What a chain may name, in full, by the imports that bind its root."""
        bound: Iterable[Import] = [*references.imports.get(chain[0], []), *module.syntax.imports.get(chain[0], [])]
        return {(target.module, *([target.name] if target.name else []), *chain[1:]) for target in bound}

    def _registers(self, module: Module, base: Chain | None, seen: set[tuple[str, Chain]]) -> bool:
        """Whether a class with this base acts when it is defined: a base of the project's hooks into that."""
        if base is None or (module.syntax.name, base) in seen:
            return False
        seen.add((module.syntax.name, base))
        node = module.syntax.classes.get(base[0])
        if node is not None:
            hooks = any(isinstance(part, ast.FunctionDef) and part.name == "__init_subclass__" for part in node.body)
            meta = any(keyword.arg == "metaclass" for keyword in node.keywords) and node.name not in module.syntax.definitions
            return hooks or meta or any(self._registers(module, chain_of(inner), seen) for inner in node.bases)
        for target in module.syntax.imports.get(base[0], []):
            path = (*target.module.split("."), *([target.name] if target.name else []), *base[1:])
            for cut in range(len(path) - 1, 0, -1):
                home = self.module(".".join(path[:cut]))
                if home is not None and self._registers(home, path[cut:], seen):
                    return True
        return False


def _parsed(file: Path, name: str) -> ModuleSyntax:
    return parse_module(file.read_bytes(), name, is_package=file.name == "__init__.py", filename=label_of(name, file))
