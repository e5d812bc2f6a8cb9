"""The body of a pipeline, checked by its syntax tree when it is decorated: what would silently mean something else is an error.

The body runs once, when the graph is drawn; it sees handles, not values.
"""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from penstock.contracts.errors import GraphError

_CLOCKS = {
    "date.today", "datetime.now", "datetime.today", "datetime.utcnow", "datetime.date.today", "datetime.datetime.now",
    "datetime.datetime.today", "datetime.datetime.utcnow", "time.time", "time.time_ns", "time.strftime", "Timestamp.now",
    "pd.Timestamp.now",
    "pd.Timestamp.today", "pandas.Timestamp.now",
}  # fmt: skip
_CHANCE = {
    "uuid.uuid1", "uuid.uuid4", "uuid4", "uuid1", "random.random", "random.randint", "random.choice", "random.shuffle",
    "np.random.rand", "np.random.randint", "os.urandom", "secrets.token_hex",
}  # fmt: skip


def check_body(function: Callable[..., Any]) -> None:
    """Looks through the body and the defaults of a pipeline's function.

    :raises GraphError: it can't mean what it says; the text says why and what to write instead.
    """
    found = _definition(function)
    if found is None:
        return
    tree, file, offset = found
    checker = _Checker(function.__name__, file, offset)
    if isinstance(tree, ast.AsyncFunctionDef):
        checker.fail(
            tree,
            "is `async def`, but its body only draws the graph",
            "write `def`; steps may be async, and `await pipeline.arun(...)` waits for a run",
        )
    for node in _walk(tree):
        checker.look(node, _handle_names(tree))


def _definition(function: Callable[..., Any]) -> tuple[ast.FunctionDef | ast.AsyncFunctionDef, str, int] | None:
    try:
        lines, first = inspect.getsourcelines(function)
        tree = ast.parse(textwrap.dedent("".join(lines))).body[0]
    except (OSError, TypeError, SyntaxError, IndexError):
        # Typed at a prompt, or out of a template: nothing to look at.
        return None
    if not isinstance(tree, ast.FunctionDef | ast.AsyncFunctionDef):
        return None
    return tree, Path(inspect.getsourcefile(function) or "?").name, first - 1


def _walk(tree: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[ast.AST]:
    """Defaults and body; not the decorators."""
    for part in (*tree.args.defaults, *tree.args.kw_defaults, *tree.body):
        if part is not None:
            yield from ast.walk(part)


def _handle_names(tree: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """Names that may stand for values of the run: parameters, and what is assigned from calls or from such names.

    A name that the body sets to None itself may be asked for None: that is known while the graph is drawn.
    """
    arguments = tree.args
    names = {argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}
    known: set[str] = set()
    for statement in ast.walk(tree):
        if not isinstance(statement, ast.Assign | ast.AnnAssign) or statement.value is None:
            continue
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        assigned = {part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)}
        if isinstance(statement.value, ast.Constant) and statement.value.value is None:
            known |= assigned
        elif any(isinstance(part, ast.Call) or (isinstance(part, ast.Name) and part.id in names) for part in ast.walk(statement.value)):
            names |= assigned
    return names - known


class _Checker:
    def __init__(self, pipeline: str, file: str, offset: int) -> None:
        self.pipeline = pipeline
        self.file = file
        self.offset = offset

    def look(self, node: ast.AST, handles: set[str]) -> None:
        match node:
            case ast.Compare(left=left, ops=[ast.Is() | ast.IsNot()], comparators=[right]):
                sides = [part.id for side in (left, right) for part in ast.walk(side) if isinstance(part, ast.Name)]
                if any(name in handles for name in sides):
                    self.fail(
                        node,
                        f"asks `{ast.unparse(node)}` while the graph is drawn, when no value exists yet: the answer is always the same",
                        "let the step take `X | None` and decide inside it; a skipped or missing input arrives there as None",
                    )
            case ast.Try(body=body) | ast.TryStar(body=body) if any(isinstance(part, ast.Call) for item in body for part in ast.walk(item)):
                self.fail(
                    node,
                    "has `try`/`except` around calls, which only draw the graph: a step fails later, in its run",
                    "use step.options(allow_failure=True) and a parameter `X | None`, or retries=, or on_failure=",
                )
            case ast.Call(func=func):
                self._call(node, ast.unparse(func))
            case ast.Yield() | ast.YieldFrom() | ast.Await():
                self.fail(node, "yields or awaits, but its body only draws the graph", "call the steps and return their results")
            case _:
                pass

    def _call(self, node: ast.Call, called: str) -> None:
        if called in _CLOCKS:
            self.fail(
                node,
                f"calls {called}() while the graph is drawn: the time would be that of drawing, not of the run",
                "make it a parameter (`day: date`), or read the clock in a step with cache=False",
            )
        if called in _CHANCE:
            self.fail(
                node,
                f"calls {called}() while the graph is drawn: every drawing would be another pipeline, and nothing could be reused",
                "make it a parameter, or draw it in a step",
            )

    def fail(self, node: ast.AST, what: str, mend: str) -> NoReturn:
        line = getattr(node, "lineno", 1) + self.offset
        raise GraphError(f"{self.file}:{line}: the pipeline {self.pipeline!r} {what}. Instead: {mend}")
