"""Named artifacts, as an engine's API answers about them."""

from urllib.parse import quote

from pydantic import TypeAdapter

from penstock.contracts.named_artifacts import ArtifactVersionView, NamedArtifactView, Reference, RegisterRequest
from penstock.deploy.remote.connection import Connection

_names = TypeAdapter(list[NamedArtifactView])
_versions = TypeAdapter(list[ArtifactVersionView])


class Registry:
    """What has a name.

    :raises InvalidInput: from each: there is no such artifact, version or alias.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def names(self) -> list[NamedArtifactView]:
        return _names.validate_python(self._connection.get("/named-artifacts").json()["artifacts"])

    def versions(self, name: str) -> list[ArtifactVersionView]:
        """The newest first."""
        return _versions.validate_python(self._connection.get(_path(name, "versions"), limit=1000).json()["versions"])

    def version(self, wanted: Reference) -> ArtifactVersionView:
        """That version; the newest, where none is named."""
        if wanted.which is None:
            return self.versions(wanted.name)[0]
        return ArtifactVersionView.model_validate_json(self._connection.get(_path(wanted.name, "versions", str(wanted.which))).content)

    def register(self, name: str, request: RegisterRequest) -> ArtifactVersionView:
        """A version by hand. The same bytes again are no other version, so asking twice is harmless."""
        plain = request.model_dump(mode="json", exclude_defaults=True)
        return ArtifactVersionView.model_validate_json(self._connection.ask("POST", _path(name, "versions"), json=plain).content)

    def set_alias(self, name: str, alias: str, version: int) -> ArtifactVersionView:
        answer = self._connection.ask("PUT", _path(name, "aliases", alias), json={"version": version})
        return ArtifactVersionView.model_validate_json(answer.content)

    def drop_alias(self, name: str, alias: str) -> None:
        self._connection.ask("DELETE", _path(name, "aliases", alias))


def _path(*parts: str) -> str:
    return "/named-artifacts/" + "/".join(quote(part, safe="") for part in parts)
