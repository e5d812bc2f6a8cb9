"""The state folder: whose it is, and what can go wrong with it."""

import stat
from pathlib import Path

import pytest

from penstock.contracts.errors import StoreUnavailable
from penstock.deploy.embedded.client import connect


def test_only_its_owner_can_look_into_a_state_folder(tmp_path: Path) -> None:
    home = tmp_path / "new" / ".penstock"

    connect(home).close()

    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert stat.S_IMODE(home.parent.stat().st_mode) & 0o055


def test_a_state_folder_that_others_may_use_stays_as_its_owner_made_it(tmp_path: Path) -> None:
    home = tmp_path / ".penstock"
    home.mkdir(mode=0o775)
    home.chmod(0o775)

    connect(home).close()

    assert stat.S_IMODE(home.stat().st_mode) == 0o775


def test_a_state_folder_that_can_not_be_made_says_how_to_name_another(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreUnavailable, match="PENSTOCK_HOME"):
        connect(tmp_path / "file" / ".penstock")


def test_a_database_that_is_none_is_told_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "penstock.sqlite").write_bytes(b"no database at all" * 100)

    with pytest.raises(StoreUnavailable, match=r"penstock\.sqlite"):
        connect(tmp_path)
