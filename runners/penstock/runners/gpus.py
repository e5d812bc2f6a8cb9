"""The GPUs of this machine, as NVIDIA's management library (NVML) tells them: none where there is no driver."""

# ruff: noqa: N802  # the library's own names

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU, or one of the instances (MIG) that it is divided into. `index` is its place on the bus, `uuid` its name everywhere."""

    index: int
    uuid: str
    name: str = ""
    memory_bytes: int = 0


ReadGpus = Callable[[], Sequence[Gpu]]


class Nvml(Protocol):
    """What is asked of the library, in its own words."""

    def nvmlInit(self) -> None: ...
    def nvmlShutdown(self) -> None: ...
    def nvmlDeviceGetCount(self) -> int: ...
    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any: ...
    def nvmlDeviceGetUUID(self, handle: Any) -> str | bytes: ...
    def nvmlDeviceGetName(self, handle: Any) -> str | bytes: ...
    def nvmlDeviceGetMemoryInfo(self, handle: Any) -> Any: ...
    def nvmlDeviceGetMaxMigDeviceCount(self, handle: Any) -> int: ...
    def nvmlDeviceGetMigDeviceHandleByIndex(self, device: Any, index: int) -> Any: ...
    @property
    def NVMLError(self) -> type[Exception]: ...


def own_gpus() -> tuple[Gpu, ...]:
    """Those that this process may use: what NVML sees, as far as `CUDA_VISIBLE_DEVICES` lets it."""
    return visible(nvml_gpus(), os.environ.get("CUDA_VISIBLE_DEVICES"))


def nvml_gpus(nvml: Nvml | None = None) -> tuple[Gpu, ...]:
    """All that NVML sees. It starts no CUDA, so whoever asks may still fork."""
    library = nvml or _library()
    if library is None:
        _log.info("gpus.none", reason="the package nvidia-ml-py is not installed")
        return ()
    try:
        library.nvmlInit()
        try:
            found = tuple(gpu for index in range(library.nvmlDeviceGetCount()) for gpu in _usable(library, index))
        finally:
            library.nvmlShutdown()
    except library.NVMLError as error:
        _log.info("gpus.none", reason=str(error))
        return ()
    _log.info("gpus.found", gpus=[f"{gpu.uuid} {gpu.name} {gpu.memory_bytes / 2**30:.0f} GiB" for gpu in found])
    return found


def visible(gpus: Sequence[Gpu], stated: str | None) -> tuple[Gpu, ...]:
    """Those that a value of `CUDA_VISIBLE_DEVICES` names, in its order: by index, or by the beginning of a UUID. None: all of them."""
    if stated is None:
        return tuple(gpus)
    found: list[Gpu] = []
    for word in (part.strip() for part in stated.split(",")):
        fitting = [gpu for gpu in gpus if (str(gpu.index) == word if word.isdigit() else word and gpu.uuid.startswith(word))]
        if not fitting:
            # As CUDA has it: what comes after a device that is not there does not count.
            break
        found += [gpu for gpu in fitting if gpu not in found]
    return tuple(found)


def _library() -> Nvml | None:
    try:
        import pynvml  # type: ignore[import-untyped]  # noqa: PLC0415  # it ships no types; whoever states no GPUs need not load it
    except ModuleNotFoundError:
        return None
    return pynvml  # type: ignore[no-any-return]  # it ships no types


def _usable(nvml: Nvml, index: int) -> Iterator[Gpu]:
    """The device, or its instances where it is divided: then nothing runs on the whole."""
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    instances = list(_instances(nvml, handle))
    for part in instances or [handle]:
        memory = int(nvml.nvmlDeviceGetMemoryInfo(part).total)
        yield Gpu(index, _text(nvml.nvmlDeviceGetUUID(part)), _text(nvml.nvmlDeviceGetName(part)), memory)


def _instances(nvml: Nvml, handle: Any) -> Iterator[Any]:
    try:
        count = nvml.nvmlDeviceGetMaxMigDeviceCount(handle)
    except nvml.NVMLError:
        # Most models can't be divided.
        return
    for place in range(count):
        try:
            yield nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, place)
        except nvml.NVMLError:
            continue


def _text(told: str | bytes) -> str:
    return told.decode() if isinstance(told, bytes) else told
