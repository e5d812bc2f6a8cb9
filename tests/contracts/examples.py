"""One example of each message, event and spec, with every field filled: what the golden files hold."""

from penstock.contracts.artifacts import NULL, ArtifactRef, ListValue, RecordValue, SelectedValue, TemplateValue, inline
from penstock.contracts.bindings import (
    Compare,
    Either,
    Files,
    FromItem,
    FromNode,
    FromParameter,
    ListOf,
    Literal_,
    Not,
    RecordOf,
    Select,
    Template,
    TemplatePart,
)
from penstock.contracts.encoding import digest_bytes
from penstock.contracts.events import RunData, RunEvent, StepData, StepEvent, run_event, step_event
from penstock.contracts.messages import (
    AttemptKey,
    CancelAttempts,
    CancelRun,
    Cause,
    Claim,
    ClaimAnswer,
    Completed,
    DrainRunner,
    Failure,
    FollowLogs,
    Heartbeat,
    LogChunk,
    Message,
    Metric,
    Order,
    Progress,
    Released,
    Reports,
    RunOptions,
    Started,
    SubmitRun,
    Tick,
)
from penstock.contracts.named_artifacts import unresolved
from penstock.contracts.spec import (
    CollectSpec,
    CommandArgument,
    CommandTarget,
    EachSpec,
    FunctionTarget,
    Identity,
    OutputSpec,
    ParameterSpec,
    PipelineSpec,
    ResourcesSpec,
    RetrySpec,
    SecretRef,
    SoftwareSpec,
    StepSpec,
    encode_spec,
)
from penstock.contracts.states import AttemptState, FailureKind
from penstock.contracts.targets import ApprovalTarget, RegisterTarget

RUN_ID = "01jd0m6v7wq2x9e4a5b6c7d8e9"
AT = 1_763_640_000_123_456
ATTEMPT = AttemptKey(run_no=42, step_no=1, item_no=3, attempt_no=1)


def blob(text: str, *, suffix: str = "", media_type: str = "application/octet-stream", name: str | None = None) -> ArtifactRef:
    digest = digest_bytes(text.encode())
    return ArtifactRef(uri=f"cas:{digest}", digest=digest, size=len(text), media_type=media_type, suffix=suffix, name=name)


def identity(text: str) -> Identity:
    return Identity(digest=digest_bytes(text.encode()), components={text: digest_bytes(text.encode())}, notes=("widened to a module",))


WINE = blob("wine", suffix=".csv", media_type="text/csv", name="wine.csv")
MODEL = blob("model", media_type="application/vnd.penstock.pickle")

