"""Any program: editing one function changes the identity of exactly those functions that can reach it."""

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.sdk.identity.project import Project
from penstock.sdk.identity.reach import Reach

MODULES = ("alpha", "beta", "pack.gamma")
STYLES = ("from", "module", "inside", "method")

Function = tuple[str, int]
"""A module and the number of a function in it."""
Edge = tuple[Function, Function, str]
"""Who calls whom, and how the name is got at."""

functions = st.tuples(st.sampled_from(MODULES), st.integers(0, 2))
edges = st.lists(st.tuples(functions, functions, st.sampled_from(STYLES)), max_size=14)


def module_source(module: str, calls: list[Edge], edited: Function) -> str:
    lines = [f"import {other}\nfrom {other} import f0 as {other[-3:]}_f0" for other in MODULES if other != module]
    for number in range(3):
        own = [(callee, style) for (caller, callee, style) in calls if caller == (module, number)]
        lines += [f"def f{number}(x):", *(f"    {call(module, callee, style)}" for callee, style in own)]
        lines.append(f"    return {'x + 1' if edited == (module, number) else 'x'}")
    return "\n".join(lines) + "\n"


def call(module: str, callee: Function, style: str) -> str:
    home, number = callee
    if home == module:
        return f"f{number}(x)"
    match style:
        case "from" if number == 0:
            return f"{home[-3:]}_f0(x)"
        case "inside":
            return f"from {home} import f{number} as found; found(x)"
        case "method":
            return f"[item for item in map({home}.f{number}, x)]"
        case _:
            return f"{home}.f{number}(x)"


def digests(calls: list[Edge], edited: Function) -> dict[Function, object]:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "pack").mkdir()
        (Path(folder) / "pack/__init__.py").write_text("")
        for module in MODULES:
            Path(folder, *module.split(".")).with_suffix(".py").write_text(module_source(module, calls, edited))
        return {(module, number): reached(Path(folder), module, number) for module in MODULES for number in range(3)}


def reached(folder: Path, module: str, number: int) -> object:
    reach = Reach(Project.of(folder / "alpha.py"))
    home = reach.module(module)
    assert home is not None
    reach.add_name(home, (f"f{number}",))
    return reach.components()


def callers_of(edited: Function, calls: list[Edge]) -> set[Function]:
    found = {edited}
    while more := {caller for caller, callee, _ in calls if callee in found} - found:
        found |= more
    return found


@settings(max_examples=40)
@given(edges, functions)
def test_an_edit_changes_exactly_what_can_reach_it(calls: list[Edge], edited: Function) -> None:
    before, after = digests(calls, ("", 0)), digests(calls, edited)

    assert {function for function in before if before[function] != after[function]} == callers_of(edited, calls)
