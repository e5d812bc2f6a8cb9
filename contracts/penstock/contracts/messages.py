"""What travels between Penstock's processes: orders, reports, commands, heartbeats; and their envelope.

On the wire a message is msgpack of `[key id, payload, mac]`; the payload is msgpack of one message with its `type` and `version`.
Readers ignore unknown fields and refuse unknown versions. There is no pickle and there are no extension types.
"""

from typing import Annotated, Any, Literal, cast

import msgpack
from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, TypeAdapter, ValidationError

from penstock.contracts.artifacts import ArtifactRef, Value
from penstock.contracts.errors import ContractError, UnknownVersion
from penstock.contracts.numbers import Count, LongInteger, Seconds
from penstock.contracts.states import AttemptState, FailureKind

MESSAGE_LIMIT = 256 * 1024
"""Bytes of an encoded message; data travels by reference."""
COMMAND_LIMIT = 16 * 1024 * 1024
"""Bytes of an encoded command or order, which may carry a pipeline spec or many small values."""
TEXT_LIMIT = 64 * 1024
"""Characters of one text in a message; longer ones keep their beginning and end."""
# For the mark where text was cut out: what was cut once stays within the limit.
_MARK_ROOM = 60


def clean_text(text: str, limit: int = TEXT_LIMIT) -> str:
    """`text` as every store can keep it: no NUL, no lone surrogates, its middle cut out where it is over `limit` characters."""
    text = text.replace("\x00", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
    if len(text) <= limit:
        return text
    kept = max(limit - _MARK_ROOM, 2) // 2
    return f"{text[:kept]}\n… {len(text) - 2 * kept} characters left out …\n{text[-kept:]}"


Text = Annotated[str, AfterValidator(clean_text)]
"""Text from outside, cleaned on its way in."""
Name = Annotated[str, AfterValidator(lambda text: clean_text(text, 200))]
"""What somebody or something is called, short enough for every column."""
Token = Annotated[str, Field(pattern=r"^[!-~]{0,100}$")]
# A run's id becomes the name of a folder, a workspace's name a word of routing keys.
RunIdText = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")]
WorkspaceText = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)


class AttemptKey(_Message):
    """Which attempt: `(run_no, step_no, item_no, attempt_no)`, the key of its row."""

    run_no: Count
    step_no: Count
    item_no: Count
    attempt_no: Count


class Order(_Message):
    """Asks a runner to execute one step run once. Self-contained: a runner needs nothing else but the artifact store.

    `step` is the canonical encoding of the `StepSpec` (the same bytes for each of its orders, so that decoding can be kept).
    `pool` is the pool, or the lane of a served step, that it was sent to. `seed` is the cache key, from which random numbers are
    seeded. `token` fences the attempt. Every version has `attempt` and `token` as they are here: who can't read the rest gives it back.
    """

    type: Literal["order"] = "order"
    version: Literal[1] = 1
    workspace: WorkspaceText
    attempt: AttemptKey
    token: Token
    run_id: RunIdText
    run_name: str
    pipeline: str
    step_name: str = ""
    index: tuple[int, ...] = ()
    pool: str
    slots: Count = 1
    """Of one runner, all of them at once."""
    slots_per_runner: Count | None = None
    """As the pool is defined; None where it is not."""
    memory_bytes: Count | None = None
    """What the step may use, where that is more than its resources say: it ran out of memory before."""
    step: bytes
    snapshot: ArtifactRef | None = None
    inputs: dict[str, Value] = {}
    seed: str = ""
    cause: dict[str, Any] = {}
    tags: dict[str, str] = {}
    must_claim: bool = False
    follow_log: bool = False


class Started(_Message):
    """A runner holds the attempt: sent for attempts that last, and after a reconnect."""

    type: Literal["started"] = "started"
    version: Literal[1] = 1
    attempt: AttemptKey
    token: Token
    runner: Name


class Failure(_Message):
    """Why an attempt did not succeed. `message` is one line; `traceback` the user's own frames first."""

    kind: FailureKind
    message: Text
    error_type: Text = ""
    traceback: Text = ""
    hint: Text = ""
    """What to do about it, where Penstock knows."""


class Metric(_Message):
    name: Name
    value: float
    step: LongInteger | None = None


AttemptOutcome = Literal[AttemptState.SUCCEEDED, AttemptState.FAILED, AttemptState.CANCELLED, AttemptState.INPUT_LOST]
"""How an attempt can end by itself."""


