"""What a container may do, as the engine is told: nothing but compute, read its inputs and write into one folder."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from penstock.contracts.spec import ResourcesSpec
from penstock.runners.devices import Given

_TEMPORARY = "/tmp"  # noqa: S108  # inside of the container
_GIB = 1024**3


def _somebody_else() -> str:
    """Not root: nobody, for a runner that is root. Another runner's own user, who can read what its containers wrote."""
    return "65532:65532" if os.geteuid() == 0 else f"{os.geteuid()}:{os.getegid()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What holds for every container of a launcher.

    `user` is `uid:gid`, never 0. `scratch_bytes` bounds each of `/tmp`, `/dev/shm` and the volumes that an image declares; what is in
    them counts as memory. `runtime` is the engine's name of another runtime than its default, such as `runsc`.
    """

    user: str = field(default_factory=_somebody_else)
    processes: int = 4096
    scratch_bytes: int = _GIB
    processors: int = 1
    """How many the engine's machine has."""
    runtime: str | None = None


@dataclass(frozen=True, slots=True)
class Mount:
    source: Path
    target: PurePosixPath
    writable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What is executed. `volumes` are the places that its image declares to be written to."""

    image: str
    command: Sequence[str]
    workdir: PurePosixPath
    variables: Mapping[str, str]
    mounts: Sequence[Mount]
    labels: Mapping[str, str]
    network: str = "none"
    volumes: Sequence[str] = ()
    devices: Given = None
    """Which GPUs; None: as many as its resources say, whichever they are."""


def container_config(program: Program, resources: ResourcesSpec, limits: Limits) -> dict[str, Any]:
    """The body of the engine's request to create a container."""
    return {
        "Image": program.image,
        # An entry point of the image's own would be given the command as its arguments.
        "Entrypoint": [program.command[0]],
        "Cmd": list(program.command[1:]),
        "User": limits.user,
        "WorkingDir": str(program.workdir),
        "Env": [f"{name}={value}" for name, value in program.variables.items()],
        "Labels": dict(program.labels),
        "AttachStdout": True,
        "AttachStderr": True,
        "Healthcheck": {"Test": ["NONE"]},
        "NetworkDisabled": program.network == "none",
        "HostConfig": _host_config(program, resources, limits),
    }


def _host_config(program: Program, resources: ResourcesSpec, limits: Limits) -> dict[str, Any]:
    scratch = f"rw,nosuid,nodev,exec,mode=1777,size={limits.scratch_bytes}"
    config: dict[str, Any] = {
        "NetworkMode": program.network,
        "ReadonlyRootfs": True,
        "Tmpfs": dict.fromkeys([_TEMPORARY, *program.volumes], scratch),
        "ShmSize": limits.scratch_bytes,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "Privileged": False,
        "IpcMode": "private",
        "PidsLimit": limits.processes,
        "NanoCpus": int(min(resources.cpu, limits.processors) * 1e9),
        "Mounts": [_mount(mount) for mount in program.mounts],
        # It forwards signals to the program and reaps what that leaves.
        "Init": True,
        # The runner is who keeps the output.
        "LogConfig": {"Type": "none"},
        "RestartPolicy": {"Name": "no"},
    }
    if resources.memory_bytes is not None:
        # The same for both: no swap.
        config |= {"Memory": resources.memory_bytes, "MemorySwap": resources.memory_bytes}
    if program.devices or (program.devices is None and resources.gpu):
        which = {"DeviceIDs": list(program.devices)} if program.devices else {"Count": resources.gpu}
        config["DeviceRequests"] = [{"Driver": "nvidia", "Capabilities": [["gpu"]], **which}]
    if limits.runtime is not None:
        config["Runtime"] = limits.runtime
    return config


def _mount(mount: Mount) -> dict[str, Any]:
    options = {"Propagation": "rprivate"}
    return {
        "Type": "bind",
        "Source": str(mount.source),
        "Target": str(mount.target),
        "ReadOnly": not mount.writable,
        "BindOptions": options,
    }
