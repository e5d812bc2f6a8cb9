"""The variables of a step: which of its environment a guest may see."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from penstock.contracts.errors import InvalidInput
from penstock.contracts.spec import SecretRef, StepSpec
from penstock.runners.known_secrets import ResolveSecret, variable_of
from penstock.sdk.identity.project import is_foreign

_ALLOWED = (
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CUDA_HOME", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES",
)  # fmt: skip


def guest_environment(threads: int) -> dict[str, str]:
    """The variables that every guest gets: few, so that user code can't observe what is not in its key."""
    seen = {name: value for name, value in os.environ.items() if name in _ALLOWED or name.startswith("LC_")}
    counts = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
    # Of the search path what is installed there; a project's folders are in the snapshot.
    installed = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry and is_foreign(Path(entry))]
    if installed:
        seen["PYTHONPATH"] = os.pathsep.join(installed)
    # Asked whether there is a GPU while a module is imported, torch would start CUDA else, and a process that has may not fork.
    fixed = {"PYTHONHASHSEED": "0", "MPLBACKEND": "Agg", "PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
    return {**seen, **fixed, **dict.fromkeys(counts, str(threads))}


def step_variables(step: StepSpec, resolve: ResolveSecret) -> tuple[dict[str, str], list[str]]:
    """The step's own variables, and those of their values that are secret.

    :raises InvalidInput: a secret is not known here.
    """
    # Its own settings, and secrets that the step did not name, are the runner's.
    values = {name: os.environ[name] for name in step.pass_env if name in os.environ and not name.startswith("PENSTOCK_")}
    secrets: list[str] = []
    for name, value in step.env_vars.items():
        if isinstance(value, SecretRef):
            values[name] = _resolved(value, resolve)
            secrets.append(values[name])
        else:
            values[name] = value
    return values, secrets


def _resolved(reference: SecretRef, resolve: ResolveSecret) -> str:
    text = resolve(reference.secret)
    if text is None:
        raise InvalidInput(
            f"the secret {reference.secret!r} is not known here; where the step runs, set the variable {variable_of(reference.secret)}, "
            "or lay a file of that name into the folder that PENSTOCK_SECRETS_FOLDER names; on your own machine: "
            f"penstock secrets set {reference.secret}"
        )
    if reference.key is None:
        return text
    try:
        fields: Any = json.loads(text)
    except ValueError:
        fields = None
    if not isinstance(fields, Mapping) or reference.key not in fields:
        raise InvalidInput(f"the secret {reference.secret!r} has no key {reference.key!r}; it must be a JSON object that has")
    return str(cast(Mapping[str, object], fields)[reference.key])
