"""The encoding of syntax trees: what changes it, what does not, and that it is the same on every Python version."""

import ast
import inspect
import subprocess
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.sdk.identity import syntax_encoding
from penstock.sdk.identity.syntax_encoding import syntax_digest
from tests.sdk.interpreters import SUPPORTED, interpreter

CORPUS = Path(__file__).with_name("every_syntax.txt")
GOLDEN = "sha256:0d54b61b74e7cf3c9df4f2eee7f0cdeaf39c155854790838049421a9de1aa010"

_ABSTRACT = {"mod", "stmt", "expr", "expr_context", "boolop", "operator", "unaryop", "cmpop", "excepthandler", "pattern"}
_SETTING_ASIDE = {"AST", "type_ignore", "TypeIgnore", "Interactive", "Expression", "FunctionType", "slice"}
_OF_OLD = {"Num", "Str", "Bytes", "NameConstant", "Ellipsis", "Index", "ExtSlice", "Suite", "AugLoad", "AugStore", "Param"}


def digest(source: str) -> str:
    return syntax_digest(ast.parse(textwrap.dedent(source)))


def node_types() -> set[str]:
    found = {kind.__name__ for _, kind in inspect.getmembers(ast, inspect.isclass) if issubclass(kind, ast.AST)}
    # What came after 3.11 can't stand in a corpus that 3.11 reads.
    newer = {"type_param", "TypeVar", "ParamSpec", "TypeVarTuple", "TypeAlias", "TemplateStr", "Interpolation"}
    return found - _ABSTRACT - _SETTING_ASIDE - _OF_OLD - newer


def test_the_corpus_has_every_node_of_the_oldest_python() -> None:
    tree = ast.parse(CORPUS.read_text())

    assert node_types() - {type(node).__name__ for node in ast.walk(tree)} == set()


def test_the_corpus_has_the_digest_that_it_always_had() -> None:
    assert syntax_digest(ast.parse(CORPUS.read_text())) == GOLDEN


@pytest.mark.parametrize("version", SUPPORTED)
def test_every_python_version_gives_the_same_digest(version: str) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"NOT CHECKED: there is no Python {version} on this machine")
    program = (
        "import ast, importlib.util, sys\n"
        "spec = importlib.util.spec_from_file_location('encoding', sys.argv[1])\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "print(module.syntax_digest(ast.parse(open(sys.argv[2], encoding='utf-8').read())))\n"
    )

    command = [str(python), "-I", "-c", program, syntax_encoding.__file__, str(CORPUS)]
    told = subprocess.run(command, capture_output=True, text=True, check=True)

    assert told.stdout.strip() == GOLDEN


def test_reformatting_keeps_the_digest() -> None:
    source = CORPUS.read_text()

    assert digest(ast.unparse(ast.parse(source))) == digest(source)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("def f(a): return a", "def f(a):\n    # why\n    return (a)\n"),
        ("def f(a): return a", 'def f(a):\n    """What."""\n    return a\n'),
        ("class A:\n    x = 1", 'class A:\n    """What."""\n    x = 1'),
        ('def f():\n    """What."""', "def f(): pass"),
        ("x = 'a'", 'x = "a"'),
        ("x = 0x10", "x = 16"),
        ("x = u'a'", "x = 'a'"),
        ("x = 'a' 'b'", "x = 'ab'"),
        ("x = f'a{b}' 'c'", "x = f'a{b}c'"),
        ("f(1, 2)", "f(\n    1,\n    2,\n)"),
    ],
)
def test_spelling_is_not_code(one: str, other: str) -> None:
    assert digest(one) == digest(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = 1", "x = 2"),
        ("x = 1", "x = 1.0"),
        ("x = 1", "x = True"),
        ("x = 0.0", "x = 0j"),
        ("x = 'a'", "x = b'a'"),
        ("x = None", "x = ..."),
        ("x = 'None'", "x = None"),
        ("x = '\u00e9'", "x = 'e\u0301'"),
        ("f(a, b)", "f(b, a)"),
        ("f(a=b)", "f(b=b)"),
        ("f(*a)", "f(a)"),
        ("x = [[], [1]]", "x = [[1], []]"),
        ("x = a[b:]", "x = a[:b]"),
        ("x = f'{a}'", "x = f'{a!r}'"),
        ("x = f'{a}b'", "x = f'{a:b}'"),
        ("x = {**a}", "x = {None: a}"),
        ("def f(a, /): pass", "def f(a): pass"),
        ("def f(a, *, b=1): pass", "def f(a, b=1): pass"),
        ("def f(*, a, b=1): pass", "def f(*, a=1, b): pass"),
        ("def f(): pass", "async def f(): pass"),
        ("from a import b", "from .a import b"),
        ("try: a\nexcept* B: c", "try: a\nexcept B: c"),
        ("a if b else c", "c if b else a"),
        ("a < b < c", "a < b and b < c"),
        ("def f():\n    x = 1\n    'no docstring'", "def f():\n    x = 1"),
        ("match x:\n    case None: pass", "match x:\n    case True: pass"),
    ],
)
def test_meaning_is_code(one: str, other: str) -> None:
    assert digest(one) != digest(other)


Constant = bool | int | float | str | bytes | None
_CONSTANTS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()


@given(_CONSTANTS, _CONSTANTS)
def test_two_constants_have_one_digest_only_if_they_are_the_same(one: Constant, other: Constant) -> None:
    same = type(one) is type(other) and repr(one) == repr(other)

    trees = [ast.Constant(value=value) for value in (one, other)]

    assert (syntax_digest(trees[0]) == syntax_digest(trees[1])) is same


_NAMES = st.sampled_from(["a", "b", "cee"])
_EXPRESSIONS = st.recursive(
    _NAMES | st.integers(0, 9).map(str) | st.sampled_from(["'t'", "None", "f'{a}'"]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "*", "and", "or", "<", "in", "**"]), inner).map(lambda p: f"({p[0]} {p[1]} {p[2]})"),
        st.tuples(_NAMES, inner).map(lambda p: f"{p[0]}({p[1]}, k={p[1]})"),
        st.lists(inner, max_size=3).map(lambda p: f"[{', '.join(p)}]"),
        st.tuples(inner, inner, inner).map(lambda p: f"({p[0]} if {p[1]} else {p[2]})"),
        inner.map(lambda p: f"(lambda a: {p})"),
    ),
    max_leaves=12,
)


@given(_EXPRESSIONS, _EXPRESSIONS)
def test_two_expressions_have_one_digest_only_if_their_trees_are_the_same(one: str, other: str) -> None:
    same = ast.dump(ast.parse(one)) == ast.dump(ast.parse(other))

    assert (digest(one) == digest(other)) is same


@given(_EXPRESSIONS)
def test_any_expression_keeps_its_digest_when_it_is_written_anew(source: str) -> None:
    assert digest(ast.unparse(ast.parse(source))) == digest(source)