class Completed(_Message):
    """How an attempt ended: `succeeded` with outputs, `failed` with a failure, `cancelled`, or `input_lost`."""

    type: Literal["completed"] = "completed"
    version: Literal[1] = 1
    attempt: AttemptKey
    token: Token
    runner: Name
    outcome: AttemptOutcome
    outputs: dict[str, Value] = {}
    failure: Failure | None = None
    lost_digest: Name | None = None
    """With `input_lost`: the artifact that is gone or corrupt."""
    saw_identity: bool = False
    """User code read the run id, index, attempt or cause: its result may not be reused."""
    seconds: Seconds = 0.0
    """Wall-clock seconds in user code."""
    cpu_seconds: Seconds = 0.0
    peak_memory_bytes: Count = 0
    metrics: tuple[Metric, ...] = ()
    attachments: dict[Name, ArtifactRef] = {}
    tags: dict[Text, Text] = {}
    emitted: tuple[dict[str, Any], ...] = ()
    log: ArtifactRef | None = None


class Released(_Message):
    """A runner gives an order back that it did not begin, and says why."""

    type: Literal["released"] = "released"
    version: Literal[1] = 1
    attempt: AttemptKey
    token: Token
    runner: Name
    reason: Text


class Claim(_Message):
    """A runner asks for a redelivered order, or one that may not run twice; the answer is `ClaimAnswer` on `reply_to`."""

    type: Literal["claim"] = "claim"
    version: Literal[1] = 1
    attempt: AttemptKey
    token: Token
    runner: Name
    incarnation: Annotated[str, AfterValidator(lambda text: clean_text(text, 64))] = ""
    """Of the runner: one that was started again under its old name holds nothing of what it held."""
    is_first: bool = False
    """It asks about the first delivery of the first order: if the attempt is open, nobody has begun it."""
    reply_to: Annotated[str, Field(max_length=255)]


class ClaimAnswer(_Message):
    """`granted` with the attempt to run under (a new one where the old was superseded), or denied with `reason`."""

    type: Literal["claim_answer"] = "claim_answer"
    version: Literal[1] = 1
    asked: AttemptKey
    granted: bool
    attempt: AttemptKey | None = None
    token: Token = ""
    reason: Text = ""


class Service(_Message):
    """A step that a runner serves in a lane of its own. `code`: the digest of the code that it has; empty: it serves any."""

    workspace: WorkspaceText = "default"
    pipeline: str
    step: str
    code: str = ""


class Heartbeat(_Message):
    """A runner lives: all its attempts, its slots by pool or lane, and progress by attempt. Transient, every few seconds."""

    type: Literal["heartbeat"] = "heartbeat"
    version: Literal[1] = 1
    runner: str
    incarnation: str
    workspace: WorkspaceText = "default"
    """Its slots are for work of this workspace."""
    pools: dict[str, int] = {}
    attempts: tuple[AttemptKey, ...] = ()
    progress: tuple["Progress", ...] = ()
    services: tuple[Service, ...] = ()
    host: Text = ""
    software: Text = ""
    """The version of Penstock."""
    gpus: Count = 0
    is_draining: bool = False


class Tick(_Message):
    """A coordinator hears its own ticks come back, and so knows that it can hear. `sent_at`: its own monotonic seconds."""

    type: Literal["tick"] = "tick"
    version: Literal[1] = 1
    coordinator: str
    sent_at: float


class Progress(_Message):
    attempt: AttemptKey
    done: float
    total: float | None = None
    text: Text = ""


class CancelAttempts(_Message):
    """Coordinators ask whoever runs these attempts to stop them; it is repeated until they are closed."""

    type: Literal["cancel_attempts"] = "cancel_attempts"
    version: Literal[1] = 1
    attempts: tuple[AttemptKey, ...]


class FollowLogs(_Message):
    """Somebody follows the output of a run's steps for the next `seconds`: whoever executes them sends `LogChunk`s meanwhile."""

    type: Literal["follow_logs"] = "follow_logs"
    version: Literal[1] = 1
    run_id: RunIdText
    seconds: Seconds
    is_new: bool = False
    """It has nothing yet: what was printed before is sent again."""


class LogChunk(_Message):
    """A piece of an attempt's output, `offset` bytes after its beginning. Transient, only while somebody follows."""

    type: Literal["log_chunk"] = "log_chunk"
    version: Literal[1] = 1
    run_id: RunIdText
    step: str
    index: tuple[int, ...] = ()
    attempt: Count
    offset: Count
    text: Text


class DrainRunner(_Message):
    """Asks runners to take no more orders and to end once what they began has ended: the one of that name, or all of a pool."""

    type: Literal["drain_runner"] = "drain_runner"
    version: Literal[1] = 1
    runner: str | None = None
    pool: str | None = None


class RunOptions(_Message):
    """How a run goes. `rerun`: steps that must execute whatever the cache holds (`all` for every one). `until`: stop there."""

    keep_going: bool = False
    rerun: tuple[str, ...] = ()
    until: str | None = None
    pools: dict[str, str] = {}
    """Step name to pool, against the spec."""
    priority: Annotated[int, Field(ge=-1_000_000, le=1_000_000)] = 0
    timeout_seconds: Seconds | None = None
    max_parallel: Annotated[Count, Field(ge=1)] | None = None
    pinned_from: str | None = None
    """A rerun: the run whose step runs keep their outputs, but those named in `rerun`, the failed ones, and all below them."""


