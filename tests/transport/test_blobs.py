"""The folder of blobs: what is remembered of verifying, full disks, and several processes at once."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from penstock.contracts.encoding import digest_bytes
from penstock.contracts.errors import ArtifactLost, StoreUnavailable
from penstock.transport.blobs import ALWAYS_HASHED_BYTES, BlobFolder
from penstock.transport.verified import Signature, VerifiedMemo, signature_of

LARGE = b"x" * (ALWAYS_HASHED_BYTES + 1)


@pytest.fixture
def folder(tmp_path: Path) -> BlobFolder:
    return BlobFolder(tmp_path / "artifacts")


def make_old(path: Path) -> None:
    """Waits until another change of the file would show in its times."""
    while not signature_of(path.stat()).is_settled():
        os.sched_yield()


def verified_large(folder: BlobFolder) -> str:
    digest = folder.write(LARGE)
    make_old(folder.path_of(digest))
    folder.local(digest)
    return digest


def test_another_process_need_not_hash_what_one_has_verified(folder: BlobFolder, tmp_path: Path) -> None:
    digest = verified_large(folder)
    script = (
        "import sys; from pathlib import Path; from penstock.transport.verified import VerifiedMemo\n"
        "print(VerifiedMemo(Path(sys.argv[1])).known([sys.argv[2]])[sys.argv[2]])"
    )

    told = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "artifacts/verified.sqlite"), digest], capture_output=True, text=True, check=True
    ).stdout

    assert told.strip() == str(signature_of(folder.path_of(digest).stat()))


def test_a_verified_blob_is_not_read_again(folder: BlobFolder, tmp_path: Path) -> None:
    digest = verified_large(folder)
    path = folder.path_of(digest)
    VerifiedMemo(tmp_path / "artifacts/verified.sqlite").remember({digest: _after_flipping(path)})

    # The memo names the flipped file's signature, so serving it shows that nobody read it.
    assert BlobFolder(tmp_path / "artifacts").local(digest).read_bytes() != LARGE


def _after_flipping(path: Path) -> Signature:
    path.chmod(0o644)
    path.write_bytes(b"y" + LARGE[1:])
    return signature_of(path.stat())


def same_size(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(b"y" + LARGE[1:])


def same_size_and_times(path: Path) -> None:
    before = path.stat()
    same_size(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def another_file(path: Path) -> None:
    before = path.stat()
    other = path.with_name("other")
    other.write_bytes(b"y" + LARGE[1:])
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)


@pytest.mark.parametrize("change", [same_size, same_size_and_times, another_file])
def test_a_change_after_verification_is_found(folder: BlobFolder, change: Callable[[Path], None]) -> None:
    digest = verified_large(folder)

    change(folder.path_of(digest))

    assert folder.lost([digest]) == {digest}


def test_a_change_within_one_tick_of_the_clock_is_found(folder: BlobFolder) -> None:
    for number in range(50):
        data = number.to_bytes(4) + LARGE
        digest = folder.write(data)
        folder.local(digest)
        path = folder.path_of(digest)
        path.chmod(0o644)
        with path.open("r+b") as file:
            file.write(b"wxyz")

        with pytest.raises(ArtifactLost):
            folder.local(digest)


def test_a_corrupt_blob_is_set_aside_for_people_to_look_at(folder: BlobFolder, tmp_path: Path) -> None:
    digest = verified_large(folder)
    same_size(folder.path_of(digest))

    with pytest.raises(ArtifactLost, match="corrupt"):
        folder.local(digest)

    assert not folder.path_of(digest).exists()
    assert [path.read_bytes()[:1] for path in (tmp_path / "artifacts/corrupt").iterdir()] == [b"y"]


@pytest.mark.parametrize("garbage", [b"not a database at all" * 100, b""])
def test_a_damaged_memo_costs_hashing_only(folder: BlobFolder, tmp_path: Path, garbage: bytes) -> None:
    digest = verified_large(folder)
    memo = tmp_path / "artifacts/verified.sqlite"
    memo.write_bytes(garbage)

    again = BlobFolder(tmp_path / "artifacts")

    assert again.local(digest).read_bytes() == LARGE
    assert again.lost([digest]) == set()
    assert again.lost([digest]) == set()
    assert digest in VerifiedMemo(memo).known([digest])


def test_a_folder_that_is_away_loses_nothing(folder: BlobFolder, tmp_path: Path) -> None:
    digest = folder.write(b"still there")
    (tmp_path / "artifacts").rename(tmp_path / "unmounted")

    with pytest.raises(StoreUnavailable, match="can't be read"):
        folder.local(digest)
    with pytest.raises(StoreUnavailable):
        folder.lost([digest])


def test_running_out_of_open_files_loses_nothing(folder: BlobFolder) -> None:
    digest = folder.write(b"still there")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        with pytest.raises(StoreUnavailable, match="open files"):
            folder.local(digest)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert folder.lost([digest]) == set()


def test_blobs_are_read_only(folder: BlobFolder) -> None:
    assert folder.path_of(folder.write(b"fixed")).stat().st_mode & 0o777 == 0o444


def test_names_are_safe_on_windows(folder: BlobFolder, tmp_path: Path) -> None:
    folder.write(b"some")

    assert not any(":" in str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))


def test_a_full_disk_leaves_nothing_visible(folder: BlobFolder) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            folder.write(LARGE * 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert not folder.path_of(digest_bytes(LARGE * 2)).exists()
    assert list(folder.staging.iterdir()) == []


def test_a_blob_healed_while_its_corruption_is_found_stays(folder: BlobFolder) -> None:
    digest = digest_bytes(LARGE)
    bad, good = folder.staging / "bad", folder.staging / "good"

    for _ in range(30):
        bad.write_bytes(b"y" + LARGE[1:])
        folder.path_of(digest).parent.mkdir(exist_ok=True)
        bad.replace(folder.path_of(digest))
        good.write_bytes(LARGE)
        with ThreadPoolExecutor(2) as pool:
            reading = pool.submit(folder.lost, [digest])
            pool.submit(folder.take, good, digest).result()
            reading.result()

        assert folder.lost([digest]) == set()


def test_several_processes_may_write_the_same_blobs(folder: BlobFolder, tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from penstock.transport.blobs import BlobFolder\n"
        "folder = BlobFolder(Path(sys.argv[1]))\n"
        "digests = [folder.write(bytes([number]) * 70_000) for number in range(100)]\n"
        "assert not folder.lost(digests)"
    )
    writers = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "artifacts")]) for _ in range(3)]

    assert [writer.wait(timeout=60) for writer in writers] == [0, 0, 0]

    assert folder.lost(digest_bytes(bytes([number]) * 70_000) for number in range(100)) == set()
    assert list(folder.staging.iterdir()) == []
    assert not (tmp_path / "artifacts/corrupt").exists()


def test_a_blob_is_visible_whole_or_not_at_all(folder: BlobFolder, tmp_path: Path) -> None:
    seen = 0
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(lambda: [folder.write(bytes([number]) * 300_000) for number in range(50)])
        while not writing.done():
            for path in (tmp_path / "artifacts/blobs").rglob("*"):
                if path.is_file():
                    seen += 1
                    assert digest_bytes(path.read_bytes()) == f"sha256:{path.name}"

    assert seen > 0


def test_checking_many_blobs_reads_only_the_changed_ones(folder: BlobFolder, tmp_path: Path) -> None:
    digests = [folder.write(number.to_bytes(4)) for number in range(100)]
    unread, changed = (folder.path_of(digest) for digest in digests[:2])
    make_old(folder.path_of(digests[-1]))
    folder.lost(digests)
    for path in (unread, changed):
        path.chmod(0o644)
        path.write_bytes(b"else")
    # As if the first had been like this when it was verified: only reading it would tell.
    VerifiedMemo(tmp_path / "artifacts/verified.sqlite").remember({digests[0]: signature_of(unread.stat())})

    assert BlobFolder(tmp_path / "artifacts").lost(digests) == {digests[1]}
