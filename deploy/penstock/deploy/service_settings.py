"""The settings of the services: flags, then the environment, then the profile. Read once by a command; components get plain values.

Only services import this module: a run on the embedded engine has no time for it.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict
from typing_extensions import override

from penstock.contracts.errors import InvalidInput
from penstock.contracts.names import DEFAULT_WORKSPACE
from penstock.deploy.profiles import FILE, read_profile
from penstock.engine.outgoing.webhook_addresses import Allowed
from penstock.sdk.nearest import nearest_hint

PREFIX = "PENSTOCK_"
SIGNING_KEY_BYTES = 32
EXAMPLES = {
    "broker_url": "amqp://penstock:PASSWORD@rabbitmq:5672/penstock",
    "broker_management_url": "http://penstock:PASSWORD@rabbitmq:15672",
    "database_url": "postgresql://penstock:PASSWORD@postgres:5432/penstock",
    "artifacts_url": "s3://penstock/artifacts or file:///srv/penstock/artifacts",
    "signing_key": "what `openssl rand -hex 32` prints",
    "api_url": "http://penstock.example.org:8080",
    "api_token": "what `openssl rand -hex 32` prints",
    "oidc_issuer": "https://login.example.org/realms/team",
    "health_address": "0.0.0.0:9090",
    "workspace": "default",
    "cache_shared": "off, read or read-write",
    "webhook_allow": "hooks.internal, 10.20.0.0/16",
    "drain_seconds": "30",
}
SECRETS = ("broker_url", "broker_management_url", "database_url", "signing_key", "api_token")
"""These may stand in a file that `PENSTOCK_..._FILE` names."""
_KNOWN_KEYS = frozenset({"changeme", "secret", "password", "penstock", "signingkey", "insecure", "development", "example", "test"})
"""Words that people leave in keys, with everything but letters left out and repetitions taken away."""


def _url(*schemes: str) -> Callable[[SecretStr], SecretStr]:
    def checked(value: SecretStr) -> SecretStr:
        parts = urlsplit(value.get_secret_value())
        # A database may be named by the folder of its socket: postgresql:///name?host=/run/postgresql
        if parts.scheme not in schemes or not (parts.hostname or "host=" in parts.query):
            raise ValueError(f"it is no URL that begins with {schemes[0]}:// and names a host")
        return value

    return checked


def _artifacts(value: str) -> str:
    parts = urlsplit(value)
    if (parts.scheme == "s3" and parts.netloc) or (parts.scheme == "file" and not parts.netloc and parts.path.startswith("/")):
        return value
    raise ValueError("it is neither s3://BUCKET/PREFIX nor file:///FOLDER")


def _issuer(value: str) -> str:
    parts = urlsplit(value)
    is_near = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if not parts.hostname or parts.username or parts.query or not (parts.scheme == "https" or (parts.scheme == "http" and is_near)):
        raise ValueError("it is no URL that begins with https:// and names a host")
    return value


def _token(value: SecretStr) -> SecretStr:
    if _is_known(value.get_secret_value()):
        raise ValueError("anybody can guess it: it is a known default or hardly more than one character")
    return value


def _is_known(text: str) -> bool:
    letters = "".join(filter(str.isalpha, text.lower()))
    return len(set(text)) < 8 or any(letters and not letters.replace(word, "") for word in _KNOWN_KEYS)


def _key(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if len(text.encode()) < SIGNING_KEY_BYTES:
        raise ValueError(f"it has {len(text.encode())} bytes; it needs {SIGNING_KEY_BYTES} at least")
    if _is_known(text):
        raise ValueError("anybody can guess it: it is a known default or hardly more than one character")
    return value


def _address(value: str) -> str:
    host, colon, port = value.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise ValueError("it is not HOST:PORT")
    return value


def _allowed(value: str) -> str:
    try:
        Allowed.of(value.split(","))
    except InvalidInput as error:
        raise ValueError(str(error)) from error
    return value


def default_cache_folder() -> Path:
    """Where this machine keeps copies of artifacts if nobody says otherwise."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "penstock"


