"""Names that can stand in routing keys, file names and tables."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.contracts.errors import InvalidInput
from penstock.contracts.names import checked_name, dashed


@pytest.mark.parametrize(
    ("python_name", "name"),
    [("Train_Model", "train_model"), ("train<lambda>", "train-lambda"), ("__main__", "main"), ("été", "t"), ("", "unnamed")],
)
def test_python_names_become_plain_names(python_name: str, name: str) -> None:
    assert dashed(python_name) == name


@given(st.text(max_size=63))
def test_what_python_calls_something_gives_a_name_that_is_allowed(text: str) -> None:
    assert checked_name(dashed(text)[:63], "step")


@pytest.mark.parametrize("name", ["", "-a", "A", "a/b", "a b", "a\n", "ä", "x" * 64])
def test_a_name_that_is_not_allowed_is_refused_with_the_rule(name: str) -> None:
    with pytest.raises(InvalidInput, match=r"step .*: a name starts with"):
        checked_name(name, "step")
