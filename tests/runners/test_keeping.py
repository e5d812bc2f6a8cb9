"""What a step made survives an artifact store that is away."""

from pathlib import Path

import pytest
from typing_extensions import override

from penstock.contracts.encoding import digest_bytes
from penstock.contracts.errors import StoreUnavailable
from penstock.contracts.states import AttemptState
from penstock.runners.keeping import keep
from penstock.transport.artifact_stores.folder import FolderArtifactStore
from tests.runners.workbench import Workbench


class AbsentStore(FolderArtifactStore):
    """A store that is away when it is to take something, some times."""

    times = 0

    @override
    async def take(self, staged: Path, digest: str) -> None:
        if self.times > 0:
            self.times -= 1
            raise StoreUnavailable("no answer")
        await super().take(staged, digest)


async def test_a_store_that_is_away_is_waited_for(tmp_path: Path) -> None:
    store = AbsentStore(tmp_path / "store")
    store.times = 5
    staged = store.staging / "made"
    staged.write_bytes(b"hours of work")

    await keep(store, staged, digest := digest_bytes(b"hours of work"), first_pause=0.001)

    assert (await store.local(digest)).read_bytes() == b"hours of work"


async def test_this_machines_own_trouble_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await keep(FolderArtifactStore(tmp_path / "store"), tmp_path / "nothing", digest_bytes(b"x"))


async def test_a_step_whose_outputs_could_not_be_stored_at_once_is_executed_once(tmp_path: Path) -> None:
    store = AbsentStore(tmp_path / "store")
    bench = Workbench(tmp_path, store)
    store.times = 1
    try:
        made = await bench.run(
            f"""
            from pathlib import Path

            def main():
                with Path({str(tmp_path / "calls")!r}).open("a") as calls:
                    calls.write("called ")
                return "x" * 10_000
            """,
            idempotent=False,
        )
        assert made.outcome is AttemptState.SUCCEEDED, made.failure
        assert "x" * 10_000 in await bench.text(made.outputs["result"])
    finally:
        await bench.close()
    assert (tmp_path / "calls").read_text() == "called "
    assert store.times == 0
