"""The pipeline spec: what a pipeline is, in plain data. Its identity is the digest of its canonical encoding.

A spec is a list of nodes in topological order. A node is a step, an `each` (opens a fan-out) or a `collect` (closes one). Where a
value comes from is a `Binding`. A node's `scope` names the `each` nodes around it, outermost first: a node runs once for
every item of its scope; two nodes of the same scope are aligned item by item.
"""

import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator
from pydantic_core import from_json

from penstock.contracts.artifacts import ArtifactRef, Value
from penstock.contracts.bindings import (
    RESULT,
    Binding,
    FromItem,
    FromNode,
    FromParameter,
    walk,
)
from penstock.contracts.encoding import canonical, digest_bytes, fields_of
from penstock.contracts.errors import ContractError, UnknownVersion
from penstock.contracts.numbers import Count, Seconds
from penstock.contracts.targets import ARTIFACT, QUESTION, ApprovalTarget, RegisterTarget

SPEC_VERSION = 1


_NAME_PART = r"[^./\\\x00-\x1f\x7f][^/\\\x00-\x1f\x7f]{0,99}"


def _checked_node_name(name: str) -> str:
    if re.fullmatch(f"{_NAME_PART}(/{_NAME_PART})*", name):
        return name
    raise ValueError("a name has no backslash and no control character; between two `/` it has 1 to 100 characters and no '.' at first")


# It becomes a folder of the logs and a part of addresses (`train/3`, `north/train/3`).
NodeName = Annotated[str, AfterValidator(_checked_node_name)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)


class ParameterSpec(_Model):
    """A parameter of a pipeline.

    `type` is the annotation as people write it; `read` how text from a command line becomes a value: `text` raw, `file` and
    `directory` by path, `json` else. `schema_` is the JSON Schema of a `json` parameter where there is one.
    """

    name: str
    type: str = "Any"
    read: Literal["text", "json", "file", "directory", "object"] = "json"
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    required: bool = True
    default: Value | None = None
    doc: str = ""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True, populate_by_name=True, serialize_by_alias=True)


class OutputSpec(_Model):
    """An output of a step. `path` is where a command writes it; `type` is the annotation as people write it."""

    name: str = RESULT
    type: str = "Any"
    kind: Literal["value", "file", "directory", "list"] = "value"
    path: str | None = None


class FunctionTarget(_Model):
    """A function in a module of the snapshot."""

    module: str
    function: str


class CommandArgument(_Model):
    """One argument of a command: text, an input's path or value, an output's path, or such parts joined."""

    text: str | None = None
    input: str | None = None
    output: str | None = None
    parts: tuple["CommandArgument", ...] = ()


class CommandTarget(_Model):
    """A program: its argument list, never a shell string. `workdir` is its folder inside the snapshot; None is an empty one."""

    command: tuple[CommandArgument, ...]
    workdir: str | None = None


def _target_shape(value: Any) -> str:
    keys = fields_of(value)
    return next(
        (shape for shape, key in {"command": "command", "approval": "approvers", "register": "name"}.items() if key in keys), "function"
    )


Target = Annotated[
    Annotated[FunctionTarget, Tag("function")]
    | Annotated[CommandTarget, Tag("command")]
    | Annotated[ApprovalTarget, Tag("approval")]
    | Annotated[RegisterTarget, Tag("register")],
    Discriminator(_target_shape),
]


class Identity(_Model):
    """A digest and what it was made of: each component by name, so that a difference can be named."""

    digest: str
    components: dict[str, str] = {}
    notes: tuple[str, ...] = ()
    """What people should know of it: where analysis had to widen, and why."""


class RetrySpec(_Model):
    """`limit` more attempts after a failure whose kind is in `on` (empty: any), after a delay that grows by `factor`."""

    limit: Count = 0
    delay_seconds: Seconds = 1.0
    factor: Annotated[float, Field(ge=0, le=1000)] = 2.0
    max_delay_seconds: Seconds = 300.0
    jitter: Annotated[float, Field(ge=0, le=1)] = 0.2
    """A delay is drawn evenly from (1 ± jitter) times itself."""
    on: tuple[str, ...] = ()


