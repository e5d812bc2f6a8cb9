"""From a drawing to a trace: code and environment of every step, and the files of the snapshot."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from penstock.contracts.encoding import digest_of
from penstock.contracts.errors import GraphError
from penstock.contracts.spec import FunctionTarget, Identity, Node, PipelineSpec, StepSpec
from penstock.sdk.drawing.calls import Call
from penstock.sdk.drawing.components import Fetched
from penstock.sdk.drawing.drawing import Drawing
from penstock.sdk.drawing.traced import Traced
from penstock.sdk.drawing.undispatched import Undispatched
from penstock.sdk.environments.declared import Declared
from penstock.sdk.identity.closure import Closure, closure_of
from penstock.sdk.identity.environment import environment_of
from penstock.sdk.identity.loaded_modules import project_modules
from penstock.sdk.identity.snapshot import declared_files_of, file_digests, script_identity, snapshot_of
from penstock.sdk.runs.state_home import project_folder
from penstock.sdk.scripts import Program
from penstock.sdk.steps import Step
from penstock.sdk.types import Environment
from penstock.transport.directories import file_digest


@dataclass(slots=True)
class _Trace:
    """What is gathered while the steps of a drawing are gone through. Closures are computed once a function."""

    closures: dict[Any, Closure] = field(default_factory=dict[Any, Closure])
    environments: dict[frozenset[str], Identity] = field(default_factory=dict[frozenset[str], Identity])
    declared: dict[str, Path] = field(default_factory=dict[str, Path])
    scripts: dict[str, Path] = field(default_factory=dict[str, Path])
    software: dict[str, Declared] = field(default_factory=dict[str, Declared])
    notes: list[str] = field(default_factory=list[str])


def traced(drawing: Drawing, spec: PipelineSpec, function: Callable[..., Any] | None) -> Traced:
    """The trace of a drawing, made by a pipeline's `function` or read from a document; its spec has no identities yet.

    :raises GraphError: a step's code can't be found where a runner could import it.
    """
    trace = _Trace()
    nodes: list[Node] = [
        _identified(trace, node, drawing.makers[node.name], node.name) if isinstance(node, StepSpec) else node for node in spec.nodes
    ]
    hooks = {kind: _identified(trace, node, drawing.makers[f"{kind} {node.name}"], f"hook {kind}") for kind, node in spec.hooks.items()}
    files = {**snapshot_of(trace.closures.values(), trace.declared), **trace.scripts}
    read = {str(path): file_digest(path) for path in {*files.values(), *(project_modules(function) if function else ())}}
    notes = [*drawing.notes, *trace.notes, *(note for closure in trace.closures.values() for note in closure.notes)]
    return Traced(
        spec=spec.model_copy(update={"nodes": tuple(nodes), "hooks": hooks}),
        files={inside: str(path) for inside, path in sorted(files.items())},
        blobs=drawing.constants.blobs,
        sources=dict(sorted({**read, **drawing.constants.sources}.items())),
        notes=tuple(dict.fromkeys(notes)),
        software=trace.software,
        components=tuple(sorted(drawing.components)),
    )


def _identified(trace: _Trace, node: StepSpec, call: Call, key: str) -> StepSpec:
    maker = call.maker
    if isinstance(maker, Undispatched):
        return node
    if (declared := call.options.get("environment")) is not None:
        trace.software[key] = Declared.of(declared, _folder_of(maker))
    match maker:
        case Step():
            return _function_step(trace, node, call, cast(Step[..., Any], maker))
        case Program():
            return _program_step(trace, node, call, maker)
        case Fetched():
            # It was published with the identity of its code, and brings that.
            return node
        case _:
            raise GraphError(f"{node.name!r} was made by a {type(maker).__name__}, which is no step")


def _function_step(trace: _Trace, node: StepSpec, call: Call, step: Step[..., Any]) -> StepSpec:
    if "<locals>" in step.fn.__qualname__:
        raise GraphError(
            f"the step {node.name!r} is defined inside a function ({step.fn.__qualname__}), where a runner can't import it; "
            "move it to the top of its module, or run with .options(inline=True)"
        )
    patterns = tuple(call.options.get("files", ()))
    if step.fn not in trace.closures:
        trace.closures[step.fn] = closure_of(step.fn, declared_files=patterns)
    closure = trace.closures[step.fn]
    declared = declared_files_of(closure.modules[closure.module], patterns, module=closure.module) if patterns else {}
    trace.declared |= declared
    _warn_of_variables(trace, node, closure)
    return node.model_copy(
        update={
            "run": FunctionTarget(module=closure.module, function=closure.function),
            "code": closure.identity,
            "environment": _environment(trace, call.options.get("environment"), closure.imports),
            "files": file_digests(declared),
        }
    )


def _warn_of_variables(trace: _Trace, node: StepSpec, closure: Closure) -> None:
    for name, place in closure.environ.items():
        if name not in node.env_vars and name not in node.pass_env:
            trace.notes.append(
                f"{node.name} reads the variable {name} ({place}), which it does not declare: its value is not in the cache key; "
                f'declare it with env_vars={{"{name}": ...}} or pass_env=["{name}"]'
            )


def _program_step(trace: _Trace, node: StepSpec, call: Call, program: Program) -> StepSpec:
    files = {f"{program.folder}/{path}" if program.folder else path: file for path, file in program.files.items()}
    for path, file in files.items():
        if trace.scripts.setdefault(path, file) != file:
            raise GraphError(f"{trace.scripts[path]} and {file} would both be {path} in the snapshot; rename one of the folders")
    return node.model_copy(
        update={
            "code": script_identity(program.files),
            "environment": _environment(trace, call.options.get("environment"), program.imports),
        }
    )


def _folder_of(maker: object) -> Path:
    """Where the relative paths of a step's environment start."""
    if isinstance(maker, Step):
        return project_folder(Path(cast(Step[..., Any], maker).fn.__code__.co_filename))
    source = maker.source if isinstance(maker, Program) else None
    return project_folder(source or Path.cwd())


def _environment(trace: _Trace, declared: Environment | None, imports: frozenset[str]) -> Identity:
    if declared is not None:
        # What it consists of is found out when the pipeline is submitted, without importing anything.
        components = {"declared": repr(declared)}
        return Identity(digest=digest_of(components), components=components)
    if imports not in trace.environments:
        trace.environments[imports] = environment_of(imports)
    return trace.environments[imports]