SPLIT = StepSpec(
    name="split",
    run=FunctionTarget(module="retrain", function="split"),
    inputs={"raw": FromParameter(parameter="raw"), "share": Literal_(value=inline(0.2))},
    types={"raw": "File", "share": "float"},
    outputs=(OutputSpec(name="train", type="DataFrame"), OutputSpec(name="test", type="DataFrame")),
    code=identity("split"),
    environment=identity("python 3.11"),
    files={"sql/wine.sql": digest_bytes(b"select")},
    env_vars={"REGION": "eu", "TOKEN": SecretRef(secret="hub", key="token")},
    pass_env=("CUDA_VISIBLE_DEVICES",),
    version="2",
    cache_seconds=86400.0,
    pool="gpu",
    resources=ResourcesSpec(cpu=2.0, memory_bytes=2**31, gpu=1),
    retries=RetrySpec(limit=2, delay_seconds=0.5, on=("error", "timeout")),
    timeout_seconds=600.0,
    isolation="spawn",
    idempotent=False,
    allow_failure=True,
    doc="Splits.",
)
EACH = EachSpec(name="each-depths", each=(FromParameter(parameter="depths"),), after=("split",))
TRAIN = StepSpec(
    name="train",
    run=CommandTarget(
        command=(
            CommandArgument(text="train"),
            CommandArgument(input="data"),
            CommandArgument(parts=(CommandArgument(text="--out="), CommandArgument(output="model"))),
        ),
        workdir="src",
    ),
    inputs={
        "data": FromNode(node="split", output="train"),
        "depth": FromItem(item="each-depths"),
        "nested": RecordOf(record={"a": ListOf(list=(FromNode(node="split", output="test"),))}),
        "first": Select(select=("rows", 0), of=FromNode(node="split", output=None)),
        "images": Files(glob="*.png", of=FromParameter(parameter="raw")),
        "title": Template(template=("depth ", TemplatePart(of=FromItem(item="each-depths"), format="03d"))),
    },
    accepts_none=("first",),
    outputs=(OutputSpec(name="model", type="Directory", kind="directory", path="model"),),
    scope=("each-depths",),
    when=(Compare(compare=">", left=FromItem(item="each-depths"), right=Literal_(value=inline(1))),),
    code=identity("train"),
    environment=identity("image"),
)
COLLECT = CollectSpec(
    name="collect-train",
    collect=FromNode(node="train", output="model"),
    over="each-depths",
    missing="drop",
    at_least=0.5,
    until=Compare(compare=">=", left=FromItem(item="each-depths"), right=Literal_(value=inline(9))),
)
PICK = StepSpec(
    name="pick",
    run=FunctionTarget(module="retrain", function="pick"),
    inputs={"models": FromNode(node="collect-train")},
    outputs=(OutputSpec(type="Directory"),),
    when=(Not(negate=FromParameter(parameter="dry")),),
    code=identity("pick"),
    environment=identity("python 3.11"),
)
TELL = StepSpec(
    name="tell",
    run=FunctionTarget(module="retrain", function="tell"),
    inputs={"run": Literal_(value=NULL)},
    code=identity("tell"),
    environment=identity("python 3.11"),
    cache=False,
)
LOCKED = StepSpec(
    name="locked",
    run=FunctionTarget(module="retrain", function="locked"),
    code=identity("locked"),
    environment=identity("lock"),
    software=SoftwareSpec(lock=blob("lock", media_type="text/plain", suffix=".txt"), python="3.12"),
)
IMAGE = StepSpec(
    name="image",
    run=FunctionTarget(module="retrain", function="image"),
    code=identity("image"),
    environment=identity("image"),
    software=SoftwareSpec(image="registry.example/train@sha256:" + "0" * 64),
    isolation="docker",
)
ASK = StepSpec(
    name="approval",
    run=ApprovalTarget(approvers=("ml-leads",), timeout_seconds=172800, on_timeout="fail"),
    inputs={"question": Literal_(value=inline("Deploy?")), "score": FromParameter(parameter="score")},
    outputs=(OutputSpec(type="Decision"),),
    code=identity("approval"),
    environment=identity("coordinator"),
    cache=False,
)
REGISTER = StepSpec(
    name="register-churn",
    run=RegisterTarget(name="churn", alias="candidate"),
    inputs={"artifact": FromParameter(parameter="model")},
    outputs=(OutputSpec(type="str"),),
    code=identity("register"),
    environment=identity("coordinator"),
    when=(Select(select=("approved",), of=FromNode(node="approval")),),
    cache=False,
)
PEOPLE_PIPELINE = PipelineSpec(
    name="people",
    parameters=(
        ParameterSpec(name="model", type="File", read="file", required=False, default=unresolved("churn@prod")),
        ParameterSpec(name="score", type="float"),
    ),
    nodes=(ASK, REGISTER),
    outputs={"decision": FromNode(node="approval")},
)
SOFTWARE_PIPELINE = PipelineSpec(name="software", nodes=(LOCKED, IMAGE))
PIPELINE = PipelineSpec(
    name="retrain",
    parameters=(
        ParameterSpec(name="raw", type="File", read="file", doc="The table."),
        ParameterSpec(name="depths", type="Sequence[int]", schema={"type": "array"}, required=False, default=inline([3, 5])),
        ParameterSpec(name="dry", type="bool", required=False, default=inline(False)),
    ),
    nodes=(SPLIT, EACH, TRAIN, COLLECT, PICK),
    outputs={"result": Either(either=(FromNode(node="pick"), FromParameter(parameter="raw")))},
    output_types={"result": "Directory"},
    hooks={"on_exit": TELL},
    snapshot=ArtifactRef(uri="cas:sha256:00", digest="sha256:00", size=2, kind="directory", media_type="application/json"),
    doc="Retrains.",
)