class ResourcesSpec(_Model):
    cpu: float = 1.0
    memory_bytes: int | None = None
    gpu: int = 0


class SecretRef(_Model):
    secret: str
    key: str | None = None


class SoftwareSpec(_Model):
    """What a declared environment consists of: locked Python packages, or a container image.

    `lock` is text as `uv pip compile --universal --generate-hashes` writes it, Penstock's own needs among it; `python` the minor
    version of the interpreter, as `3.12`. An `image` is best named by digest, and runs under the isolation `docker` only.
    """

    lock: ArtifactRef | None = None
    python: str | None = None
    image: str | None = None
    network: Literal["none", "bridge"] = "none"
    """What a container of the image may reach."""


class StepSpec(_Model):
    """A step: what to run, on what, where, and by which policies."""

    name: NodeName
    run: Target
    inputs: dict[str, Binding] = {}
    types: dict[str, str] = {}
    """Declared types by parameter, as people write them."""
    accepts_none: tuple[str, ...] = ()
    """Parameters that take None, and so a skipped input."""
    outputs: tuple[OutputSpec, ...] = ()
    scope: tuple[str, ...] = ()
    when: tuple[Binding, ...] = ()
    after: tuple[str, ...] = ()

    code: Identity
    environment: Identity
    software: SoftwareSpec | None = None
    """What a runner builds before the step; None: the software that the runner itself has."""
    files: dict[str, str] = {}
    """Declared files: path in the snapshot to digest."""
    env_vars: dict[str, str | SecretRef] = {}
    pass_env: tuple[str, ...] = ()
    version: str | None = None
    cache: bool = True
    cache_seconds: float | None = None

    pool: str = "cpu"
    resources: ResourcesSpec = ResourcesSpec()
    retries: RetrySpec = RetrySpec()
    timeout_seconds: float | None = None
    isolation: Literal["fork", "spawn", "reuse", "docker"] = "fork"
    idempotent: bool = True
    allow_failure: bool = False
    doc: str = ""
    snapshot: ArtifactRef | None = None
    """Of a component, which brings its own code; None: the pipeline's."""

    @model_validator(mode="after")
    def _has_its_input(self) -> Self:
        needed = QUESTION if isinstance(self.run, ApprovalTarget) else ARTIFACT if isinstance(self.run, RegisterTarget) else None
        if needed is not None and needed not in self.inputs:
            raise ValueError(f"{self.name!r} has no input {needed!r}")
        return self

    @property
    def is_dispatched(self) -> bool:
        """Whether a runner executes it; else the coordinator itself does what is to be done."""
        return not isinstance(self.run, ApprovalTarget | RegisterTarget)


class EachSpec(_Model):
    """Opens a fan-out: once for every item of `each[0]`; several lists are zipped; `batch` items at a time."""

    name: NodeName
    each: Annotated[tuple[Binding, ...], Field(min_length=1)]
    batch: Annotated[Count, Field(ge=1)] | None = None
    scope: tuple[str, ...] = ()
    when: tuple[Binding, ...] = ()
    after: tuple[str, ...] = ()


class CollectSpec(_Model):
    """Closes the fan-out `over`: a list of `collect` for every item, in order.

    `missing` says what a failed or skipped item does: `fail`, `drop` or become `none`; at least the share `at_least` must be there.
    `until`: the first item for which it holds cancels the others, which then count as dropped.
    """

    name: NodeName
    collect: Binding
    over: str
    missing: Literal["fail", "drop", "none"] = "fail"
    at_least: float = 1.0
    until: Binding | None = None
    scope: tuple[str, ...] = ()
    when: tuple[Binding, ...] = ()
    after: tuple[str, ...] = ()


