"""The packages that the documentation installs, from an index without a network."""

import pytest

from tests.environments.package_index import PackageIndex

_CODE = "__version__ = VERSION\n\ndef intcomma(number):\n    return f'{number:,}'\n"


@pytest.fixture(autouse=True)
def index(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    if "environments.md" not in request.node.name:
        return
    index = PackageIndex(tmp_path_factory.mktemp("index") / "packages")
    index.add_installed()
    for version in ("4.8.0", "4.9.0"):
        index.add("humanize", version, _CODE)
    monkeypatch.setenv("UV_CONFIG_FILE", str(index.configuration))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path_factory.mktemp("uv-cache")))


@pytest.fixture(autouse=True)
def nearby_webhooks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the page has it, in a block that a test can't execute."""
    if "events-out.md" in request.node.name:
        monkeypatch.setenv("PENSTOCK_WEBHOOK_ALLOW", "127.0.0.1")
