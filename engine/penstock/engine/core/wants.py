"""What deciding asks for and what it answers. A decision yields wants; its driver loads the rows into the slice and goes on."""

from dataclasses import dataclass, field

from penstock.contracts.messages import AttemptKey, Claim, ClaimAnswer, Completed, Released, Started
from penstock.contracts.spec import StepSpec
from penstock.engine.core.rows import ApprovalRow, CacheRow, Key, Moment, ReadyRow, Registration, TimerRow


@dataclass(frozen=True, slots=True)
class StepRuns:
    """Step runs by key."""

    keys: list[Key]


@dataclass(frozen=True, slots=True)
class Members:
    """All step runs of a node whose items are in [base, base + count)."""

    node: int
    base: int
    count: int


@dataclass(frozen=True, slots=True)
class Running:
    """All step runs of the run that are being executed."""


@dataclass(frozen=True, slots=True)
class Groups:
    """Groups by (node, parent item)."""

    keys: list[Key]


@dataclass(frozen=True, slots=True)
class Items:
    """Items of fan-outs by (each node, item)."""

    keys: list[Key]


@dataclass(frozen=True, slots=True)
class Attempts:
    """Attempts by (node, item, number)."""

    keys: list[tuple[int, int, int]]


@dataclass(frozen=True, slots=True)
class CacheEntries:
    keys: list[str]


@dataclass(frozen=True, slots=True)
class Pins:
    """Succeeded step runs of the run that this one reruns, as new step rows keep them: by key of this run."""

    keys: list[Key]


@dataclass(frozen=True, slots=True)
class NextItem:
    """The next free item number of each of these fan-outs."""

    eaches: list[int]


@dataclass(frozen=True, slots=True)
class FailedNodes:
    """Every node of which a step run has failed."""


@dataclass(frozen=True, slots=True)
class Approvals:
    """Approvals by key of their step runs. Nobody else answers them before the transaction ends."""

    keys: list[Key]


@dataclass(frozen=True, slots=True)
class NewestVersions:
    """The newest version of each of these named artifacts. Nobody else makes another before the transaction ends."""

    names: list[str]


Want = StepRuns | Members | Running | FailedNodes | Groups | Items | Attempts | CacheEntries | Pins | NextItem | Approvals | NewestVersions


class ManifestsNeeded(Exception):
    """Directory manifests must be read before this can be decided."""

    def __init__(self, digests: set[str]) -> None:
        super().__init__(f"{len(digests)} manifests")
        self.digests = digests


@dataclass(frozen=True, slots=True)
class Finding:
    """A completed attempt's facts that are stored beside its row."""

    node: int
    item: int
    attempt: int
    report: Completed


@dataclass(frozen=True, slots=True)
class Cancellation:
    attempt: AttemptKey
    reason: str


@dataclass(slots=True)
class Changes:
    """What a decision changes besides the rows of its slice, and what is owed after the commit."""

    ready: list[ReadyRow] = field(default_factory=list[ReadyRow])
    unready: list[Key] = field(default_factory=list[Key])
    timers: list[TimerRow] = field(default_factory=list[TimerRow])
    timers_done: list[tuple[str, Key]] = field(default_factory=list[tuple[str, Key]])
    cache: list[CacheRow] = field(default_factory=list[CacheRow])
    cache_touched: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    """Cache key and the time at which its bytes were found."""
    cache_dropped: list[str] = field(default_factory=list[str])
    lost_digests: list[str] = field(default_factory=list[str])
    flights_over: list[str] = field(default_factory=list[str])
    findings: list[Finding] = field(default_factory=list[Finding])
    moments: list[Moment] = field(default_factory=list[Moment])
    sweeps: list[tuple[int, int, int]] = field(default_factory=list[tuple[int, int, int]])
    """(node, from item, to item): one more edge has arrived for those that wait."""
    cancellations: list[Cancellation] = field(default_factory=list[Cancellation])
    answers: list[tuple[str, ClaimAnswer]] = field(default_factory=list[tuple[str, ClaimAnswer]])
    asked: list[ApprovalRow] = field(default_factory=list[ApprovalRow])
    answered: list[ApprovalRow] = field(default_factory=list[ApprovalRow])
    """Approvals that are open no longer."""
    withdrawn: list[Key] = field(default_factory=list[Key])
    registrations: list[Registration] = field(default_factory=list[Registration])
    stop: str | None = None
    """Set when the run must stop: everything that does not run is cancelled."""


@dataclass(frozen=True, slots=True)
class Arrive:
    """Facts of the coordinator itself, decided like reports."""


@dataclass(frozen=True, slots=True)
class Begin(Arrive):
    """The run was just created: its outermost nodes exist from now on."""


@dataclass(frozen=True, slots=True)
class Due(Arrive):
    """Step runs that wait for nothing any more and were left by an earlier transaction."""

    keys: list[Key]


@dataclass(frozen=True, slots=True)
class Expand(Arrive):
    """Items `start`… of the fan-out at `place`, packed values; `total` in all."""

    place: Key
    start: int
    total: int
    values: list[bytes]


@dataclass(frozen=True, slots=True)
class Collected(Arrive):
    """The list of the collect at `place` is in the artifact store, as the packed value `outputs`."""

    place: Key
    outputs: bytes | None
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class Checked(Arrive):
    """The bytes of the cache entry that the step run at `place` found are all there, or these are lost."""

    place: Key
    lost: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answered(Arrive):
    """What other engines know of the cache key of the step run at `place`: an entry whose bytes are there, or nothing."""

    place: Key
    entry: CacheRow | None


@dataclass(frozen=True, slots=True)
class Fired(Arrive):
    kind: str
    place: Key


@dataclass(frozen=True, slots=True)
class Decided(Arrive):
    """Somebody answered the approval that the step run at `place` is."""

    place: Key
    approved: bool
    by: str = ""
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Woken(Arrive):
    """The attempt of another step run with the same cache key is over."""

    place: Key


@dataclass(frozen=True, slots=True)
class Lost(Arrive):
    """The runner of an attempt is gone. `counts`: on the infrastructure budget (not when the user's own process ended). `if_unbegun`: only
    an attempt that nobody holds; of others, presence is the judge."""

    place: Key
    number: int
    counts: bool = True
    reason: str = "its runner is gone"
    if_unbegun: bool = False


@dataclass(frozen=True, slots=True)
class Stop(Arrive):
    """Stop the run: `cancelled`, `failed`, `timeout`. A run whose hooks run goes on with them, unless it `leaves_hooks`: whoever asks
    for that has seen them run, so that asking once, heard twice, leaves none."""

    reason: str
    text: str = ""
    leaves_hooks: bool = False


@dataclass(frozen=True, slots=True)
class Recount(Arrive):
    """Look whether the run has ended."""


@dataclass(frozen=True, slots=True)
class Resumed(Arrive):
    """Another process drives the run from now on."""

    owner: str


Fact = Started | Completed | Released | Claim | Arrive
"""What is decided: a runner's report, or a fact of the coordinator itself."""


def summary_input(step: StepSpec) -> str:
    """The parameter of a hook that takes the run summary."""
    return next(iter({**step.inputs, **step.types}), "run")
