"""Publishing: versions that never change, the one that is meant where nobody says, aliases, and what may still be run."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import pytest
from sqlalchemy import Connection

from penstock.contracts.artifacts import DIRECTORY, ArtifactRef
from penstock.contracts.encoding import digest_bytes
from penstock.contracts.errors import InvalidInput
from penstock.contracts.pools import decode_pool
from penstock.contracts.publishing import PublishComponentRequest, PublishRequest, VersionView
from penstock.contracts.spec import ParameterSpec, PipelineSpec, encode_spec, spec_digest
from penstock.contracts.triggers import CronSource, OnEventSource, TriggerSpec
from penstock.engine.events.triggers import live_triggers
from penstock.engine.housekeeping import roots
from penstock.engine.pools import apply_pool
from penstock.engine.published.publishing import (
    publish,
    publish_component,
    remove_alias,
    resolve,
    set_alias,
    set_default,
    set_state,
    tags_of_run,
)
from penstock.engine.published.versions import NotPublished, Shelf, published_views, spec_bytes, version_views
from penstock.engine.store import Store
from penstock.engine.stores.postgres import PostgresStore
from penstock.engine.stores.sqlite import MemoryStore
from tests.engine.small_pipelines import pipeline, step

T = TypeVar("T")
SMALL = Shelf("default", "pipeline", "small")
FIRST = pipeline(step("a"))
SECOND = pipeline(step("a"), step("b", "a"))
THIRD = pipeline(step("c"))


@pytest.fixture(params=["memory", "postgres"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    made: Store = PostgresStore(request.getfixturevalue("database")) if request.param == "postgres" else MemoryStore()
    yield made
    await made.close()


def plain(spec: PipelineSpec) -> dict[str, Any]:
    return spec.model_dump(mode="json", exclude_defaults=True) | {"spec": spec.spec}


async def published(store: Store, spec: PipelineSpec, version: str | None = None, **fields: Any) -> VersionView:
    asked = PublishRequest(spec=plain(spec), version=version, **fields)
    return await store.transaction(lambda connection: publish(connection, "default", asked, "ada", 1_000))


async def resolved(store: Store, reference: str) -> str:
    return (await store.read(lambda connection: resolve(connection, "default", reference))).reference


async def do(store: Store, function: Callable[[Connection], T]) -> T:
    return await store.transaction(function)


async def test_a_version_is_named_by_its_publisher_or_gets_the_next_number(store: Store) -> None:
    assert (await published(store, FIRST)).version == "1"
    assert (await published(store, SECOND, "7")).version == "7"
    assert (await published(store, FIRST, "2026-11-a")).version == "2026-11-a"
    third = await published(store, THIRD)
    assert (third.version, third.published_by, third.is_default) == ("8", "ada", True)
    assert third.spec_digest == spec_digest(THIRD)
    kept = await store.read(lambda connection: spec_bytes(connection, "default", third.spec_digest))
    assert kept == encode_spec(THIRD)


async def test_the_same_again_is_the_same_version_and_another_spec_under_it_is_refused(store: Store) -> None:
    first = await published(store, FIRST, "1")
    second = await published(store, SECOND, "2")
    assert await published(store, FIRST, "1") == first.model_copy(update={"is_default": False})
    assert await resolved(store, "small") == second.name + "@2"
    with pytest.raises(InvalidInput, match="small@1 is published already, with another spec, and versions never change"):
        await published(store, SECOND, "1")
    with pytest.raises(InvalidInput, match="with other triggers"):
        await published(store, SECOND, "2", triggers=(nightly(),))


async def test_what_equals_the_newest_version_is_no_new_one(store: Store) -> None:
    await published(store, FIRST)
    assert (await published(store, FIRST)).version == "1"
    assert (await published(store, SECOND)).version == "2"
    assert (await published(store, FIRST)).version == "3"


async def test_a_reference_names_the_default_a_version_or_an_alias(store: Store) -> None:
    await published(store, FIRST)
    await published(store, SECOND, makes_default=False)
    assert await resolved(store, "small") == "small@1"
    assert await resolved(store, "small@2") == "small@2"
    await do(store, lambda connection: set_alias(connection, SMALL, "staging", "2", 5))
    assert await resolved(store, "small@staging") == "small@2"
    moved = await do(store, lambda connection: set_alias(connection, SMALL, "staging", "1", 6))
    assert moved.aliases == ("staging",)
    assert await resolved(store, "small@staging") == "small@1"
    assert (await do(store, lambda connection: set_default(connection, SMALL, "2", "ada", 7))).is_default
    assert await resolved(store, "small") == "small@2"
    await do(store, lambda connection: remove_alias(connection, SMALL, "staging", 8))
    with pytest.raises(NotPublished, match=r"no version or alias 'staging' \(it has 2, 1\)"):
        await resolved(store, "small@staging")


async def test_what_is_not_there_is_refused_with_the_nearest(store: Store) -> None:
    await published(store, FIRST, makes_default=False)
    with pytest.raises(NotPublished, match="no pipeline 'smal' is published; did you mean 'small'"):
        await resolved(store, "smal")
    with pytest.raises(NotPublished, match="no default version"):
        await resolved(store, "small")


async def test_an_alias_never_hides_a_version(store: Store) -> None:
    await published(store, FIRST, "blue")
    await do(store, lambda connection: set_alias(connection, SMALL, "live", "blue", 5))
    with pytest.raises(InvalidInput, match="is a number"):
        await do(store, lambda connection: set_alias(connection, SMALL, "2", "blue", 5))
    with pytest.raises(InvalidInput, match="is a version"):
        await do(store, lambda connection: set_alias(connection, SMALL, "blue", "blue", 5))
    with pytest.raises(InvalidInput, match="'live' is an alias"):
        await published(store, SECOND, "live")


async def test_a_deprecated_version_warns_and_a_disabled_one_makes_no_runs(store: Store) -> None:
    await published(store, FIRST)
    await do(store, lambda connection: set_state(connection, SMALL, "1", "deprecated", 5, "the raw data moved"))
    found = await store.read(lambda connection: resolve(connection, "default", "small"))
    assert tags_of_run(found) == {"version": "1", "warning": "small@1 is deprecated: the raw data moved"}
    view = await do(store, lambda connection: set_state(connection, SMALL, "1", "disabled", 6))
    assert (view.state, view.note) == ("disabled", "the raw data moved")
    found = await store.read(lambda connection: resolve(connection, "default", "small"))
    with pytest.raises(InvalidInput, match="small@1 is disabled, so it makes no new runs: the raw data moved"):
        tags_of_run(found)
    await published(store, SECOND)
    with pytest.raises(InvalidInput, match="can't be the default; activate it first"):
        await do(store, lambda connection: set_default(connection, SMALL, "1", "ada", 7))
    await do(store, lambda connection: set_state(connection, SMALL, "1", "active", 8))
    assert tags_of_run(await store.read(lambda connection: resolve(connection, "default", "small@1"))) == {"version": "1"}


async def test_what_a_version_uses_is_never_collected(store: Store) -> None:
    digest = digest_bytes(b"a snapshot")
    snapshot = ArtifactRef(uri=f"cas:{digest}", digest=digest, size=10, kind="directory", media_type=DIRECTORY)
    await published(store, pipeline(step("a"), snapshot=snapshot))
    assert digest in await store.read(lambda connection: roots(connection, "default", 2**62))


async def test_a_pool_that_is_not_there_is_refused_at_publish(store: Store) -> None:
    definition = decode_pool({"name": "cpu", "slots_per_runner": 1})
    await do(store, lambda connection: apply_pool(connection, "default", definition, 5))
    with pytest.raises(InvalidInput, match="gpu"):
        await published(store, pipeline(step("a", pool="gpu")))
    assert await store.read(lambda connection: published_views(connection, "default", "pipeline", "", 10)) == []


async def test_components_are_published_beside_pipelines(store: Store) -> None:
    one = PublishComponentRequest(kind="step", spec=plain(FIRST))
    view = await do(store, lambda connection: publish_component(connection, "default", one, "ada", 5))
    assert (view.kind, view.version) == ("step", "1")
    with pytest.raises(NotPublished, match="no pipeline"):
        await resolved(store, "small")
    with pytest.raises(InvalidInput, match="is one step, not 2 nodes"):
        await do(store, lambda c: publish_component(c, "default", PublishComponentRequest(kind="step", spec=plain(SECOND)), "ada", 5))
    other = PublishComponentRequest(kind="pipeline", spec=plain(SECOND))
    with pytest.raises(InvalidInput, match="the component small is a step, in all its versions"):
        await do(store, lambda connection: publish_component(connection, "default", other, "ada", 5))


async def test_workspaces_see_their_own_only(store: Store) -> None:
    await published(store, FIRST)
    with pytest.raises(NotPublished, match=r"no pipeline 'small' is published$"):
        await store.read(lambda connection: resolve(connection, "other", "small"))


async def test_versions_are_listed_from_the_newest_page_by_page(store: Store) -> None:
    for number in range(5):
        await published(store, pipeline(step(f"s{number}")))
    first = await store.read(lambda connection: version_views(connection, SMALL, None, 3))
    rest = await store.read(lambda connection: version_views(connection, SMALL, first[-1].published_at, 3))
    assert [view.version for view in (*first, *rest)] == ["5", "4", "3", "2", "1"]


def test_publishers_at_the_same_time_get_a_version_each(database: str) -> None:
    async def both() -> list[VersionView]:
        stores = [PostgresStore(database) for _ in range(2)]
        specs = [pipeline(step(f"s{number}")) for number in range(10)]
        views = await asyncio.gather(*(published(stores[number % 2], spec) for number, spec in enumerate(specs)))
        for store in stores:
            await store.close()
        return views

    assert sorted(int(view.version) for view in asyncio.run(both())) == list(range(1, 11))


def nightly(**fields: Any) -> TriggerSpec:
    return TriggerSpec.model_validate({"name": "small", "pipeline": "small", "on": {"kind": "cron", "schedule": "0 3 * * *"}, **fields})


async def test_a_trigger_of_another_pipeline_or_of_the_same_name_is_refused(store: Store) -> None:
    with pytest.raises(InvalidInput, match=r"triggers\[0\].pipeline: small starts 'other'"):
        await published(store, FIRST, triggers=(nightly(pipeline="other"),))
    with pytest.raises(InvalidInput, match=r"triggers\[1\].name: two triggers are named 'small'"):
        await published(store, FIRST, triggers=(nightly(), nightly(on=OnEventSource(type="x"))))


async def test_a_trigger_that_does_not_fit_is_refused_with_its_place(store: Store) -> None:
    rows = PipelineSpec(name="small", parameters=(ParameterSpec(name="rows", type="int"),))
    with pytest.raises(InvalidInput, match=r"triggers\[0\]: trigger 'small': small has no parameter 'row'; did you mean 'rows'"):
        await published(store, rows, triggers=(nightly(parameters={"row": "1"}),))
    with pytest.raises(InvalidInput, match="small needs a value for rows"):
        await published(store, rows, triggers=(nightly(),))
    with pytest.raises(NotPublished):
        await resolved(store, "small")


async def test_a_new_default_takes_the_triggers_over_in_its_transaction(store: Store) -> None:
    async def live() -> dict[str, tuple[str | None, str]]:
        found = await store.read(lambda connection: live_triggers(connection, "default"))
        return {trigger.name: (trigger.from_version, trigger.state) for trigger in found}

    await published(store, FIRST, triggers=(nightly(), nightly(name="daily")), trigger_state="on")
    assert await live() == {"small": ("1", "on"), "daily": ("1", "on")}
    await published(store, SECOND, triggers=(nightly(on=CronSource(schedule="0 5 * * *")),), makes_default=False)
    assert await live() == {"small": ("1", "on"), "daily": ("1", "on")}
    await do(store, lambda connection: set_default(connection, SMALL, "2", "ada", 2_000))
    assert await live() == {"small": ("2", "on"), "daily": ("1", "inert")}
    await do(store, lambda connection: set_default(connection, SMALL, "1", "ada", 3_000))
    assert await live() == {"small": ("1", "on"), "daily": ("1", "on")}


async def test_a_default_whose_trigger_can_not_be_had_changes_nothing(store: Store) -> None:
    await published(store, FIRST, triggers=(nightly(),))
    other = FIRST.model_copy(update={"name": "other"})
    with pytest.raises(InvalidInput, match="'small' is taken by a trigger of small"):
        await published(store, other, triggers=(nightly(pipeline="other"),))
    with pytest.raises(NotPublished):
        await resolved(store, "other")
