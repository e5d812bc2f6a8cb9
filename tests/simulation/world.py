"""A simulated cluster: coordinators and runners as they are, on a bus, a store and a clock that are not."""

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from penstock.contracts.artifacts import Value, inline
from penstock.contracts.errors import StoreUnavailable
from penstock.contracts.messages import AttemptKey, CancelRun, Completed, Reports, SubmitRun, encode
from penstock.contracts.spec import encode_spec
from penstock.contracts.states import AttemptState, RunState
from penstock.engine.coordinator import Coordinator, CoordinatorSettings
from penstock.engine.pools import apply_pool
from penstock.engine.runs import ask_to_cancel, live_owners, own
from penstock.runners.presence import Identity
from penstock.runners.runner import Pace, Runner
from penstock.transport.artifact_stores.memory import MemoryArtifactStore
from penstock.transport.bus import INBOX, Envelope, Exchange, work_queue
from tests.simulation.bus import BusFaults, SimBroker, SimBus
from tests.simulation.loop import Party, SimLoop
from tests.simulation.scenario import PlannedRun, PlannedService, Scenario
from tests.simulation.store import Database, SimStore, StoreFaults
from tests.simulation.work import Journal, SimLauncher, Temper

EPOCH = 1_800_000_000_000_000
"""Microseconds since 1970 at which every simulation begins."""
LOCAL = "local"


@dataclass(eq=False)
class Member:
    """A party with its connection; `slots` where it executes, by pool."""

    party: Party
    bus: SimBus
    slots: dict[str, int] = field(default_factory=dict[str, int])
    born_at: float = 0.0
    died_at: float | None = None
    launcher: SimLauncher | None = None
    runner: Runner | None = None
    coordinator: Coordinator | None = None
    served: PlannedService | None = None
    has_retired: bool = False
    """Nobody takes its place."""

    @property
    def is_alive(self) -> bool:
        return self.died_at is None


