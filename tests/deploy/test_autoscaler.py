"""The autoscaler on a host and a fleet of the test's own: what it starts, drains, adopts, and what it does when something fails."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from typing_extensions import override

from penstock.contracts.errors import EngineUnavailable, InvalidInput
from penstock.contracts.fleet_views import PoolView, RunnerView
from penstock.contracts.pools import PoolSpec, SlotSpec
from penstock.deploy.autoscaler.autoscaler import Autoscaler, Pace, PoolStatus
from penstock.deploy.autoscaler.definitions import Definitions, PoolSource
from penstock.deploy.autoscaler.fleet_source import FleetSource, FleetView
from penstock.deploy.autoscaler.gpu_choice import gpus_for, runner_arguments
from penstock.deploy.autoscaler.hosts import HostedRunner, RunnerHost, RunnerNotStarted
from penstock.deploy.autoscaler.service import runner_environment
from penstock.deploy.service_settings import ServiceSettings

POOL = PoolSpec(name="cpu", slots_per_runner=2, max_runners=3, idle_seconds=60, image="penstock/runner")


@dataclass
class FakeHost(RunnerHost):
    refuses: str = ""
    there: dict[str, HostedRunner] = field(default_factory=dict[str, HostedRunner])
    drained: list[str] = field(default_factory=list[str])
    tried: int = 0

    @override
    async def runners(self) -> Sequence[HostedRunner]:
        return list(self.there.values())

    @override
    async def start(self, pool: PoolSpec, name: str) -> None:
        self.tried += 1
        if self.refuses:
            raise RunnerNotStarted(self.refuses)
        self.there[name] = HostedRunner(name=name, pool=pool.name)

    @override
    async def drain(self, name: str) -> None:
        self.drained.append(name)

    @override
    async def remove(self, name: str) -> None:
        assert self.there.pop(name).exit_code is not None

    @override
    async def close(self) -> None:
        return

    def ends(self, name: str, exit_code: int, words: str = "") -> None:
        self.there[name] = replace(self.there[name], exit_code=exit_code, last_words=words)


@dataclass
class FakeFleet(FleetSource):
    waiting: int = 0
    executing: int = 0
    heard: dict[str, RunnerView] = field(default_factory=dict[str, RunnerView])
    is_away: bool = False

    @override
    async def look(self) -> FleetView:
        if self.is_away:
            raise EngineUnavailable("the services can't be reached")
        return FleetView(
            pools={"cpu": PoolView(name="cpu", waiting_slots=self.waiting, executing_slots=self.executing)}, runners=self.heard
        )


@dataclass
class Scene:
    host: FakeHost = field(default_factory=FakeHost)
    fleet: FakeFleet = field(default_factory=FakeFleet)
    pools: list[PoolSpec] = field(default_factory=lambda: [POOL])
    seconds: float = 0.0
    shown: dict[str, PoolStatus] = field(default_factory=dict[str, PoolStatus])
    autoscaler: Autoscaler = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self.autoscaler = Autoscaler(
            self.host, self.fleet, lambda _: self.pools, pace=Pace(look=0.01), show=self.shown.__setitem__, now=lambda: self.seconds
        )

    async def look(self, after: float = 5.0) -> None:
        self.seconds += after
        await self.autoscaler.look()
        await self.autoscaler.settled()

    def all_are_heard(self, attempts: int = 0) -> None:
        self.fleet.heard = {name: RunnerView(name=name, attempts=attempts) for name in self.host.there}

    @property
    def names(self) -> list[str]:
        return list(self.host.there)


@pytest.fixture
def scene() -> Scene:
    return Scene()


async def test_runners_come_with_demand_and_go_when_it_has_ended(scene: Scene) -> None:
    scene.fleet.waiting = 5
    await scene.look()
    await scene.look()
    assert len(scene.names) == 3

    scene.fleet.waiting = 0
    scene.all_are_heard()
    await scene.look(59)
    assert scene.host.drained == []
    await scene.look(60)
    assert set(scene.host.drained) == set(scene.names)
    for name in scene.names:
        scene.host.ends(name, 0)
    await scene.look()
    assert scene.names == []
    assert scene.shown["cpu"].runners == 0


async def test_a_runner_that_works_is_not_drained_until_it_is_heard_to_be_idle(scene: Scene) -> None:
    scene.fleet.executing = 2
    await scene.look()
    scene.all_are_heard(attempts=2)
    scene.fleet.executing = 0
    await scene.look()
    await scene.look(120)
    assert scene.host.drained == []

    scene.all_are_heard()
    await scene.look()
    assert scene.host.drained == scene.names


async def test_runners_that_nobody_hears_for_a_moment_are_not_taken_for_idle(scene: Scene) -> None:
    scene.fleet.waiting = 2
    await scene.look()
    scene.all_are_heard(attempts=1)
    scene.fleet.waiting = 0
    for _ in range(3):
        await scene.look(50)
    scene.fleet.heard = {}
    await scene.look(50)

    assert scene.host.drained == []


async def test_one_that_was_never_heard_may_end_when_it_is_not_needed(scene: Scene) -> None:
    scene.fleet.waiting = 1
    await scene.look()
    scene.fleet.waiting = 0
    await scene.look(59)
    await scene.look(62)

    assert scene.host.drained == scene.names


async def test_started_anew_it_adopts_its_runners(scene: Scene) -> None:
    scene.fleet.waiting = 4
    await scene.look()
    before = scene.names
    scene.restart()
    await scene.look()

    assert (scene.names, scene.host.drained) == (before, [])


async def test_one_that_drains_already_is_known_by_its_heartbeat(scene: Scene) -> None:
    scene.fleet.waiting = 1
    await scene.look()
    (name,) = scene.names
    scene.fleet.heard = {name: RunnerView(name=name, attempts=1, is_draining=True)}
    scene.restart()
    await scene.look()

    assert len(scene.names) == 2
    assert scene.shown["cpu"].draining == 1


async def test_dead_runners_are_replaced_and_their_last_words_are_in_the_log(scene: Scene) -> None:
    scene.fleet.waiting = 1
    await scene.look()
    scene.all_are_heard()
    await scene.look()
    (name,) = scene.names
    scene.host.ends(name, 137, "out of memory")
    with capture_logs() as logs:
        await scene.look()

    assert name not in scene.names
    assert len(scene.names) == 1
    assert {"event": "runner.failed", "exit_code": 137, "last_words": "out of memory"}.items() <= logs[0].items()


async def test_where_runners_cant_be_started_it_says_why_and_tries_ever_more_rarely(scene: Scene) -> None:
    scene.fleet.waiting = 1
    scene.host.refuses = "the image 'penstock/runner' is not on the Docker engine"
    with capture_logs() as logs:
        for _ in range(60):
            await scene.look(5)

    assert scene.host.tried == 6, "at 5, 10, 20, 40, 80 and 160 seconds"
    assert {log["reason"] for log in logs if log["event"] == "runner.not_started"} == {scene.host.refuses}
    assert scene.shown["cpu"].reason == scene.host.refuses

    scene.host.refuses = ""
    await scene.look(300)
    scene.all_are_heard()
    await scene.look()
    assert (len(scene.names), scene.shown["cpu"].reason) == (1, "")


async def test_runners_that_end_before_they_are_heard_count_as_not_started(scene: Scene) -> None:
    scene.fleet.waiting = 1
    await scene.look()
    scene.host.ends(scene.names[0], 2, "error: PENSTOCK_BROKER_URL: it is not set\n")
    await scene.look()

    assert scene.names == []
    assert "PENSTOCK_BROKER_URL: it is not set" in scene.shown["cpu"].reason


async def test_while_the_services_are_away_nothing_is_ended_and_readiness_says_so(scene: Scene) -> None:
    scene.fleet.waiting = 2
    await scene.look()
    scene.fleet.is_away = True
    with pytest.raises(EngineUnavailable):
        await scene.look(1000)

    assert (len(scene.names), scene.host.drained) == (1, [])


async def test_runners_of_a_pool_that_is_not_defined_any_more_end(scene: Scene) -> None:
    scene.fleet.waiting = 2
    await scene.look()
    scene.all_are_heard()
    scene.pools = []
    await scene.look()

    assert scene.host.drained == scene.names


async def test_asked_to_it_drains_all_and_waits(scene: Scene) -> None:
    scene.fleet.waiting = 2
    await scene.look()
    (name,) = scene.names
    drain = scene.host.drain

    async def drain_and_end(name: str) -> None:
        await drain(name)
        scene.host.ends(name, 0)

    scene.host.drain = drain_and_end  # type: ignore[method-assign]  # the fake's own end
    await scene.autoscaler.drain_all()

    assert scene.host.drained == [name]
    assert scene.names == []


# Definitions


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], Definitions]:
    def write(text: str) -> Definitions:
        (tmp_path / "pools.yaml").write_text(text)
        return Definitions(tmp_path / "pools.yaml")

    return write


def test_pools_are_defined_in_a_file(written: Callable[[str], Definitions]) -> None:
    definitions = written("""
        runners: {network: host, mounts: ["/data:/data:ro"]}
        pools:
          cpu: {slots_per_runner: 4, max_runners: 3}
          gpu: {slot: {gpu: 0.5}, slots_per_runner: 2, image: "penstock/gpu-runner", idle: 5m}
        """)

    assert [pool.name for pool in definitions.pools()] == ["cpu", "gpu"]
    assert definitions.template().network == "host"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("pools: {cpu: {max_runner: 3}}", "pools.cpu.max_runner: Extra inputs"),
        ("pools: [{name: cpu}]", "pools: Input should be a valid dictionary"),
        ("pool: {}", "pool: Extra inputs"),
        ("pools: {", "can't be read"),
        ("{pools: {}, runners: {network: 3}}", "runners.network: Input should be a valid string"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(written: Callable[[str], Definitions], text: str, complaint: str) -> None:
    with pytest.raises(InvalidInput, match=complaint):
        written(text).pools()


def a_fleet(*pools: PoolSpec) -> FleetView:
    return FleetView(pools={pool.name: PoolView(name=pool.name, definition=pool) for pool in pools} | {"lane": PoolView(name="lane")})


def test_without_a_file_the_pools_are_those_that_were_applied() -> None:
    bare = POOL.model_copy(update={"name": "bare", "image": None})

    assert PoolSource(None, needs_image=True).pools(a_fleet(POOL, bare)) == [POOL]
    assert PoolSource(None, needs_image=False).pools(a_fleet(POOL, bare)) == [POOL, bare]


def test_a_pool_of_the_file_drains_when_an_operator_says_so(written: Callable[[str], Definitions]) -> None:
    source = PoolSource(written("pools: {cpu: {}, gpu: {}}"), needs_image=True)

    found = source.pools(a_fleet(POOL.model_copy(update={"is_draining": True})))

    assert {pool.name: pool.is_draining for pool in found} == {"cpu": True, "gpu": False}


# What runners get


def test_each_runner_has_gpus_of_its_own() -> None:
    pool = PoolSpec(name="gpu", slot=SlotSpec(gpu=0.5), slots_per_runner=4)

    assert gpus_for(pool, ["GPU-a", "GPU-b", "GPU-c"], ["GPU-a"]) == ("GPU-b", "GPU-c")
    assert runner_arguments(pool) == ["runner", "--pool", "gpu=4", "--slot-gpus", "gpu=0.5"]
    with pytest.raises(RunnerNotStarted, match="needs 2 GPUs, and of the 3 here 1 are free"):
        gpus_for(pool, ["GPU-a", "GPU-b", "GPU-c"], ["GPU-a", "GPU-b"])


def test_runners_get_what_they_need_and_no_other_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    surroundings = {
        "PENSTOCK_BROKER_URL": "amqp://runner:pw@broker/",
        "PENSTOCK_DATABASE_URL": "postgresql://user:pw@database/penstock",
        "PENSTOCK_SIGNING_KEY": "0123456789abcdef0123456789abcdef-mine",
        "PENSTOCK_API_TOKEN": "4fd1-9c2e-77ab-a-token-of-operators",
        "AWS_SECRET_ACCESS_KEY": "bucket",
        "HOME": "/home/operator",
    }
    for name, value in surroundings.items():
        monkeypatch.setenv(name, value)
    settings = ServiceSettings.read()

    contained = runner_environment(settings, surroundings, is_local=False)
    local = runner_environment(settings, surroundings, is_local=True)

    assert contained == {
        "PENSTOCK_BROKER_URL": "amqp://runner:pw@broker/",
        "PENSTOCK_WORKSPACE": "default",
        "PENSTOCK_DRAIN_SECONDS": "86400",
        "AWS_SECRET_ACCESS_KEY": "bucket",
    }
    assert set(local) - set(contained) == {"HOME", "PENSTOCK_CACHE_FOLDER"}
