"""RabbitMQ 4 beside the RabbitMQ 3 that Debian 12 installs: Debian 13's packages in a root file system of their own, run by chroot.

`python -m tests.servers.rabbitmq_4` builds the root file system, once, as root: half a minute and 370 MB in the cache folder.
"""

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

from typing_extensions import override

from tests.servers import keeper
from tests.servers.process import ServerNotStarted
from tests.servers.rabbitmq import RabbitServer

BUILD_COMMAND = "python -m tests.servers.rabbitmq_4"
CACHE = Path(os.environ.get("PENSTOCK_TEST_CACHE") or Path.home() / ".cache" / "penstock-tests")
ROOT = CACHE / "rabbitmq-4"
IS_ASKED_FOR = os.environ.get("PENSTOCK_TEST_RABBITMQ_4") == "1"
"""Read at import, for tests hide such variables from each other."""

_MIRROR = os.environ.get("PENSTOCK_TEST_DEBIAN_MIRROR", "http://deb.debian.org/debian")
_INSIDE = "/mnt"
# Its mounts belong to the process and go with it.
_ENTER = """set -e
root=$1 folder=$2; shift 2
mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/tmp"
mount --bind "$folder" "$root/mnt"
exec chroot "$root" "$@"
"""


class RabbitServer4(RabbitServer):
    program = f"RabbitMQ 4's root file system ({BUILD_COMMAND}, as root)"

    @override
    def command(self) -> list[str]:
        return self._entering(super().command())

    @override
    def control(self) -> list[str]:
        return self._entering(super().control())

    @override
    def environment(self) -> dict[str, str]:
        inside = {name: value.replace(str(self.folder), _INSIDE) for name, value in super().environment().items()}
        return inside | {keeper.MARKER: str(self.folder), "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}

    def _entering(self, command: list[str]) -> list[str]:
        if not is_built():
            raise ServerNotStarted(f"there is no {ROOT}. These tests need {self.program}")
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c", _ENTER, "sh", str(ROOT), str(self.folder), *command]


def is_built() -> bool:
    return ROOT.is_dir()


def why_not() -> str | None:
    """Why tests can't run a RabbitMQ 4 here; None where they can."""
    if os.geteuid() != 0:
        return "RabbitMQ 4 runs by chroot, which needs root"
    if not is_built() and not IS_ASKED_FOR:
        return f"RabbitMQ 4 is not built: `{BUILD_COMMAND}`, or PENSTOCK_TEST_RABBITMQ_4=1 to have tests build it"
    return None


def build() -> None:
    """Does nothing if it is there. Of several callers one builds and the others wait."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "rabbitmq-4.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_built():
            _bootstrap(CACHE / "rabbitmq-4.unfinished")


def _bootstrap(target: Path) -> None:
    if shutil.which("debootstrap") is None:
        raise ServerNotStarted("debootstrap is not installed: apt-get install debootstrap")
    if target.exists():
        shutil.rmtree(target)
    command = ["debootstrap", "--variant=minbase", "--include=rabbitmq-server", "trixie", str(target), _MIRROR]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ServerNotStarted(f"{' '.join(command)} failed:\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    (target / "etc/hosts").write_text("127.0.0.1 localhost\n")
    for unneeded in ("var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale"):
        shutil.rmtree(target / unneeded)
    target.rename(ROOT)


if __name__ == "__main__":
    build()
    sys.stdout.write(f"{ROOT}\n")
