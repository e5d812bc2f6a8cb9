"""What a service process is called: by host, process and a random word, since containers share process numbers."""

import os
import secrets
import socket

from penstock.contracts.messages import clean_text


def host_name() -> str:
    """This machine, as it calls itself."""
    return clean_text(socket.gethostname(), 100)


def process_name() -> str:
    """A name that no other process has."""
    return f"{host_name()}-{os.getpid()}-{secrets.token_hex(3)}"
