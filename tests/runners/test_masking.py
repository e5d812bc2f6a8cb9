"""Every spelling in which a secret may come out again is masked, wherever it stands."""

import base64
import json
import re
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.runners.masking import MASK, masked, spellings

SECRET = "p/ss wörd+42=é&x"


@pytest.mark.parametrize("around", ["", "u", "us", "user:"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_base64_is_masked_wherever_the_secret_stands_in_it(around: str, encode: Callable[[bytes], bytes]) -> None:
    told = encode(f"{around}{SECRET}{around}".encode()).decode()

    shown = masked(f"Basic {told}", spellings([SECRET]))

    assert MASK in shown
    left = shown.removeprefix("Basic ").replace(MASK, "")
    assert len(left) <= 2 * len(base64.b64encode(around.encode())) + 4


@pytest.mark.parametrize(
    "told",
    [
        quote(SECRET, safe=""),
        quote(SECRET),
        quote_plus(SECRET),
        re.sub("%..", lambda found: found[0].lower(), quote(SECRET, safe="")),
        SECRET.encode().hex(),
        SECRET.encode().hex().upper(),
        json.dumps(SECRET)[1:-1],
        repr(SECRET)[1:-1],
    ],
)
def test_the_spellings_of_urls_and_codes_are_masked(told: str) -> None:
    shown = masked(f"https://host/?token={told}&more", spellings([SECRET]))

    assert "%C3" not in shown.upper()
    assert "p/ss" not in shown
    assert SECRET.encode().hex() not in shown.lower()
    assert MASK in shown


def test_codes_of_a_short_secret_are_left_since_they_stand_in_much_else() -> None:
    assert all(len(text) <= 3 or len(text) >= 8 for text in spellings(["abc"]))


@given(st.text(min_size=1), st.text(), st.text())
def test_no_secret_is_left_in_any_text(secret: str, before: str, after: str) -> None:
    if secret in MASK or secret in before or secret in after:
        return
    shown = spellings([secret])

    assert secret not in masked(before + secret + after, shown).replace(MASK, "\x00")