def _node_shape(value: Any) -> str:
    keys = fields_of(value)
    return "each" if "each" in keys else "collect" if "collect" in keys else "run"


Node = Annotated[
    Annotated[StepSpec, Tag("run")] | Annotated[EachSpec, Tag("each")] | Annotated[CollectSpec, Tag("collect")],
    Discriminator(_node_shape),
]


class PipelineSpec(_Model):
    """A pipeline. `outputs` maps its result's names (`result` where it has one) to bindings in the outermost scope.

    `snapshot` is the directory artifact that guests import from. Hooks are steps of one `run` parameter, a run summary.
    """

    spec: int = SPEC_VERSION
    name: str
    parameters: tuple[ParameterSpec, ...] = ()
    nodes: tuple[Node, ...] = ()
    outputs: dict[str, Binding] = {}
    output_types: dict[str, str] = {}
    hooks: dict[Literal["on_success", "on_failure", "on_exit"], StepSpec] = {}
    snapshot: ArtifactRef | None = None
    doc: str = ""

    @model_validator(mode="after")
    def _is_a_graph(self) -> Self:
        seen: dict[str, Node] = {}
        for node in self.nodes:
            if node.name in seen:
                raise ValueError(f"two nodes are named {node.name!r}")
            for name in node_sources(node):
                if name not in seen:
                    raise ValueError(
                        f"node {node.name!r} needs {name!r}, which is not among the nodes before it (a cycle, or a wrong name)"
                    )
            self._check_parameters(f"node {node.name!r}", node_bindings(node))
            _check_fan_outs(node, seen)
            _check_reach(node, seen)
            seen[node.name] = node
        for event, hook in self.hooks.items():
            if node_sources(hook):
                raise ValueError(f"the hook {event} needs {node_sources(hook)[0]!r}; a hook gets the run summary only")
            if not hook.is_dispatched:
                raise ValueError(f"the hook {event} is no function and no command")
        for name, binding in self.outputs.items():
            for source in binding_sources(binding):
                if source not in seen:
                    raise ValueError(f"the output {name!r} needs {source!r}, which no node is called")
            self._check_parameters(f"the output {name!r}", [binding])
        return self

    def _check_parameters(self, who: str, bindings: Iterable[Binding]) -> None:
        known = {parameter.name for parameter in self.parameters}
        for part in (part for binding in bindings for part in walk(binding)):
            if isinstance(part, FromParameter) and part.parameter not in known:
                raise ValueError(f"{who} needs the parameter {part.parameter!r}, which the pipeline does not have")

    @property
    def steps(self) -> list[StepSpec]:
        """The steps in topological order."""
        return [node for node in self.nodes if isinstance(node, StepSpec)]


def node_bindings(node: Node) -> list[Binding]:
    """Every binding that a node reads: inputs first, then conditions."""
    match node:
        case StepSpec():
            own = list(node.inputs.values())
        case EachSpec():
            own = list(node.each)
        case CollectSpec():
            own = [node.collect] if node.until is None else [node.collect, node.until]
    return own + list(node.when)


def node_sources(node: Node) -> list[str]:
    """The names of the nodes that must come before `node`, without repeats: sources, `after`, its scope."""
    names = list(node.scope) + list(node.after)
    if isinstance(node, CollectSpec):
        names.append(node.over)
    for binding in node_bindings(node):
        names += binding_sources(binding)
    return list(dict.fromkeys(names))


def binding_sources(binding: Binding) -> list[str]:
    """The names of the nodes that `binding` takes values from."""
    names: list[str] = []
    for part in walk(binding):
        if isinstance(part, FromNode):
            names.append(part.node)
        elif isinstance(part, FromItem):
            names.append(part.item)
    return names


