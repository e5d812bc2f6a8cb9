"""A private Docker engine for tests: its own data, sockets and control groups in a temporary folder, without networks of its own."""

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path

import psutil
from typing_extensions import override

from tests.servers.docker_image import python_archive
from tests.servers.keeper import processes_of
from tests.servers.process import Server, ServerNotStarted, wait_until

IMAGE = "penstock-test:python"
"""This machine's own Python and a shell, nothing else."""
_CONTROL_GROUPS = Path("/sys/fs/cgroup")
_OPTIONAL = "PENSTOCK_TEST_WITHOUT_DOCKER"
# Read before a test has variables of its own only.
IS_OPTIONAL = os.environ.get(_OPTIONAL) == "1"


class DockerEngine(Server):
    """`dockerd` with its own containerd, as root. Its mounts are its own too, and so end with it, however that ends."""

    program = "dockerd (apt-get install docker.io)"

    def __init__(self) -> None:
        super().__init__("docker")
        self._control_group = self.folder.name

    @property
    def url(self) -> str:
        return f"unix://{self.folder}/docker.sock"

    @override
    def command(self) -> list[str]:
        if os.geteuid() != 0:
            raise ServerNotStarted(f"a private dockerd needs root; run the tests as root, or leave these out with {_OPTIONAL}=1")
        if shutil.which("dockerd") is None:
            raise ServerNotStarted(f"dockerd is not installed. These tests need {self.program}")
        # Not the machine's own.
        settings = self.folder / "daemon.json"
        settings.write_text("{}")
        return [
            "unshare", "--mount", "dockerd",
            "--data-root", f"{self.folder}/data", "--exec-root", f"{self.folder}/exec", "--pidfile", f"{self.folder}/pid",
            "--host", self.url, "--iptables=false", "--ip6tables=false", "--bridge=none", "--config-file", str(settings),
            "--cgroup-parent", f"/{self._control_group}", "--log-level", "warn",
        ]  # fmt: skip

    @override
    def is_ready(self) -> bool:
        return (self.folder / "docker.sock").exists() and self.docker("version").returncode == 0

    @override
    def kill(self) -> None:
        """As if the machine had lost power: the engine and its containers are gone at once."""
        super().kill()
        # Its containerd and the shims of containers have sessions of their own.
        for process in processes_of(str(self.folder)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        # Nobody may have reaped it yet, and then the next engine would wait for it.
        (self.folder / "exec" / "containerd" / "containerd.pid").unlink(missing_ok=True)
        self._kill_containers()

    @override
    def close(self) -> None:
        # Ending in order takes seconds, and nothing of it is kept.
        if self.is_running:
            self.kill()
        self._kill_containers()
        super().close()
        for root in (_CONTROL_GROUPS, *_CONTROL_GROUPS.iterdir()):
            for below, _, _ in os.walk(root / self._control_group, topdown=False):
                with contextlib.suppress(OSError):
                    Path(below).rmdir()

    def docker(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """The command line's answer."""
        docker = shutil.which("docker")
        if docker is None:
            raise ServerNotStarted(f"docker is not installed. These tests need {self.program}")
        return subprocess.run([docker, "-H", self.url, *arguments], capture_output=True, text=True, check=False, timeout=120)

    def make_image(self) -> None:
        """Makes `IMAGE`."""
        made = self.docker("import", str(python_archive()), IMAGE)
        if made.returncode:
            raise ServerNotStarted(f"the image for tests can't be made: {made.stderr}")

    def _kill_containers(self) -> None:
        for process in self._contained():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        wait_until(lambda: not self._contained(), seconds=20, what="the containers have ended")

    def _contained(self) -> list[psutil.Process]:
        """The processes in containers, by their control groups."""
        found: list[psutil.Process] = []
        for process in psutil.process_iter():
            with contextlib.suppress(OSError):
                if self._control_group in Path(f"/proc/{process.pid}/cgroup").read_text():
                    found.append(process)
        return found
