"""The program uv: where it is, what it may see, and what of its words is of use to people."""

import importlib
import os
import re
import shutil

from penstock.contracts.errors import InvalidInput

_CREDENTIALS = re.compile(r"(://)[^/\s@]+@")
_FRAME = re.compile(r"^[\s×╰─▶│├]+")
_SEEN = frozenset({
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "TMPDIR", "TEMP", "TMP", "NETRC", "USERPROFILE", "APPDATA", "LOCALAPPDATA",
    "SYSTEMROOT", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "LD_LIBRARY_PATH", "PKG_CONFIG_PATH", "CUDA_HOME",
    "CC", "CXX", "CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS",
})  # fmt: skip
_SEEN_PREFIXES = ("UV_", "LC_", "SSL_", "XDG_", "KEYRING_", "PYTHON_KEYRING_", "CARGO_", "RUSTUP_", "CMAKE_")
_INDEX_SETTINGS = ("INDEX", "FIND_LINKS", "EXCLUDE_NEWER", "PRERELEASE", "RESOLUTION", "CONSTRAINT", "OVERRIDE", "CONFIG_FILE")


def find_uv() -> str:
    """The path of the program: of the distribution `uv`, else on the search path.

    :raises InvalidInput: it is not installed.
    """
    try:
        return str(importlib.import_module("uv").find_uv_bin())
    except (ImportError, FileNotFoundError):
        found = shutil.which("uv")
    if found is None:
        raise InvalidInput("an environment needs the program uv, which is not installed here; install it: pip install uv")
    return found


def uv_variables() -> dict[str, str]:
    """The variables that uv gets, and with it the code that builds a package from its source: none of a runner's secrets.

    Interpreters are downloaded only where `UV_PYTHON_DOWNLOADS` says so.
    """
    seen = {name: value for name, value in os.environ.items() if name.upper() in _SEEN or name.startswith(_SEEN_PREFIXES)}
    return {"UV_PYTHON_DOWNLOADS": "never", **seen, "NO_COLOR": "1", "UV_NO_PROGRESS": "1"}


def index_settings() -> dict[str, str]:
    """The variables that decide what a resolution finds, without credentials."""
    names = [name for name in sorted(os.environ) if name.startswith("UV_") and any(part in name for part in _INDEX_SETTINGS)]
    secret = ("USERNAME", "PASSWORD")
    return {name: without_credentials(os.environ[name]) for name in names if not name.endswith(secret)}


def without_credentials(text: str) -> str:
    """`text` without the users' names and passwords in its addresses."""
    return _CREDENTIALS.sub(r"\1***@", text)


def complaint(text: str) -> str:
    """What uv said was wrong, in one line, out of all that it printed."""
    lines = without_credentials(text).splitlines()
    for mark in ("╰─▶", "├─▶", "error:", "×"):
        for number, line in enumerate(lines):
            if mark in line:
                return _paragraph([line.partition(mark)[2], *lines[number + 1 :]])
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


def _paragraph(lines: list[str]) -> str:
    said: list[str] = []
    for line in lines:
        bare = _FRAME.sub("", line).strip()
        if not bare or bare.startswith("hint:"):
            break
        said.append(bare)
    return " ".join(said)
