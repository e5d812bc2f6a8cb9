"""Where state lives, and what else the environment says. Read once by a command; everything below gets plain values."""

from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict

HOME_NAME = ".penstock"
_ROOT_MARKS = ("pyproject.toml", ".git", "penstock.toml")


class Settings(BaseSettings):
    """The environment variables that Penstock's command line knows."""

    model_config = SettingsConfigDict(env_prefix="PENSTOCK_", extra="ignore")

    home: Path | None = None
    """The state folder, instead of `.penstock/` beside the pipeline's project."""
    engine: str = "embedded"


def project_root(start: Path) -> Path:
    """The nearest folder at or above `start` that looks like a project, else the folder of `start`."""
    folder = start.absolute() if start.is_dir() else start.absolute().parent
    for candidate in (folder, *folder.parents):
        if any((candidate / mark).exists() for mark in _ROOT_MARKS):
            return candidate
    return folder


def state_folder(start: Path, settings: Settings) -> Path:
    """The state folder of the project around `start`, or where `PENSTOCK_HOME` says."""
    if settings.home is not None:
        return settings.home.expanduser().absolute()
    return project_root(start) / HOME_NAME
