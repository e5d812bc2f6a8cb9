"""Published pipelines and components, as an engine's API answers about them."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal
from urllib.parse import quote

from penstock.contracts.names import dashed
from penstock.contracts.publishing import PublishComponentRequest, PublishedVersion, PublishedView, PublishRequest, VersionView
from penstock.contracts.triggers import plain_trigger
from penstock.contracts.views import RunView
from penstock.deploy.remote.connection import Connection

Family = Literal["pipeline", "component"]


class Publishing:
    """What is published in a family.

    :raises InvalidInput: from each: nothing of that name is published, or it can't be so.
    """

    def __init__(self, connection: Connection, family: Family = "pipeline") -> None:
        self._connection = connection
        self._family = family

    def list(self) -> Iterator[PublishedView]:
        """By name."""
        for one in self._pages(f"/{self._family}s", f"{self._family}s"):
            yield PublishedView.model_validate(one)

    def show(self, name: str) -> PublishedView:
        return PublishedView.model_validate_json(self._connection.get(self._path(name)).content)

    def versions(self, name: str) -> Iterator[VersionView]:
        """The newest first."""
        for one in self._pages(self._path(name, "versions"), "versions"):
            yield VersionView.model_validate(one)

    def version(self, reference: str) -> PublishedVersion:
        """What `name`, `name@version` or `name@alias` stands for, with its spec."""
        name, at, version = reference.partition("@")
        if not at:
            version = self.show(name).default_version or "none"
        return PublishedVersion.model_validate_json(self._connection.get(self._path(name, "versions", version)).content)

    def publish(self, request: PublishRequest) -> VersionView:
        """A version of a pipeline; the same again is the same."""
        plain = request.model_dump(mode="json", exclude_defaults=True)
        triggers = {"triggers": [plain_trigger(trigger) for trigger in request.triggers]} if request.triggers else {}
        return self._published(str(request.spec.get("name")), {**plain, **triggers})

    def publish_component(self, request: PublishComponentRequest) -> VersionView:
        """A version of a component; the same again is the same."""
        return self._published(str(request.spec.get("name")), request.model_dump(mode="json", exclude_defaults=True))

    def _published(self, name: str, plain: Mapping[str, Any]) -> VersionView:
        return VersionView.model_validate_json(self._connection.ask("POST", self._path(dashed(name), "versions"), json=plain).content)

    def change(self, name: str, version: str, verb: Literal["deprecate", "disable", "activate"], note: str | None = None) -> VersionView:
        plain = {} if note is None else {"note": note}
        return VersionView.model_validate_json(
            self._connection.ask("POST", self._path(name, "versions", version, verb), json=plain).content
        )

    def set_default(self, name: str, version: str) -> VersionView:
        return VersionView.model_validate_json(self._connection.ask("PUT", self._path(name, "default"), json={"version": version}).content)

    def set_alias(self, name: str, alias: str, version: str) -> VersionView:
        path = self._path(name, "aliases", alias)
        return VersionView.model_validate_json(self._connection.ask("PUT", path, json={"version": version}).content)

    def remove_alias(self, name: str, alias: str) -> None:
        self._connection.ask("DELETE", self._path(name, "aliases", alias))

    def run(self, name: str, request: Mapping[str, Any]) -> RunView:
        """A run of the default version, or of the one that `version` of the request names. Its `run_id` makes it idempotent."""
        answer = self._connection.ask("POST", self._path(name, "runs"), json=request, is_repeatable="run_id" in request)
        return RunView.model_validate_json(answer.content)

    def _pages(self, path: str, name: str) -> Iterator[dict[str, Any]]:
        cursor: str | None = None
        while True:
            page = self._connection.get(path, cursor=cursor).json()
            yield from page[name]
            cursor = page["next"]
            if cursor is None:
                return

    def _path(self, *parts: str) -> str:
        return "/".join((f"/{self._family}s", *(quote(part, safe="") for part in parts)))
