"""Secrets that a laptop makes for itself: written once into its state folder, for its owner's eyes only."""

import os
import secrets
from pathlib import Path

SIGNING_KEY = "signing-key"


def dev_folder(home: Path) -> Path:
    """What is `penstock dev`'s alone, in a state folder that is there."""
    folder = home / "dev"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def kept_secret(path: Path) -> str:
    """The secret in that file; a new one where there is none."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text(encoding="utf-8").strip()
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(secret := secrets.token_urlsafe(32))
    return secret