class ServiceSettings(BaseSettings):
    """Every field `name` is `PENSTOCK_NAME` in the environment and `name` in a profile."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True, hide_input_in_errors=True, validate_default=False
    )

    broker_url: Annotated[SecretStr, AfterValidator(_url("amqp", "amqps"))] | None = None
    broker_management_url: Annotated[SecretStr, AfterValidator(_url("http", "https"))] | None = None
    database_url: Annotated[SecretStr, AfterValidator(_url("postgresql", "postgres"))] | None = None
    artifacts_url: Annotated[str, AfterValidator(_artifacts)] | None = None
    cache_folder: Path = Field(default_factory=default_cache_folder)
    workspace: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")] = DEFAULT_WORKSPACE
    signing_key: Annotated[SecretStr, AfterValidator(_key)] | None = None
    api_url: str | None = None
    api_token: Annotated[SecretStr, AfterValidator(_token)] | None = None
    oidc_issuer: Annotated[str, AfterValidator(_issuer)] | None = None
    """Whose word for who somebody is the API takes; None: nobody's."""
    oidc_client_id: str | None = None
    """As what `penstock login` is known there."""
    oidc_audience: str | None = None
    """For whom tokens have to be made; None: for the client."""
    oidc_subject_claim: Annotated[str, Field(pattern=r"^[A-Za-z0-9_:/.-]{1,200}$")] = "sub"
    oidc_groups_claim: Annotated[str, Field(pattern=r"^[A-Za-z0-9_:/.-]{1,200}$")] = "groups"
    oidc_scopes: Annotated[str, Field(pattern=r"^[!-~ ]{1,500}$")] = "openid profile offline_access"
    health_address: Annotated[str, AfterValidator(_address)] | None = None
    """host:port of /livez, /readyz and /metrics; None: they are not served."""
    cache_shared: Annotated[str, Field(pattern=r"^(off|read|read-write)$")] = "off"
    """Whether cache entries beside the artifacts are read and written: what others have made there is a hit then."""
    webhook_allow: Annotated[str, AfterValidator(_allowed)] = ""
    """Hosts, addresses and networks, with commas between: webhooks may go there though that is not the internet; by http too."""
    drain_seconds: Annotated[float, Field(ge=0)] = 30.0
    """So long a service that is asked to stop may finish what it began."""
    patience_seconds: Annotated[float, Field(ge=1)] = 30.0
    """So long a runner may be silent before its work is given to others."""
    events_kept_days: Annotated[float, Field(ge=0)] = 30.0
    """So long events are kept, with what was decided about them; 0: for good."""
    name: str | None = None
    """What the process is called in logs and lists; None: host, process and a random word."""
    log_format: Annotated[str, Field(pattern=r"^(auto|json|pretty)$")] = "auto"
    profile: str | None = None
    home: Path | None = None
    engine: str | None = None

    @classmethod
    @override
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        files = InitSettingsSource(settings_cls, _from_files(os.environ, PREFIX))
        return init_settings, env_settings, files

    @classmethod
    def read(cls, flags: Mapping[str, Any] | None = None, start: Path | None = None) -> "ServiceSettings":
        """The settings of this process. Flags that are None were not given.

        :raises InvalidInput: one can't be used; the text names the variable, where else it may be set, and an example.
        """
        given = {name: value for name, value in (flags or {}).items() if value is not None}
        profile = given.get("profile") or os.environ.get(f"{PREFIX}PROFILE")
        table = _of_profile(str(profile), start or Path.cwd()) if profile else {}
        # What the environment says of a setting, and be it wrong, goes before the profile.
        said = {name for name in cls.model_fields for suffix in ("", "_FILE") if os.environ.get(f"{PREFIX}{name.upper()}{suffix}")}
        try:
            return cls(**{**{name: value for name, value in table.items() if name not in said}, **given})
        except ValidationError as error:
            raise InvalidInput("\n".join(_complaint(str(e["loc"][0]) if e["loc"] else "", e["msg"]) for e in error.errors())) from None

    def needed(self, name: str) -> Any:
        """A setting that the service can't do without.

        :raises InvalidInput: nobody has set it.
        """
        value = getattr(self, name)
        if value is None:
            raise InvalidInput(_complaint(name, "it is not set"))
        return value.get_secret_value() if isinstance(value, SecretStr) else value

    @property
    def webhooks_allowed(self) -> Allowed:
        return Allowed.of(self.webhook_allow.split(","))

    def secret_values(self) -> list[str]:
        """What no log may show: secrets, and the passwords inside of URLs."""
        values: list[str] = []
        for name in SECRETS:
            secret: SecretStr | None = getattr(self, name)
            if secret is not None:
                text = secret.get_secret_value()
                password = urlsplit(text).password if name.endswith("_url") else text
                values += [text, unquote(password), password] if password else [text]
        values += [value for name, value in os.environ.items() if value and (name in _AWS_SECRETS or name.startswith("PENSTOCK_SECRET_"))]
        return sorted(set(values), key=len, reverse=True)


_AWS_SECRETS = frozenset({"AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"})


def _of_profile(name: str, start: Path) -> dict[str, Any]:
    table = read_profile(name, start)
    found = {key: value for key, value in table.items() if not key.endswith("_file")}
    unknown = sorted(set(found) - set(ServiceSettings.model_fields))
    if unknown:
        hint = nearest_hint(unknown[0], sorted(ServiceSettings.model_fields))
        raise InvalidInput(f"[profiles.{name}] in {FILE} has a setting {unknown[0]!r} that does not exist{hint}")
    files = {key: str(value) for key, value in table.items() if key.endswith("_file")}
    return found | _from_files(files, "")


def _from_files(variables: Mapping[str, str], prefix: str) -> dict[str, str]:
    """Secrets that stand in files, as a cluster mounts them."""
    found: dict[str, str] = {}
    for name in SECRETS:
        key = f"{prefix}{name}_file"
        key = key.upper() if prefix else key
        if path := variables.get(key):
            if variables.get(key.removesuffix("_FILE").removesuffix("_file")):
                raise InvalidInput(f"{key} and {key[:-5]} are both set; keep one of them")
            try:
                found[name] = Path(path).expanduser().read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise InvalidInput(f"{key} names {path}, which can't be read: {error}") from error
    return found


def _complaint(name: str, what: str) -> str:
    variable = f"{PREFIX}{name.upper()}"
    places = [f"set {variable}"]
    if name in SECRETS:
        places.append(f"name a file that holds it in {variable}_FILE")
    places.append(f"write {name} into a profile of {FILE} ([profiles.NAME], chosen by --profile NAME or {PREFIX}PROFILE)")
    example = f"; for example: {EXAMPLES[name]}" if name in EXAMPLES else ""
    return f"{variable}: {what.removeprefix('Value error, ')}. {', or '.join(places)[0].upper()}{', or '.join(places)[1:]}{example}"
