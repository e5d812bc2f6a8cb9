"""The cache key: whatever user code can observe changes it, and nothing else does."""

from typing import Any

import pytest

from penstock.contracts.artifacts import inline
from penstock.contracts.bindings import Literal_
from penstock.contracts.cache_key import cache_key, input_digests, static_components, static_digest
from penstock.contracts.spec import (
    CommandArgument,
    CommandTarget,
    FunctionTarget,
    Identity,
    OutputSpec,
    ResourcesSpec,
    RetrySpec,
    SecretRef,
    StepSpec,
)

STEP = StepSpec(
    name="train",
    run=FunctionTarget(module="retrain", function="train"),
    types={"depth": "int"},
    outputs=(OutputSpec(type="Model"),),
    code=Identity(digest="sha256:code"),
    environment=Identity(digest="sha256:environment"),
    files={"a.sql": "sha256:a"},
    env_vars={"REGION": "eu", "TOKEN": SecretRef(secret="hub")},
)
COMMAND = STEP.model_copy(update={"run": CommandTarget(command=(CommandArgument(text="train"),))})


@pytest.mark.parametrize(
    ("component", "change"),
    [
        ("code", {"code": Identity(digest="sha256:other")}),
        ("environment", {"environment": Identity(digest="sha256:other")}),
        ("types", {"types": {"depth": "float"}}),
        ("types", {"outputs": (OutputSpec(type="Other"),)}),
        ("types", {"outputs": (OutputSpec(type="Model", kind="file"),)}),
        ("types", {"outputs": (OutputSpec(type="Model", path="out"),)}),
        ("file a.sql", {"files": {"a.sql": "sha256:b"}}),
        ("file b.sql", {"files": {"a.sql": "sha256:a", "b.sql": "sha256:b"}}),
        ("variable REGION", {"env_vars": {"REGION": "us", "TOKEN": SecretRef(secret="hub")}}),
        ("variable TOKEN", {"env_vars": {"REGION": "eu", "TOKEN": SecretRef(secret="hub", key="k")}}),
        ("variable TOKEN", {"env_vars": {"REGION": "eu", "TOKEN": SecretRef(secret="other")}}),
        ("variable TOKEN", {"env_vars": {"REGION": "eu", "TOKEN": "secret hub/"}}),
        ("version", {"version": "2"}),
        ("command", {"run": COMMAND.run}),
    ],
)
def test_each_component_changes_the_key_and_is_named(component: str, change: dict[str, Any]) -> None:
    changed = STEP.model_copy(update=change)

    before, after = static_components(STEP), static_components(changed)
    assert {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)} == {component}
    assert static_digest(changed) != static_digest(STEP)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"run": FunctionTarget(module="elsewhere", function="renamed")},
        {"inputs": {"depth": Literal_(value=inline(1))}},
        {"pool": "gpu"},
        {"resources": ResourcesSpec(cpu=8)},
        {"retries": RetrySpec(limit=9)},
        {"timeout_seconds": 5.0},
        {"cache_seconds": 5.0},
        {"pass_env": ("HOME",)},
        {"isolation": "spawn"},
        {"allow_failure": True},
        {"after": ("split",)},
        {"scope": ("each",)},
        {"doc": "text"},
        {"code": Identity(digest="sha256:code", notes=("widened",))},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_user_code_cannot_observe_does_not_change_the_key(change: dict[str, Any]) -> None:
    assert static_digest(STEP.model_copy(update=change)) == static_digest(STEP)


@pytest.mark.parametrize(
    "command",
    [(), (CommandArgument(text="test"),), (CommandArgument(input="train"),), (CommandArgument(output="train"),)],
)
def test_every_argument_of_a_command_counts(command: tuple[CommandArgument, ...]) -> None:
    changed = COMMAND.model_copy(update={"run": CommandTarget(command=command)})

    assert static_digest(changed) != static_digest(COMMAND)


def test_the_value_of_every_input_counts_under_its_name() -> None:
    static = static_digest(STEP)
    keys = {
        cache_key(static, input_digests(inputs))
        for inputs in ({}, {"a": inline(1)}, {"a": inline(2)}, {"b": inline(1)}, {"a": inline(1), "b": inline(1)}, {"a": inline("1")})
    }

    assert len(keys) == 6


def test_the_order_of_inputs_does_not_count() -> None:
    static = static_digest(STEP)

    assert cache_key(static, {"a": "x", "b": "y"}) == cache_key(static, {"b": "y", "a": "x"})


def test_the_key_stays_the_same_from_release_to_release() -> None:
    assert (
        cache_key(static_digest(STEP), input_digests({"depth": inline(3)}))
        == "f1d3fed0a2c6b2bb8ef18b4a62b246109f7241ba2a708406917b093be8196c63"
    )
