"""Durations, sizes and the other options as people write them."""

from datetime import timedelta

import pytest

from penstock.contracts.errors import GraphError, InvalidInput
from penstock.contracts.spec import RetrySpec, SecretRef, StepSpec
from penstock.sdk import Resources, Retry, Secret, pipeline
from penstock.sdk.options import Duration, StepOptions, memory_bytes, seconds
from tests.sdk.graph_steps import make


@pytest.mark.parametrize(
    ("duration", "expected"),
    [("10m", 600), ("6h", 21600), ("1d", 86400), ("1h30m", 5400), ("250ms", 0.25), ("1.5 h", 5400), (90, 90), (timedelta(minutes=2), 120)],
)
def test_a_duration_is_read(duration: Duration, expected: float) -> None:
    assert seconds(duration) == expected


@pytest.mark.parametrize("duration", ["", "soon", "10", "10 minutes please", "-5s", "1..5h", 0, -1])
def test_a_wrong_duration_is_refused(duration: Duration) -> None:
    with pytest.raises(InvalidInput, match=r"unit|above zero|not a number"):
        seconds(duration)


@pytest.mark.parametrize(("size", "expected"), [("32GiB", 32 * 2**30), ("500MB", 500_000_000), ("1.5 KiB", 1536), (7, 7)])
def test_a_memory_size_is_read(size: int | str, expected: int) -> None:
    assert memory_bytes(size) == expected


@pytest.mark.parametrize("size", ["much", "32", "1.2.3GB", "4 XB"])
def test_a_wrong_memory_size_is_refused(size: str) -> None:
    with pytest.raises(InvalidInput, match=r"32GiB|not a number"):
        memory_bytes(size)


def test_every_option_reaches_the_spec() -> None:
    spec = spec_of(
        {
            "pool": "gpu",
            "resources": Resources(cpu=2, memory="1GiB", gpu=1),
            "env_vars": {"REGION": "eu", "TOKEN": Secret("hf", key="token")},
            "pass_env": ["HOME"],
            "cache": "1d",
            "version": 3,
            "retries": Retry(limit=4, delay="2s", on=("timeout",)),
            "timeout": "10m",
            "isolation": "spawn",
            "idempotent": False,
            "allow_failure": True,
        }
    )

    assert (spec.pool, spec.isolation, spec.idempotent, spec.allow_failure) == ("gpu", "spawn", False, True)
    assert (spec.resources.cpu, spec.resources.memory_bytes, spec.resources.gpu) == (2, 2**30, 1)
    assert spec.env_vars == {"REGION": "eu", "TOKEN": SecretRef(secret="hf", key="token")}  # a name
    assert spec.pass_env == ("HOME",)
    assert (spec.cache, spec.cache_seconds, spec.version, spec.timeout_seconds) == (True, 86400, "3", 600)
    assert spec.retries == RetrySpec(limit=4, delay_seconds=2, on=("timeout",))


def test_a_number_of_retries_is_a_policy() -> None:
    assert spec_of({"retries": 2}).retries == RetrySpec(limit=2)


def test_retries_below_zero_are_refused() -> None:
    with pytest.raises(GraphError, match="below zero"):
        spec_of({"retries": -1})


def test_the_defaults_of_a_pipeline_yield_to_a_steps_own_options() -> None:
    own = make.options(pool="gpu")

    @pipeline(defaults={"pool": "cpu-large", "retries": 1})
    def flow(n: int) -> int:
        return own(make(n))

    first, second = flow.draw()[1].steps
    assert (first.pool, first.retries.limit) == ("cpu-large", 1)
    assert (second.pool, second.retries.limit) == ("gpu", 1)


def spec_of(options: StepOptions) -> StepSpec:
    configured = make.options(**options)

    @pipeline
    def flow(n: int) -> None:
        configured(n)

    (spec,) = flow.draw()[1].steps
    return spec
