"""The API does what its OpenAPI document says. `python -m tests.engine.api.schema` tries far more."""

from pathlib import Path

from tests.engine.api.schema import checked


def test_requests_made_of_the_document_are_answered_as_it_says(tmp_path: Path) -> None:
    done = checked(tmp_path, ["fuzzing"], examples=4)

    assert done.returncode == 0, done.stdout
    assert "generated" in done.stdout
