"""From a declared environment to a lock: once for the same inputs, kept in the state folder. uv runs only where no lock is kept yet."""

import contextlib
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from penstock.contracts.encoding import digest_bytes, digest_of
from penstock.contracts.errors import InvalidInput
from penstock.sdk.environments.declared import Declared, refuse_credentials
from penstock.sdk.environments.uv_program import complaint, find_uv, index_settings, uv_variables

GUEST_REQUIREMENTS = ("msgpack>=1.1", "pydantic>=2.11", "typing-extensions>=4.12")
"""What Penstock itself needs where a step runs. It is resolved with the user's packages, so that both fit."""

_FORMAT = 1
_LOCAL = re.compile(r"^\s*(-e\s.*|\.{0,2}/.*|[^#\s]+ @ file:.*)$", re.MULTILINE)
_REPOSITORY = re.compile(r"^[^#\s]+ @ (?:git|hg|svn|bzr)\+[^\s;]+", re.MULTILINE)
_PACKAGE = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?\s*(==|@)\s*([^\s;\\]+)([^\\\n]*)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Lock:
    """`packages` maps each package to its version, or to several with the markers that choose."""

    path: Path
    digest: str
    python: str
    packages: dict[str, str]


def resolve(declared: Declared, home: Path, before: Callable[[], None]) -> Lock:
    """The lock of an environment of packages. `home` is the state folder; `before` is called where uv has to be asked.

    :raises InvalidInput: a file can't be read, no versions fit together, or uv is not installed.
    """
    python = declared.python or f"{sys.version_info.major}.{sys.version_info.minor}"
    inputs = {
        "format": str(_FORMAT),
        "kind": declared.kind,
        "extras": list(declared.extras),
        "texts": declared.texts(),
        "python": python,
        "guest": list(GUEST_REQUIREMENTS),
        "settings": index_settings(),
    }
    place = home / "environments" / "locks" / f"{digest_of(inputs).partition(':')[2]}.txt"
    if not place.exists():
        before()
        _keep(place, _resolved(declared, python, place.parent))
    data = place.read_bytes()
    return Lock(place, digest_bytes(data), python, _packages(data.decode()))


def _keep(place: Path, text: str) -> None:
    """Of several that resolve at the same time the first one counts for all."""
    staging = place.with_suffix(f".{secrets.token_hex(6)}.part")
    staging.write_bytes(text.encode())
    with contextlib.suppress(FileExistsError):
        os.link(staging, place)
    staging.unlink()


def _resolved(declared: Declared, python: str, folder: Path) -> str:
    # Only their owner looks into state folders.
    folder.parent.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.mkdir(parents=True, exist_ok=True)
    compiled = ["pip", "compile", "--universal", "--generate-hashes", "--no-header", "--no-annotate", "--python-version", python, "-q"]
    where, named, more = folder, [], "\n".join(GUEST_REQUIREMENTS)
    match declared.kind:
        case "packages":
            more = "\n".join([*declared.packages, more])
        case "requirements":
            where, named = Path(declared.source).parent, [declared.source]
        case _:
            where = Path(declared.source)
            if (where / "uv.lock").exists():
                more = f"{_exported(declared, where)}\n{more}"
            else:
                named = [str(where / "pyproject.toml"), *(word for extra in declared.extras for word in ("--extra", extra))]
    return checked_lock(_asked([*compiled, *named, "-"], where, more))


def _exported(declared: Declared, folder: Path) -> str:
    """The project's locked packages, without what lies in folders: a project's code is in the snapshot, Penstock comes with the runner."""
    extras = [word for extra in declared.extras for word in ("--extra", extra)]
    left_out = ["--no-dev", "--no-emit-project", "--no-emit-workspace", "--no-emit-package", "penstock"]
    return _LOCAL.sub("", _asked(["export", "--frozen", "--no-header", "--no-annotate", "-q", *left_out, *extras], folder, ""))


def _asked(words: list[str], folder: Path, given: str) -> str:
    try:
        done = subprocess.run(
            [find_uv(), *words], cwd=folder, env=uv_variables(), input=given, capture_output=True, encoding="utf-8", check=False
        )
    except OSError as error:
        raise InvalidInput(f"uv can't be started: {error}") from error
    if done.returncode:
        raise InvalidInput(f"the environment can't be resolved: {complaint(done.stderr)}")
    return done.stdout


def checked_lock(lock: str) -> str:
    """A lock that uv wrote, if it holds for every machine and for everybody's eyes.

    :raises InvalidInput: it does not.
    """
    refuse_credentials("the lock", lock)
    local = _LOCAL.search(lock)
    if local is not None:
        raise InvalidInput(
            f"the environment can't hold {local[0].strip()}, which lies on this machine only; "
            "import it from the project (its modules travel with the code), or publish it to an index"
        )
    repository = _REPOSITORY.search(lock)
    if repository is not None:
        raise InvalidInput(
            f"the environment can't hold {repository[0]}, for what a repository gives has no hash; "
            "name an archive of that commit by its address, or publish it to an index"
        )
    return lock


def _packages(lock: str) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    for name, relation, version, rest in _PACKAGE.findall(lock):
        marker = rest.partition(";")[2].strip()
        text = version if relation == "==" else f"@ {version}"
        found.setdefault(name, []).append(f"{text} if {marker}" if marker else text)
    return {name: ", ".join(sorted(versions)) for name, versions in sorted(found.items())}