ORDER = Order(
    workspace="default",
    attempt=ATTEMPT,
    token="f00d",
    run_id=RUN_ID,
    run_name="retrain-42",
    pipeline="retrain",
    index=(3, 0),
    pool="gpu",
    step=b'{"name":"train"}',
    snapshot=WINE,
    inputs={
        "data": WINE,
        "depth": inline(3),
        "several": ListValue(list=(inline(1), WINE)),
        "record": RecordValue(record={"a": inline("x")}),
        "part": SelectedValue(select=("rows", 0), of=WINE),
        "title": TemplateValue(template=("depth ", inline(3))),
    },
    seed="ab" * 32,
    cause={"kind": "manual"},
    tags={"why": "demo"},
    must_claim=True,
    follow_log=True,
)
FAILURE = Failure(kind=FailureKind.ERROR, message="division by zero", error_type="ZeroDivisionError", traceback="line 3", hint="look there")
COMPLETED = Completed(
    attempt=ATTEMPT,
    token="f00d",
    runner="local-1",
    outcome=AttemptState.SUCCEEDED,
    outputs={"model": MODEL},
    saw_identity=True,
    seconds=1.25,
    cpu_seconds=1.0,
    peak_memory_bytes=1 << 30,
    metrics=(Metric(name="accuracy", value=0.97, step=1),),
    attachments={"plot": blob("plot", suffix=".png", media_type="image/png")},
    tags={"best": "yes"},
    emitted=({"type": "model.trained", "data": {"depth": 3}},),
    log=blob("log"),
)

MESSAGES: dict[str, Message] = {
    "order.v1": ORDER,
    "reports.v1": Reports(
        reports=(
            Started(attempt=ATTEMPT, token="f00d", runner="local-1"),
            COMPLETED,
            Completed(attempt=ATTEMPT, token="f00d", runner="local-1", outcome=AttemptState.FAILED, failure=FAILURE),
            Completed(attempt=ATTEMPT, token="f00d", runner="local-1", outcome=AttemptState.INPUT_LOST, lost_digest=WINE.digest),
            Released(attempt=ATTEMPT, token="f00d", runner="local-1", reason="draining"),
            Claim(attempt=ATTEMPT, token="f00d", runner="local-1", reply_to="reply-1"),
        )
    ),
    "claim_answer.v1": ClaimAnswer(asked=ATTEMPT, granted=True, attempt=ATTEMPT, token="beef", reason="the other runner is gone"),
    "heartbeat.v1": Heartbeat(
        runner="local-1",
        incarnation="7f",
        pools={"cpu": 2},
        attempts=(ATTEMPT,),
        progress=(Progress(attempt=ATTEMPT, done=3.0, total=10.0, text="epoch 3"),),
    ),
    "heartbeat_of_a_workspace.v1": Heartbeat(runner="team-1", incarnation="8a", workspace="team", pools={"cpu": 2}),
    "cancel_attempts.v1": CancelAttempts(attempts=(ATTEMPT,)),
    "submit_run.v1": SubmitRun(
        workspace="default",
        run_id=RUN_ID,
        spec=encode_spec(PIPELINE),
        parameters={"raw": WINE},
        name="nightly",
        tags={"why": "demo"},
        experiment="depths",
        cause=Cause(kind="rerun", of="retrain-41"),
        options=RunOptions(keep_going=True, rerun=("train",), until="pick", pools={"train": "cpu"}, priority=3, max_parallel=4),
        owner="1234",
    ),
    "cancel_run.v1": CancelRun(workspace="default", run_id=RUN_ID, reason="enough"),
    "follow_logs.v1": FollowLogs(run_id=RUN_ID, seconds=30.0),
    "log_chunk.v1": LogChunk(run_id=RUN_ID, step="train", index=(3,), attempt=2, offset=4096, text="epoch 1\n"),
    "drain_runner.v1": DrainRunner(runner="gpu-host-1"),
    "tick.v1": Tick(coordinator="c-1", sent_at=12.5),
}

EVENTS: dict[str, RunEvent | StepEvent] = {
    "run_succeeded.v1": run_event(
        "penstock.run.succeeded",
        RunData(
            run_id=RUN_ID,
            run_name="retrain-42",
            pipeline="retrain",
            spec_digest="sha256:00",
            cause=Cause(kind="event", of="e-1"),
            tags={"why": "demo"},
            outputs={"result": MODEL},
        ),
        workspace="default",
        at=AT,
    ),
    "step_failed.v1": step_event(
        "penstock.step.failed",
        StepData(run_id=RUN_ID, run_name="retrain-42", pipeline="retrain", step="train", index=(3, 0), key="ab" * 32, failure=FAILURE),
        workspace="default",
        at=AT,
    ),
}
