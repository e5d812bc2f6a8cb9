"""Texts of a command line become values of the declared types, or errors that name the parameter."""

import json
from pathlib import Path
from typing import Any

import pytest

from penstock.contracts.artifacts import INLINE_LIMIT, ArtifactRef, inline
from penstock.contracts.errors import InvalidInput
from penstock.contracts.spec import ParameterSpec, PipelineSpec
from penstock.deploy.cli.parameters import given_in_file, given_on_command_line, values_for
from tests.deploy.fakes import FakeEngine

CONFIG: dict[str, Any] = {
    "type": "object",
    "properties": {"lr": {"type": "number"}, "depth": {"type": "integer"}},
    "additionalProperties": False,
}


def read(parameter: ParameterSpec, *texts: str, folder: Path, engine: FakeEngine) -> Any:
    given = given_on_command_line([f"{parameter.name}{text}" for text in texts], folder)
    value = values_for(PipelineSpec(name="p", parameters=(parameter,)), given, engine)[parameter.name]
    assert isinstance(value, ArtifactRef)
    return value.json_value() if value.is_inline else json.loads(engine.local(value).read_bytes())


def json_parameter(schema: dict[str, Any] | None, **fields: Any) -> ParameterSpec:
    return ParameterSpec(name="x", type="X", schema=schema, **fields)


Case = tuple[dict[str, Any] | None, tuple[str, ...], Any]
CASES: list[Case] = [
    ({"type": "integer"}, ("=3",), 3),
    ({"type": "boolean"}, ("=true",), True),
    ({"type": "string"}, ("=2026-01-01",), "2026-01-01"),
    ({"type": "string"}, ("=3",), "3"),
    ({"enum": ["fast", "slow"]}, ("=fast",), "fast"),
    ({"anyOf": [{"type": "string"}, {"type": "null"}]}, ("=null",), None),
    ({"type": "array", "items": {"type": "integer"}}, ("=3",), [3]),
    ({"type": "array", "items": {"type": "integer"}}, ("=3", "=5"), [3, 5]),
    ({"type": "array", "items": {"type": "string"}}, ("=3", "=a"), ["3", "a"]),
    (CONFIG, (".lr=0.1", ".depth=3"), {"lr": 0.1, "depth": 3}),
    (CONFIG, ('={"lr": 1}', ".depth=3"), {"lr": 1, "depth": 3}),
    (None, ("=[1, {}]",), [1, {}]),
]


@pytest.mark.parametrize(("schema", "texts", "value"), CASES)
def test_a_value_is_what_its_schema_wants(schema: dict[str, Any] | None, texts: tuple[str, ...], value: Any, engine: FakeEngine) -> None:
    assert read(json_parameter(schema), *texts, folder=Path(), engine=engine) == value


def test_fields_change_the_default(engine: FakeEngine) -> None:
    parameter = json_parameter(CONFIG, required=False, default=inline({"lr": 0.5, "depth": 1}))

    assert read(parameter, ".depth=9", folder=Path(), engine=engine) == {"lr": 0.5, "depth": 9}


def test_a_value_can_be_in_a_file(tmp_path: Path, engine: FakeEngine) -> None:
    (tmp_path / "config.json").write_text('{"lr": 2}')

    assert read(json_parameter(CONFIG), "=@config.json", folder=tmp_path, engine=engine) == {"lr": 2}


def test_two_at_signs_are_one_of_the_text(tmp_path: Path, engine: FakeEngine) -> None:
    parameter = ParameterSpec(name="x", type="str", read="text")

    assert read(parameter, "=@@team", folder=tmp_path, engine=engine) == "@team"


def test_a_large_value_goes_to_the_artifact_store(engine: FakeEngine) -> None:
    numbers = list(range(INLINE_LIMIT))

    assert read(json_parameter(None), f"={json.dumps(numbers)}", folder=Path(), engine=engine) == numbers


@pytest.mark.parametrize(
    ("parameter", "texts", "said"),
    [
        (json_parameter({"type": "integer"}), ("=1.5",), "'x' wants X; 1.5 does not fit"),
        (json_parameter(CONFIG), (".rate=1",), "Additional properties are not allowed"),
        (json_parameter(CONFIG), ("=@nothing.json",), "can't read nothing.json"),
        (json_parameter(CONFIG), (".lr=1", ".lr.inner=2"), "'lr' has no fields"),
        (ParameterSpec(name="x", type="str", read="text"), ("=a", "=b"), "takes one value; 2 were given"),
        (ParameterSpec(name="x", type="str", read="text"), (".a=b",), "has no fields"),
        (ParameterSpec(name="x", type="DataFrame", read="object"), ("=a",), "only Python code can give it"),
        (ParameterSpec(name="x", type="Directory", read="directory"), (f"={__file__}",), "wants a directory"),
        (ParameterSpec(name="x", type="File", read="file"), (f"={Path(__file__).parent}",), "is a folder"),
    ],
)
def test_an_unfit_value_is_refused_by_name(parameter: ParameterSpec, texts: tuple[str, ...], said: str, engine: FakeEngine) -> None:
    with pytest.raises(InvalidInput, match=said.replace("(", r"\(")):
        read(parameter, *texts, folder=Path(), engine=engine)


@pytest.mark.parametrize("content", ["- 1\n", "a: [\n", "\x00"])
def test_a_parameter_file_that_is_no_map_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(content)

    with pytest.raises(InvalidInput, match=r"--params .*p\.yaml"):
        given_in_file(file)
