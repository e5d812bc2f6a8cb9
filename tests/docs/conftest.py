"""What documents find around them: packages, from an index without a network; a broker, with a user for those who send events."""

from collections.abc import Iterator

import pytest

from tests.environments.package_index import PackageIndex
from tests.servers.rabbitmq import RabbitServer, VirtualHost

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


@pytest.fixture(autouse=True)
def broker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Of a document whose commands publish to one: what the services are told of it, and the address for a user `shop`."""
    if "snippets_of" not in request.node.name or "tutorial-upstream.md" not in request.node.name:
        yield
        return
    server: RabbitServer = request.getfixturevalue("rabbitmq")
    vhost: VirtualHost = request.getfixturevalue("vhost")
    monkeypatch.setenv("PENSTOCK_BROKER_URL", vhost.url)
    monkeypatch.setenv("PENSTOCK_BROKER_MANAGEMENT_URL", server.management_url())
    monkeypatch.setenv("AMQP_URL", server.url(vhost.name, server.add_user("shop", vhost=vhost.name)))
    yield
    server.api("DELETE", "users/shop")