def _check_fan_outs(node: Node, before: dict[str, Node]) -> None:
    """What a node names as a fan-out is one; it takes items only of fan-outs that are around it.

    :raises ValueError: otherwise.
    """
    named = _around(node)
    for depth, name in enumerate(named):
        each = before[name]
        if not isinstance(each, EachSpec):
            raise ValueError(f"node {node.name!r} is said to be inside of {name!r}, which opens no fan-out")  # noqa: TRY004 - pydantic's
        if each.scope != named[:depth]:
            raise ValueError(f"node {node.name!r} is inside of {name!r}, but not of the same fan-outs around it")
    for part in (part for binding in node_bindings(node) for part in walk(binding)):
        if isinstance(part, FromItem):
            _check_item(node, part, before)


def _check_item(node: Node, part: FromItem, before: dict[str, Node]) -> None:
    if part.item not in _around(node):
        raise ValueError(f"node {node.name!r} takes the current item of {part.item!r}, which is not around it")
    each = before[part.item]
    zipped = len(each.each) if isinstance(each, EachSpec) else 0
    if part.field is not None and not 0 <= part.field < zipped:
        raise ValueError(f"node {node.name!r} takes list {part.field} of {part.item!r}, which zips {zipped}")


def _around(node: Node) -> tuple[str, ...]:
    """The fan-outs whose items a node sees, outermost first: a collect also that of the one that it closes."""
    return (*node.scope, node.over) if isinstance(node, CollectSpec) else node.scope


def _check_reach(node: Node, before: dict[str, Node]) -> None:
    """A node takes values only of nodes in the fan-outs around it; a collect starts outside of the one that it closes.

    :raises ValueError: otherwise.
    """
    inner = [node.collect, node.until] if isinstance(node, CollectSpec) else node_bindings(node)
    reached = [(name, _around(node)) for binding in inner if binding is not None for name in _nodes_in(binding)]
    reached += [(name, node.scope) for binding in node.when for name in _nodes_in(binding)]
    reached += [(name, node.scope) for name in node.after]
    for name, around in reached:
        scope = before[name].scope
        if scope != around[: len(scope)]:
            raise ValueError(f"node {node.name!r} takes something of {name!r}, which is inside of another fan-out: collect it first")


def _nodes_in(binding: Binding) -> list[str]:
    return [part.node for part in walk(binding) if isinstance(part, FromNode)]


def encode_spec(spec: PipelineSpec) -> bytes:
    """The canonical bytes of a spec; fields at their default are left out."""
    return canonical({**spec.model_dump(mode="json", exclude_defaults=True), "spec": spec.spec})


def spec_digest(spec: PipelineSpec) -> str:
    """The pipeline's identity."""
    return digest_bytes(encode_spec(spec))


def decode_spec(data: bytes | dict[str, Any]) -> PipelineSpec:
    """The spec in canonical (or any JSON) bytes, or in plain data.

    :raises UnknownVersion: written for another version of specs.
    :raises ContractError: anything else that is wrong with it, naming the place.
    """
    try:
        spec = PipelineSpec.model_validate_json(data) if isinstance(data, bytes) else PipelineSpec.model_validate(data)
    except ValidationError as error:
        _check_version(_version_in(data))
        first = error.errors()[0]
        place = re.sub(r"\b(function|approval|register|run)\.", "", ".".join(str(part) for part in first["loc"])) or "the spec"
        raise ContractError(f"not a pipeline spec: {place}: {first['msg'].removeprefix('Value error, ')}") from error
    _check_version(spec.spec)
    return spec


def _check_version(version: int) -> None:
    if version != SPEC_VERSION:
        raise UnknownVersion(f"this pipeline spec has version {version}; this Penstock reads version {SPEC_VERSION}")


def _version_in(data: bytes | dict[str, Any]) -> int:
    """The version that a malformed spec says it has; ours, where it says none."""
    try:
        plain = from_json(data) if isinstance(data, bytes) else data
    except ValueError:
        return SPEC_VERSION
    match plain:
        case {"spec": int(version)}:
            return version
        case _:
            return SPEC_VERSION