class World:
    """One scenario as it happens. `crashes` are errors that ended a member by themselves."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.loop = SimLoop(scenario.seed)
        self.rng = random.Random(f"world {scenario.seed}")
        self.trace_lines: list[str] = []
        self.keeps_trace = False
        self._digest = hashlib.sha256()
        self.broker = SimBroker(random.Random(f"bus {scenario.seed}"), self.trace)
        self.database = Database(random.Random(f"store {scenario.seed}"))
        self.artifacts = MemoryArtifactStore()
        self.journal = Journal()
        self.temper = Temper(scenario.seed, slow=scenario.slow)
        self.spec = encode_spec(scenario.spec)
        self.members: list[Member] = []
        self.crashes: list[str] = []
        self.blobs_lost = 0
        self.suspects: set[str] = set()
        """Whoever could not be heard for a while."""
        self.reports_lost = 0
        self._named = 0

    def now(self) -> int:
        return EPOCH + int(self.loop.time() * 1_000_000)

    def trace(self, what: str, *details: object) -> None:
        line = f"{self.loop.time():.6f} {what} {' '.join(map(str, details))}"
        self._digest.update(line.encode())
        if self.keeps_trace:
            self.trace_lines.append(line)

    @property
    def fingerprint(self) -> str:
        """The same for the same seed, on every machine."""
        return self._digest.hexdigest()[:16]

    # Members

    def start(self) -> None:
        for pool in self.scenario.pools:
            self.database.write(partial(apply_pool, workspace="default", spec=pool, now=self.now()))
        for number in range(self.scenario.coordinators):
            if self.scenario.is_embedded:
                self.start_process()
            else:
                self.start_coordinator(f"c{number}")
        if not self.scenario.is_embedded:
            for number, slots in enumerate(self.scenario.runners):
                self.start_runner(f"r{number}", slots)

    def start_coordinator(self, role: str) -> Member:
        member = self._member(role, SimBus(self.broker))
        settings = CoordinatorSettings(
            name=member.party.name,
            token_key=b"simulated",
            check_after_seconds=self.scenario.check_after,
            patience_seconds=self.scenario.patience,
        )
        self._spawn(member, lambda: self._coordinate(member, settings))
        return member

    async def _coordinate(self, member: Member, settings: CoordinatorSettings) -> None:
        coordinator = Coordinator(
            member.bus, SimStore(self.database, is_concurrent=self.scenario.is_concurrent), self.artifacts, settings, self.now
        )
        member.coordinator = coordinator
        await coordinator.run()

    def start_runner(self, role: str, slots: dict[str, int]) -> Member:
        member = self._member(role, SimBus(self.broker))
        member.slots = dict(slots)
        self._spawn(member, lambda: self._execute(member))
        return member

    def start_service(self, role: str, planned: PlannedService) -> Member:
        member = self._member(role, SimBus(self.broker))
        member.slots, member.served = planned.lanes, planned
        self._spawn(member, lambda: self._execute(member))
        return member

    async def _execute(self, member: Member) -> None:
        name = member.party.name
        rng = random.Random(f"{name} {self.scenario.seed}")
        member.launcher = SimLauncher(name, self.journal, self.artifacts, self.temper, rng)
        pace = Pace(young=self.scenario.young, heartbeat=self.scenario.heartbeat, reconnect=0.5)
        services = member.served.services if member.served is not None else ()
        member.runner = Runner(
            member.bus, member.launcher, Identity(name=name, incarnation=name, pools=member.slots, services=services), pace=pace
        )
        await member.runner.run()
        # It was drained: another one takes its place.
        self.loop.kill(member.party)

    def start_process(self) -> Member:
        """Embedded: coordinator and runner in one process with a bus of its own; it takes over what dead processes left."""
        broker = SimBroker(self.broker.rng, self.trace)
        member = self._member("p", SimBus(broker))
        name = member.party.name
        member.slots = {LOCAL: 2}
        settings = CoordinatorSettings(
            name=name,
            token_key=name.encode(),
            owner=name,
            check_after_seconds=0.0,
            only_pool=LOCAL,
            patience_seconds=self.scenario.patience,
        )

        async def serve() -> None:
            store = SimStore(self.database)
            member.coordinator = Coordinator(member.bus, store, self.artifacts, settings, self.now)
            member.coordinator.set_slots(name, member.slots)
            self.loop.spawn(member.party, self._watched(member, self._take_over(member, member.coordinator)))
            await member.coordinator.run()

        self._spawn(member, serve)
        self._spawn(member, lambda: self._execute(member))
        return member

    async def _take_over(self, member: Member, coordinator: Coordinator) -> None:
        name = member.party.name
        for run_no, owner in self.database.read(live_owners):
            if owner in self.living():
                continue
            if self.database.write(partial(own, run_no=run_no, owner=name, before=owner)):
                await self._insist(partial(coordinator.take_over, run_no, name))

    async def _insist(self, act: Callable[[], Awaitable[object]]) -> None:
        while True:
            try:
                await act()
            except StoreUnavailable:
                await asyncio.sleep(1.0)
            else:
                return

    def living(self) -> set[str]:
        return {member.party.name for member in self.members if member.is_alive}

    def _member(self, role: str, bus: SimBus) -> Member:
        self._named += 1
        party = Party(f"{role}-{self._named}")
        member = Member(party, bus, born_at=self.loop.time())
        party.when_dead = lambda _: self._died(member)
        self.members.append(member)
        return member

    def _spawn(self, member: Member, work: Callable[[], Any]) -> None:
        self.loop.spawn(member.party, self._watched(member, work()))

    async def _watched(self, member: Member, work: Any) -> None:
        try:
            await work
        except Exception as error:
            self.crashes.append(f"{member.party.name} ended by itself: {error!r}")
            raise

    def _died(self, member: Member) -> None:
        self.trace("died", member.party.name)
        self.suspects.add(member.party.name)
        member.died_at = self.loop.time()
        # Until the bus notices, what the dead one held is nobody else's.
        self.broker.later(self.rng.choice([0.0, 0.1, 3.0]), member.bus.cut)
        role = member.party.name.rsplit("-", 1)[0]
        delay = self.rng.uniform(0.0, 4.0)
        if role == "p":
            self.broker.later(delay, lambda: self._alone(self.start_process))
        elif member.served is not None:
            # At times longer than anybody waits for it.
            again = partial(self._alone, partial(self.start_service, role, member.served))
            if not member.has_retired:
                self.broker.later(self.rng.choice([delay, delay + self.scenario.patience * 1.5]), again)
        elif role.startswith("c"):
            self.broker.later(delay, lambda: self._alone(lambda: self.start_coordinator(role)))
        else:
            self.broker.later(delay, lambda: self._alone(lambda: self.start_runner(role, member.slots)))

    def _alone(self, start: Callable[[], object]) -> None:
        if not self.loop.is_over:
            start()

    # Misfortunes

    def befall(self, kind: str) -> None:
        """Something goes wrong with somebody."""
        # A pause in idleness would prove nothing.
        is_idle = not self.database.rows("SELECT 1 FROM attempt WHERE state = 'running' LIMIT 1")
        if kind.startswith("freeze") and is_idle and self.loop.time() + 1 < self.scenario.horizon:
            self.broker.later(1.0, lambda: self.befall(kind))
            return
        self.trace("misfortune", kind)
        what, _, who = kind.partition(" ")
        happens = {"kill": self._doom, "freeze": self._freeze, "cut": self._cut, "drain": self._drain, "retire": self._retire}
        if what not in happens:
            self._befall_things(kind)
        elif (victim := self._pick(who)) is not None:
            happens[what](victim)

    def _befall_things(self, kind: str) -> None:
        match kind:
            case "purge pool":
                self.broker.purge(work_queue("default", self.rng.choice(["cpu", "gpu"])))
            case "purge lane":
                for name in sorted(self.broker.lanes):
                    self.broker.purge(name)
            case "purge inbox":
                self.reports_lost += 1
                self.broker.purge(INBOX)
            case "forge":
                self._forge()
            case _:
                self._lose_blob()

    def _doom(self, victim: Member) -> None:
        # Between any two steps from now on, not only where it waits for a clock.
        victim.party.dies_after = self.rng.randint(1, 60)

    def _pick(self, who: str) -> Member | None:
        alive = [member for member in self.members if member.is_alive and not member.party.is_frozen]
        if who == "coordinator":
            alive = [member for member in alive if member.coordinator is not None]
        elif who == "service":
            alive = [member for member in alive if member.served is not None]
        elif who == "runner":
            alive = [member for member in alive if member.launcher is not None]
            # Whoever is at work has more to lose.
            alive = [member for member in alive if member.launcher is not None and member.launcher.executing] or alive
        return self.rng.choice(alive) if alive else None

    def _drain(self, victim: Member) -> None:
        self.suspects.add(victim.party.name)
        if victim.runner is not None:
            victim.party.context.run(victim.runner.drain)

    def _retire(self, victim: Member) -> None:
        victim.has_retired = True
        if self.rng.random() < 0.5:
            self._doom(victim)
        else:
            self._drain(victim)

    def _cut(self, victim: Member) -> None:
        self.suspects.add(victim.party.name)
        victim.bus.cut()
        self.broker.later(self.rng.choice([0.0, 0.5, 8.0]), victim.bus.mend)

    def _freeze(self, victim: Member) -> None:
        self.suspects.add(victim.party.name)
        seconds = self.rng.choice([1.0, self.scenario.patience * 0.7, self.scenario.patience * 1.5, self.scenario.patience * 2])
        victim.party.is_frozen = True
        if seconds > 4:
            # The bus gives a silent peer up.
            self.broker.later(4.0, victim.bus.cut)
        self.broker.later(seconds, lambda: self._thaw(victim))

    def _thaw(self, victim: Member) -> None:
        victim.bus.mend()
        self.loop.thaw(victim.party)

    def _lose_blob(self) -> None:
        digests = sorted(self.artifacts.blobs)
        if digests:
            self.blobs_lost += 1
            self.artifacts.blobs.pop(self.rng.choice(digests))

    def _forge(self) -> None:
        """Somebody reports on an attempt that is not theirs."""
        live = self.database.rows("SELECT run_no, node, item, number FROM attempt WHERE state IN ('dispatched', 'running')")
        if live:
            run_no, node, item, number = self.rng.choice(live)
            attempt = AttemptKey(run_no=run_no, step_no=node, item_no=item, attempt_no=number)
            outputs: dict[str, Value] = {"result": inline("forged")}
            report = Completed(attempt=attempt, token="forged", runner="nobody", outcome=AttemptState.SUCCEEDED, outputs=outputs)
            self.broker.route(Envelope(exchange=Exchange.REPORTS, key="report", body=encode(Reports(reports=(report,)))))

    def calm_down(self) -> None:
        """From now on everything works."""
        for member in self.members:
            member.bus.broker.faults = BusFaults()
            if member.is_alive:
                member.party.dies_after = None
        self.broker.faults = BusFaults()
        self.database.faults = StoreFaults()

    # Requests

    def submit(self, run: PlannedRun) -> None:
        """Asks once; whoever wants to be sure asks again."""
        request = SubmitRun(run_id=run.run_id, spec=self.spec, options=run.options, tags=run.tags)
        if not self.scenario.is_embedded:
            self.broker.route(Envelope(exchange=Exchange.REPORTS, key="submit", body=encode(request)))
            return
        for member in self.members:
            if member.is_alive and member.coordinator is not None:
                coordinator, owner = member.coordinator, member.party.name
                self.loop.spawn(member.party, self._submitted(coordinator, request.model_copy(update={"owner": owner})))
                return

    async def _submitted(self, coordinator: Coordinator, request: SubmitRun) -> None:
        await coordinator.submit(request)

    def cancel(self, run: PlannedRun) -> None:
        if self.scenario.is_embedded:
            run_no = self.run_no(run.run_id)
            if run_no is not None:
                self.database.write(lambda connection: ask_to_cancel(connection, run_no, self.now()))
            return
        self.broker.route(Envelope(exchange=Exchange.REPORTS, key="cancel", body=encode(CancelRun(run_id=run.run_id, reason="enough"))))

    def run_no(self, run_id: str) -> int | None:
        rows = self.database.rows("SELECT run_no FROM run WHERE run_id = ?", run_id)
        return rows[0][0] if rows else None

    def run_state(self, run_id: str) -> tuple[RunState, str | None] | None:
        """Its state, and why it stops."""
        rows = self.database.rows("SELECT state, stop FROM run WHERE run_id = ?", run_id)
        return (RunState(rows[0][0]), rows[0][1]) if rows else None

    def close(self) -> None:
        # Nothing is timed any more.
        self.broker.lanes.clear()
        for member in self.members:
            member.bus.cut()
        self.loop.finish()
        self.database.close()
        self.artifacts.close()
