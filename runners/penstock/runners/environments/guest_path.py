"""How steps in another interpreter find Penstock: a folder on their path with the parts that a guest needs, and nothing else."""

import hashlib
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

import penstock.contracts
import penstock.runners
import penstock.sdk
import penstock.transport


def guest_path(folder: Path) -> Path:
    """That folder, inside `folder`. What else is installed beside Penstock can't be imported through it."""
    parts = {module.__name__.rpartition(".")[2]: _place(module.__path__) for module in _PARTS}
    name = hashlib.sha256("\n".join(map(str, parts.values())).encode()).hexdigest()[:16]
    place = folder / f"penstock-{name}"
    if not place.is_dir():
        _write(place, parts)
    return place


_PARTS = (penstock.contracts, penstock.transport, penstock.sdk, penstock.runners)


def _place(search: Sequence[str]) -> Path:
    return Path(search[0]).absolute()


def _write(place: Path, parts: dict[str, Path]) -> None:
    staging = place.with_name(f".{place.name}-{secrets.token_hex(6)}")
    (staging / "penstock").mkdir(parents=True)
    for part, source in parts.items():
        (staging / "penstock" / part).symlink_to(source, target_is_directory=True)
    try:
        staging.rename(place)
    except OSError:
        shutil.rmtree(staging)
        if not place.is_dir():
            raise