class Cause(_Message):
    """Why a run exists: `manual`, `api`, `event`, `schedule`, `data`, `run` or `rerun`, and of which.

    Of a run that a trigger made: `trigger` by name, `events` by number, `correlation_id` of the first cause, `hops` the runs in between.
    """

    kind: Literal["manual", "api", "event", "schedule", "data", "run", "rerun"] = "manual"
    of: str | None = None
    by: str | None = None
    """Who asked, where the services know."""
    trigger: str | None = None
    events: tuple[Count, ...] = ()
    correlation_id: str | None = None
    hops: Count = 0


class SubmitRun(_Message):
    """Asks for a run. `run_id` makes it idempotent: the same id again changes nothing. `spec` is canonical bytes."""

    type: Literal["submit_run"] = "submit_run"
    version: Literal[1] = 1
    workspace: WorkspaceText = "default"
    run_id: RunIdText
    spec: bytes
    parameters: dict[str, Value] = {}
    name: Text | None = None
    tags: dict[Text, Text] = {}
    experiment: Text | None = None
    cause: Cause = Cause()
    options: RunOptions = RunOptions()
    owner: str | None = None
    """Embedded: the process incarnation that drives the run."""


class CancelRun(_Message):
    """Asks for a run to be stopped. `leaves_hooks`: who asks has seen that its hooks run, and does not wait for them either."""

    type: Literal["cancel_run"] = "cancel_run"
    version: Literal[1] = 1
    workspace: str = "default"
    run_id: str
    reason: Text = ""
    leaves_hooks: bool = False


Report = Annotated[Started | Completed | Released | Claim, Discriminator("type")]


class Reports(_Message):
    """What a runner reports, several at a time."""

    type: Literal["reports"] = "reports"
    version: Literal[1] = 1
    reports: tuple[Report, ...]


Message = Annotated[
    Order | Reports | ClaimAnswer | Heartbeat | Tick | CancelAttempts | SubmitRun | CancelRun | FollowLogs | LogChunk | DrainRunner,
    Discriminator("type"),
]
_adapter: TypeAdapter[Message] = TypeAdapter(Message)
_VERSIONS = {
    "order": 1, "reports": 1, "claim_answer": 1, "heartbeat": 1, "tick": 1, "cancel_attempts": 1, "submit_run": 1, "cancel_run": 1,
    "follow_logs": 1, "log_chunk": 1, "drain_runner": 1,
}  # fmt: skip


def encode(message: Message) -> bytes:
    """The wire bytes of a message. Enums and tuples become text and arrays; fields at their default are left out."""
    return msgpack.packb([0, msgpack.packb(_plain(message)), b""])


def decode(data: bytes, limit: int = MESSAGE_LIMIT) -> Message:
    """The message in wire bytes of at most `limit`.

    :raises UnknownVersion: a type or version that this Penstock doesn't know.
    :raises ContractError: anything else; random bytes never raise another error.
    """
    fields = payload_of(data, limit)
    kind, version = fields.get("type"), fields.get("version")
    if not isinstance(kind, str) or kind not in _VERSIONS:
        raise UnknownVersion(f"unknown message type {kind!r}")
    if version != _VERSIONS[kind]:
        raise UnknownVersion(f"message {kind!r} has version {version!r}; this Penstock reads {_VERSIONS[kind]}")
    try:
        return _adapter.validate_python(fields)
    except (ValidationError, RecursionError) as error:
        raise ContractError(f"message {kind!r} is malformed: {error}") from error


def payload_of(data: bytes, limit: int) -> dict[str, Any]:
    """What a message says, whatever it is.

    :raises ContractError: it is no message.
    """
    if len(data) > limit:
        raise ContractError(f"a message of {len(data)} bytes is over the limit of {limit}")
    envelope = _unpack(data)
    match envelope:
        case [_, bytes(body), _]:
            payload: Any = _unpack(body)
        case _:
            raise ContractError("not an envelope of key id, payload and mac")
    if not isinstance(payload, dict):
        raise ContractError("a message's payload is not a map")
    return cast("dict[str, Any]", payload)


def _plain(message: Message | Report) -> dict[str, Any]:
    if isinstance(message, Reports):
        return {"type": message.type, "version": message.version, "reports": [_plain(report) for report in message.reports]}
    return {**message.model_dump(exclude_defaults=True), "type": message.type, "version": message.version}


def _unpack(data: bytes) -> Any:
    try:
        return msgpack.unpackb(data, raw=False, strict_map_key=True, ext_hook=_no_extension, timestamp=0)
    except (ValueError, TypeError, RecursionError, msgpack.exceptions.UnpackException) as error:
        raise ContractError(f"not msgpack as agreed: {error}") from error


def _no_extension(code: int, data: bytes) -> Any:
    raise ContractError(f"msgpack extension type {code} is not allowed")
