"""What all attempts of a Docker launcher share, and what each of them is made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from aiodocker import Docker

from penstock.contracts.messages import Order
from penstock.contracts.spec import StepSpec
from penstock.runners.checkpoints import AttemptCheckpoint, checkpoint_name
from penstock.runners.docker.box import Box
from penstock.runners.docker.images import Image, Images
from penstock.runners.docker.sandbox import Limits, Mount, Program
from penstock.runners.log_file import LogFile
from penstock.runners.provision import Provision
from penstock.transport.artifact_store import ArtifactStore

_FIXED = {"HOME": "/tmp", "PYTHONHASHSEED": "0", "MPLBACKEND": "Agg", "PYTHONDONTWRITEBYTECODE": "1"}  # noqa: S108  # inside
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    engine: Docker
    images: Images
    artifacts: ArtifactStore
    state: Path
    limits: Limits
    labels: Mapping[str, str]
    provision: Provision


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """An attempt that is about to begin. `variables` are the step's own, but for those that are `secrets`."""

    workshop: Workshop
    engine: Docker
    """A client of its own: what waits for a container keeps its connections, and a client has a limited number of them."""
    order: Order
    step: StepSpec
    image: Image
    box: Box
    log: LogFile
    snapshot: Path | None
    variables: Mapping[str, str]
    secret_variables: Mapping[str, str] = field(repr=False)
    secrets: list[str] = field(repr=False)
    """In all their spellings."""

    def program(self, command: list[str], workdir: PurePosixPath, variables: Mapping[str, str], mounts: list[Mount]) -> Program:
        step, order = self.step, self.order
        address = "/".join([order.run_id, step.name, *map(str, order.index), f"attempt-{order.attempt.attempt_no}"])
        threads = max(1, int(min(step.resources.cpu, self.workshop.limits.processors)))
        return Program(
            image=self.image.id,
            command=command,
            workdir=workdir,
            variables={**_FIXED, **dict.fromkeys(_THREADS, str(threads)), **self.variables, **variables},
            mounts=mounts,
            labels={**self.workshop.labels, "penstock.attempt": address},
            network=step.software.network if step.software is not None else "none",
            volumes=self.image.volumes,
            devices=self.workshop.provision.devices(order),
        )

    def stored_checkpoint(self) -> AttemptCheckpoint | None:
        """What goes through a store that other machines have, too; None where there is none."""
        store, folder = self.workshop.provision.checkpoints, self.box.folder
        if store is None:
            return None
        return AttemptCheckpoint(store, self.order, self.step, folder / "checkpoint", folder / "checkpoint-own")

    @property
    def checkpoint_here(self) -> Path:
        """Where a checkpoint is that no other machine can have; other users own those of steps in processes."""
        return self.workshop.state / "checkpoints" / f"{checkpoint_name(self.order, self.step)}-docker"
