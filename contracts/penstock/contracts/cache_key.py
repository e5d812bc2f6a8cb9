"""The cache key of a step run: a digest of named components of everything that user code can observe.

Pool, resources, retries, timeout and the names of pipeline, step and artifacts are not among them.
"""

import hashlib
from collections.abc import Mapping

from penstock.contracts.artifacts import Value, content_digest
from penstock.contracts.encoding import digest_of
from penstock.contracts.spec import CommandTarget, FunctionTarget, SecretRef, StepSpec
from penstock.contracts.targets import ApprovalTarget, RegisterTarget

KEY_VERSION = 1


def static_components(step: StepSpec) -> dict[str, str]:
    """What a step's key holds before its inputs: component name to digest or plain text."""
    outputs = [[output.name, output.type, output.kind, output.path] for output in step.outputs]
    components = {
        "key version": str(KEY_VERSION),
        "code": step.code.digest,
        "environment": step.environment.digest,
        "types": digest_of([sorted(step.types.items()), outputs]),
    }
    match step.run:
        case FunctionTarget():
            # Two functions of one file can have equal closures but differ in name only: then they are the same code.
            pass
        case CommandTarget():
            components["command"] = digest_of(step.run.model_dump(mode="json", exclude_defaults=True))
        case ApprovalTarget():
            components["approval"] = digest_of(step.run.model_dump(mode="json", exclude_defaults=True))
        case RegisterTarget():
            components["register"] = digest_of(step.run.model_dump(mode="json", exclude_defaults=True))
    components |= {f"file {path}": digest for path, digest in step.files.items()}
    for name, value in step.env_vars.items():
        # A secret counts by name: its value never leaves the runner.
        said = {"secret": value.secret, "key": value.key} if isinstance(value, SecretRef) else value
        components[f"variable {name}"] = digest_of(said)
    if step.version is not None:
        components["version"] = step.version
    return components


def static_digest(step: StepSpec) -> str:
    """One digest of `static_components`, computed once a step."""
    return digest_of(static_components(step))


def input_digests(inputs: Mapping[str, Value]) -> dict[str, str]:
    """The content digest of each input by parameter name."""
    return {name: content_digest(value) for name, value in inputs.items()}


def cache_key(static: str, inputs: Mapping[str, str]) -> str:
    """The key, 64 hex characters, of `static_digest` and `input_digests`."""
    lines = [static, *(f"{name}={inputs[name]}" for name in sorted(inputs))]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
