"""Which files a guest gets to see."""

from pathlib import Path

import pytest

from penstock.contracts.errors import GraphError
from penstock.sdk.identity.snapshot import declared_files_of, file_digests, script_identity, script_snapshot, snapshot_of
from tests.sdk.written_project import WrittenProject


def write(root: Path, *paths: str, text: str = "") -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def test_a_snapshot_holds_what_the_steps_need_and_nothing_else(project: WrittenProject) -> None:
    project.write("pack/__init__.py", "")
    project.write("pack/fit.py", "import other\nfrom pack.data import load\n\ndef fit():\n    return load()\n")
    project.write("pack/data.py", "def load():\n    return 1\n")
    project.write("pack/unneeded.py", "")
    project.write("other.py", "")
    project.write("notes.txt", "private")

    files = snapshot_of([project.closure("fit", "pack.fit")])

    assert list(files) == ["other.py", "pack/__init__.py", "pack/data.py", "pack/fit.py"]
    assert files["pack/data.py"] == project.root / "pack/data.py"


def test_declared_files_lie_beside_the_module(project: WrittenProject) -> None:
    project.write("pack/__init__.py", "")
    project.write("pack/fit.py", "")
    write(project.root, "pack/sql/a.sql", "pack/sql/b.sql", "pack/sql/c.txt", "pack/words/deep/list.txt", "shared.json")
    module = project.root / "pack/fit.py"

    assert list(declared_files_of(module, ["sql/*.sql"])) == ["pack/sql/a.sql", "pack/sql/b.sql"]
    assert list(declared_files_of(module, ["words"])) == ["pack/words/deep/list.txt"]
    assert list(declared_files_of(module, ["../shared.json"])) == ["shared.json"]
    assert list(declared_files_of(module, ["sql/a.sql"], module="above.pack.fit")) == ["above/pack/sql/a.sql"]


def test_declared_files_are_in_the_snapshot(project: WrittenProject) -> None:
    project.write("pipeline.py", "def one():\n    return 1\n")
    write(project.root, "a.sql")

    files = snapshot_of([project.closure("one")], declared_files_of(project.root / "pipeline.py", ["*.sql"]))

    assert files == {"a.sql": project.root / "a.sql", "pipeline.py": project.root / "pipeline.py"}


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("sql/b.sql", r'files=\["sql/b.sql"\] .*pipeline\.py matches nothing in .*did you mean .sql/a\.sql.'),
        ("*.parquet", "relative to the folder of the step's module"),
        ("../../x.sql", "outside of the project"),
        ("/etc/hostname", "relative to the step's module"),
    ],
)
def test_a_pattern_that_can_not_be_met_says_what_to_do(project: WrittenProject, pattern: str, said: str) -> None:
    project.write("pipeline.py", "")
    write(project.root, "sql/a.sql", "../../x.sql")

    with pytest.raises(GraphError, match=said):
        declared_files_of(project.root / "pipeline.py", [pattern])


def test_two_files_for_one_place_are_refused(project: WrittenProject) -> None:
    project.write("pipeline.py", "def one():\n    return 1\n")
    write(project.root, "other.sql")

    with pytest.raises(GraphError, match=r"would both be pipeline\.py"):
        snapshot_of([project.closure("one")], {"pipeline.py": project.root / "other.sql"})


def test_digests_of_files_are_those_of_their_bytes(tmp_path: Path) -> None:
    write(tmp_path, "a", "b", text="same")
    write(tmp_path, "c", text="other")

    digests = file_digests({name: tmp_path / name for name in "abc"})

    assert digests["a"] == digests["b"] != digests["c"]


def test_a_scripts_snapshot_leaves_out_what_is_ignored(tmp_path: Path) -> None:
    write(tmp_path, "train.py", "lib/a.py", "lib/data/kept.csv", "logs/keep.log")
    write(tmp_path, "lib/a.pyc", "lib/__pycache__/a.py", ".git/config", ".venv/bin/python", ".penstock/state")
    write(tmp_path, "data/big.csv", "logs/a.log", "build/x", "lib/build/x", "a/b/c/deep.tmp", "notes[1].md")
    write(tmp_path, ".gitignore", text="# Outputs\n/data/\n*.log\n!keep.log\nbuild/\n")
    write(tmp_path, ".penstockignore", text="a/**/*.tmp\nnotes[[]*\n")

    assert list(script_snapshot(tmp_path)) == ["lib/a.py", "lib/data/kept.csv", "logs/keep.log", "train.py"]


def test_a_scripts_snapshot_needs_a_folder(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match="is not a folder"):
        script_snapshot(tmp_path / "gone")


def test_line_endings_of_scripts_are_no_code(tmp_path: Path) -> None:
    (tmp_path / "unix").mkdir()
    (tmp_path / "dos").mkdir()
    (tmp_path / "unix/a.py").write_bytes(b"x = 1\ny = 2\n")
    (tmp_path / "dos/a.py").write_bytes(b"x = 1\r\ny = 2\r\n")

    assert script_identity(script_snapshot(tmp_path / "unix")) == script_identity(script_snapshot(tmp_path / "dos"))


def test_line_endings_of_other_files_count(tmp_path: Path) -> None:
    (tmp_path / "unix").mkdir()
    (tmp_path / "dos").mkdir()
    (tmp_path / "unix/a.bin").write_bytes(b"1\n2")
    (tmp_path / "dos/a.bin").write_bytes(b"1\r\n2")

    assert script_identity(script_snapshot(tmp_path / "unix")) != script_identity(script_snapshot(tmp_path / "dos"))


def test_a_scripts_identity_names_its_files(tmp_path: Path) -> None:
    write(tmp_path, "train.py", "lib/a.py")
    before = script_identity(script_snapshot(tmp_path))

    write(tmp_path, "lib/a.py", text="x = 1")

    after = script_identity(script_snapshot(tmp_path))
    assert {name for name in before.components if before.components[name] != after.components[name]} == {"lib/a.py"}
    assert before.digest != after.digest
