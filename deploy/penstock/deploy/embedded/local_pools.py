"""The pools that a laptop's project declares: where it has a table `[pools]`, no other is known. Every one maps to local slots."""

from pathlib import Path

from penstock.contracts.fleet_views import PoolView
from penstock.contracts.pools import PoolSpec
from penstock.sdk.runs.state_home import HOME_NAME, project_folder

_FILE = "penstock.toml"


def local_pools(home: Path) -> dict[str, PoolSpec]:
    """Those of the project whose state folder this is; none where it declares none.

    :raises InvalidInput: the file can't be read, naming the place.
    """
    folder = home.parent if home.name == HOME_NAME else project_folder(Path.cwd())
    path = folder / _FILE
    if not path.is_file() or b"pools" not in path.read_bytes():
        return {}
    from penstock.deploy.pool_documents import declared_pools  # noqa: PLC0415 -- most projects declare none, and have no time to read it

    return declared_pools(path)


def local_views(home: Path, local: PoolView) -> tuple[PoolView, ...]:
    """The declared pools and the slots that stand for all of them."""
    declared = tuple(PoolView(name=pool.name, definition=pool) for _, pool in sorted(local_pools(home).items()))
    return (local, *declared)
