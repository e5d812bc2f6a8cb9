"""Runs real steps on this machine's GPUs and prints what each of them saw: `python tools/try_gpu.py [--attempts 4]`.

Needs a driver, torch, nvidia-ml-py and what `pip install penstock` brings; PYTHONPATH may lead to all of them. It uses no network, and
no service: a runner's launchers and devices, as `penstock runner` puts them together, on a folder that is removed at the end.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import textwrap
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Isolation = Literal["fork", "spawn", "reuse"]
ROOT = Path(__file__).parents[1]
PARTS = ("contracts", "transport", "sdk", "engine", "runners", "deploy")
sys.path[:0] = [str(ROOT / part) for part in PARTS]
os.environ["PYTHONPATH"] = os.pathsep.join([*sys.path[: len(PARTS)], os.environ.get("PYTHONPATH", "")])

from penstock.contracts.artifacts import DIRECTORY, ArtifactRef, DirectoryEntry, DirectoryManifest, inline, manifest_bytes  # noqa: E402
from penstock.contracts.messages import AttemptKey, Completed, Order  # noqa: E402
from penstock.contracts.spec import FunctionTarget, Identity, OutputSpec, ResourcesSpec, StepSpec  # noqa: E402
from penstock.runners.devices import Devices  # noqa: E402
from penstock.runners.gpus import own_gpus  # noqa: E402
from penstock.runners.launchers.on_gpus import LauncherOnGpus  # noqa: E402
from penstock.runners.launchers.process import ProcessLauncher  # noqa: E402
from penstock.runners.provision import Provision  # noqa: E402
from penstock.transport.artifact_stores.folder import FolderArtifactStore  # noqa: E402

# As users write it: whether there is a GPU is asked while the module is imported.
MODULE = """
    import os
    import time

    import torch

    DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
    IMPORTED_IN = os.getpid()
    IS_STARTED = torch.cuda.is_initialized()

    def opened() -> list[str]:
        found = []
        for name in os.listdir("/proc/self/fd"):
            try:
                found.append(os.readlink(f"/proc/self/fd/{name}"))
            except OSError:
                pass
        return sorted({place for place in found if place.startswith("/dev/nvidia")})

    OPENED = opened()

    def train(seconds: float) -> dict[str, object]:
        began = time.time()
        torch.manual_seed(0)
        features = torch.randn(4096, 256, device=DEVICE)
        truth = torch.randn(256, 1, device=DEVICE)
        model = torch.nn.Linear(256, 1).to(DEVICE)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
        while time.time() - began < seconds:
            optimizer.zero_grad()
            loss = ((model(features) - features @ truth) ** 2).mean()
            loss.backward()
            optimizer.step()
        on_gpu = DEVICE == "cuda"
        return {
            "device": DEVICE,
            "visible": os.environ.get("CUDA_VISIBLE_DEVICES"),
            "count": torch.cuda.device_count(),
            "name": torch.cuda.get_device_name(0) if on_gpu else "",
            "uuid": str(torch.cuda.get_device_properties(0).uuid) if on_gpu else "",
            "loss": round(loss.item(), 4),
            "is_forked": os.getpid() != IMPORTED_IN,
            "cuda_before_fork": IS_STARTED,
            "opened_at_import": OPENED,
            "opened_at_end": opened(),
            "began": began,
            "ended": time.time(),
        }
    """


@dataclass(frozen=True)
class Bench:
    """Steps on a launcher as a runner has it."""

    artifacts: FolderArtifactStore
    launcher: LauncherOnGpus
    module: ArtifactRef

    async def train(self, number: int, *, gpu: int, pool: str = "gpu", isolation: Isolation = "fork", seconds: float = 1.0) -> Completed:
        step = StepSpec(
            name="train",
            run=FunctionTarget(module="training", function="train"),
            outputs=(OutputSpec(),),
            code=Identity(digest="sha256:0"),
            environment=Identity(digest="sha256:0"),
            resources=ResourcesSpec(gpu=gpu),
            isolation=isolation,
        )
        order = Order(
            workspace="default",
            attempt=AttemptKey(run_no=1, step_no=1, item_no=number, attempt_no=1),
            token=f"token-{number}",
            run_id="run-1",
            run_name="try-1",
            pipeline="try",
            pool=pool,
            step=step.model_dump_json(exclude_defaults=True).encode(),
            snapshot=self.module,
            inputs={"seconds": inline(seconds)},
            seed=f"seed-{number}",
        )
        return await self.launcher.execute(order, step, unheard)


def unheard(done: float, total: float | None, text: str) -> None:
    """Nobody looks at progress here."""


async def stored(artifacts: FolderArtifactStore, text: str) -> ArtifactRef:
    """A snapshot that holds one module."""
    data = textwrap.dedent(text).encode()
    entry = DirectoryEntry(path="training.py", digest=await artifacts.write(data), size=len(data))
    manifest = manifest_bytes(DirectoryManifest(files=(entry,)))
    digest = await artifacts.write(manifest)
    return ArtifactRef(uri=f"cas:{digest}", digest=digest, size=len(manifest), kind="directory", media_type=DIRECTORY)


def told(completed: Completed) -> dict[str, Any]:
    if completed.failure is not None:
        raise SystemExit(f"an attempt failed: {completed.failure.message}\n{completed.failure.traceback}")
    found = completed.outputs["result"]
    assert isinstance(found, ArtifactRef)  # noqa: S101  # small values are
    value: dict[str, Any] = found.json_value()
    return value


def show(title: str, seen: Sequence[dict[str, Any]], seconds: float) -> None:
    sys.stdout.write(f"\n{title} ({seconds:.1f} s)\n" + "".join(f"  {json.dumps(one)}\n" for one in seen))
    sys.stdout.flush()


def overlaps(seen: Sequence[dict[str, Any]]) -> int:
    """Pairs of attempts that were on the same GPU at the same time."""
    pairs = [(one, other) for place, one in enumerate(seen) for other in seen[:place] if one["uuid"] and one["uuid"] == other["uuid"]]
    return sum(one["began"] < other["ended"] and other["began"] < one["ended"] for one, other in pairs)


async def tried(folder: Path, attempts: int) -> int:
    gpus = own_gpus()
    if not gpus:
        sys.stdout.write("NVML finds no GPU here: nothing to try\n")
        return 2
    for gpu in gpus:
        sys.stdout.write(f"{gpu.index} {gpu.uuid} {gpu.name} {gpu.memory_bytes / 2**30:.0f} GiB\n")
    artifacts = FolderArtifactStore(folder / "artifacts")
    devices = Devices(lambda: gpus, shares={"shared": 0.25}, locks=folder / "gpus")
    launcher = LauncherOnGpus(ProcessLauncher(artifacts, folder / "state", Provision(devices=devices.of), slots=attempts), devices)
    bench = Bench(artifacts, launcher, await stored(artifacts, MODULE))
    try:
        return await judged(bench, attempts, len(gpus))
    finally:
        await launcher.close()


async def judged(bench: Bench, attempts: int, count: int) -> int:
    wrong: list[str] = []

    async def several(title: str, first: int, number: int, **how: Any) -> list[dict[str, Any]]:
        began = time.monotonic()
        seen = [told(one) for one in await asyncio.gather(*(bench.train(first + place, **how) for place in range(number)))]
        show(title, seen, time.monotonic() - began)
        return seen

    alone = await several("one GPU each", 0, max(attempts, count + 1), gpu=1)
    others: tuple[Isolation, ...] = ("spawn", "reuse")
    for isolation in others:
        alone += await several(f"one GPU each, isolation={isolation}", 100 if isolation == "spawn" else 200, 2, gpu=1, isolation=isolation)
    without = await several("none stated", 300, 2, gpu=0, pool="cpu", seconds=0.1)
    shared = await several("a quarter each", 400, 4, gpu=0, pool="shared")
    if count > 1:
        both = await several("two each", 500, 1, gpu=2)
        wrong += ["a step that stated two GPUs saw another number"] * any(one["count"] != 2 for one in both)
    wrong += ["two attempts were on one GPU at the same time"] * bool(overlaps(alone))
    wrong += ["a step with a GPU did not use exactly one"] * any((one["device"], one["count"]) != ("cuda", 1) for one in [*alone, *shared])
    wrong += ["a step saw another GPU than it was given"] * any(one["uuid"] not in str(one["visible"]) for one in [*alone, *shared])
    wrong += ["a step without a GPU saw one"] * any(one["device"] != "cpu" or one["count"] for one in without)
    wrong += ["nobody shared a GPU"] * (not overlaps(shared))
    wrong += ["CUDA was started before the fork"] * any("/dev/nvidia-uvm" in one["opened_at_import"] for one in alone if one["is_forked"])
    sys.stdout.write("\n" + ("\n".join(f"WRONG: {what}" for what in wrong) or "all as it should be") + "\n")
    return 1 if wrong else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attempts", type=int, default=4, help="at the same time, at least")
    with tempfile.TemporaryDirectory(prefix="penstock-try-gpu-") as folder:
        return asyncio.run(tried(Path(folder), parser.parse_args().attempts))


if __name__ == "__main__":
    raise SystemExit(main())
