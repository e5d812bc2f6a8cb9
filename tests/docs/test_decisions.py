"""The records of decisions are numbered without gaps, and their index has them all."""

import re
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "docs" / "decisions"
_TITLE = re.compile(r"# (\d+)\. (.+)\n")


def test_the_records_are_numbered_without_gaps_and_the_index_names_each_of_them() -> None:
    records = sorted(path for path in FOLDER.glob("*.md") if path.name != "README.md")
    index = (FOLDER / "README.md").read_text()

    assert [int(path.name[:4]) for path in records] == list(range(1, len(records) + 1))
    for path in records:
        title = _TITLE.match(path.read_text())
        assert title is not None
        assert int(title[1]) == int(path.name[:4])
        assert f"{title[1]}. [{title[2]}]({path.name})" in index
