"""Services of the compose file as containers of a private engine, which has no networks: they share the network of the host."""

import re
from pathlib import Path
from typing import Any

import yaml

from tests.servers.docker import DockerEngine
from tests.servers.process import wait_until

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "deploy" / "compose"


def compose_file() -> dict[str, Any]:
    """As where nobody sets a variable."""
    text = (COMPOSE / "compose.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text))  # type: ignore[no-any-return]  # of YAML


class Containers:
    """`variables` go before those of the file: addresses differ here."""

    def __init__(self, engine: DockerEngine, image: str, secrets: Path, variables: dict[str, str]) -> None:
        self._engine, self._image, self._secrets, self._variables = engine, image, secrets, variables
        self._services = compose_file()["services"]
        self._started: list[str] = []

    def job(self, service: str) -> None:
        """Runs it to its end, which must be a good one."""
        own: list[str] = self._services[service].get("entrypoint", [])
        command: list[str] = [*own[1:], *self._services[service]["command"]]
        entrypoint = ["--entrypoint", own[0]] if own else []
        done = self._engine.docker("run", "--rm", *entrypoint, *self._options(service, {}), self._image, *command)
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self, service: str, name: str, *command: str, **variables: str) -> None:
        """:param command: in place of the file's"""
        options = ["--detach", "--name", name, "--health-interval", "2s", *self._options(service, variables)]
        done = self._engine.docker("run", *options, self._image, *(command or self._services[service]["command"]))
        assert done.returncode == 0, done.stderr
        self._started.append(name)

    def wait_healthy(self) -> None:
        """By the health check of the image."""
        for name in self._started:
            wait_until(lambda name=name: self._state(name) in ("healthy", "exited"), seconds=240, what=f"{name} is healthy")  # type: ignore[misc]  # of the loop
            assert self._state(name) == "healthy", self.log(name)

    def stop(self, name: str) -> int:
        """By SIGTERM; its exit code."""
        self._engine.docker("stop", "--time", "60", name)
        return int(self._engine.docker("inspect", "--format", "{{.State.ExitCode}}", name).stdout)

    def log(self, name: str) -> str:
        done = self._engine.docker("logs", name)
        return done.stdout + done.stderr

    def remove(self) -> None:
        for name in self._started:
            self._engine.docker("rm", "--force", "--volumes", name)

    def _state(self, name: str) -> str:
        state = "{{if .State.Running}}{{.State.Health.Status}}{{else}}exited{{end}}"
        return self._engine.docker("inspect", "--format", state, name).stdout.strip()

    def _options(self, service: str, variables: dict[str, str]) -> list[str]:
        found: dict[str, Any] = self._services[service]
        options = ["--network", "host", "--memory", str(found["deploy"]["resources"]["limits"]["memory"])]
        options += ["--read-only"] if found["read_only"] else []
        options += ["--init"] if found["init"] else []
        options += [part for name in found["cap_drop"] for part in ("--cap-drop", name)]
        options += [part for name in found["security_opt"] for part in ("--security-opt", name)]
        options += [part for place in found["tmpfs"] for part in ("--tmpfs", place)]
        for name, value in {**found["environment"], **self._variables, **variables}.items():
            options += ["--env", f"{name}={value or ''}"]
        for name in found["secrets"]:
            options += ["--volume", f"{self._secrets / name}:/run/secrets/{name}:ro"]
        for volume in found.get("volumes", ()):
            outside, inside = volume.split(":", 1)
            if outside.startswith("./"):
                place = self._secrets / outside.removeprefix("./secrets/") if outside.startswith("./secrets/") else COMPOSE / outside
                options += ["--volume", f"{place}:{inside}"]
        return options
