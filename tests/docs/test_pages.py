"""The pages together: every one is found from the front page and leads on, and each setting is told of in one table."""

import re
from pathlib import Path

import pytest

from penstock.deploy.service_settings import ServiceSettings

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
_FRONT = ROOT / "docs" / "README.md"


def test_the_front_page_leads_to_every_page() -> None:
    assert sorted(_targets(_FRONT)) == sorted({page.name for page in PAGES if page != _FRONT} | {"decisions/README.md", "../README.md"})


@pytest.mark.parametrize("page", [page for page in PAGES if page != _FRONT], ids=lambda page: page.name)
def test_every_page_leads_on(page: Path) -> None:
    last = page.read_text(encoding="utf-8").rstrip().splitlines()[-1]

    assert re.fullmatch(r"Next: \[.+\]\([a-z-]+\.md\)\. \[All pages\]\(README\.md\)\.", last)


def test_every_setting_of_services_is_a_row_of_the_one_table() -> None:
    told = re.findall(r"^\| `PENSTOCK_([A-Z_]+)` \|", (ROOT / "docs" / "services.md").read_text(encoding="utf-8"), re.MULTILINE)

    assert set(told) == {name.upper() for name in ServiceSettings.model_fields} | {"SECRETS_FOLDER"}
    assert len(told) == len(set(told))


def _targets(page: Path) -> set[str]:
    return set(re.findall(r"\]\(([^)#:]+\.md)", page.read_text(encoding="utf-8")))
