"""What attempts get from the runner that executes them, whatever kind of guest theirs is."""

from collections.abc import Callable
from dataclasses import dataclass

from penstock.contracts.messages import Order
from penstock.runners.devices import Given
from penstock.runners.known_secrets import ResolveSecret, secret_of_runner
from penstock.runners.log_feed import LogFeed
from penstock.transport.checkpoints import CheckpointStore


def _whatever_there_is(order: Order) -> Given:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Provision:
    """Secrets, GPUs, a log, time to end, and what outlives an attempt."""

    resolve_secret: ResolveSecret = secret_of_runner
    devices: Callable[[Order], Given] = _whatever_there_is
    """Which GPUs an order was given."""
    log_limit_bytes: int = 16 * 1024 * 1024
    """Of one attempt: half of it from its beginning, half from its end."""
    grace_seconds: float = 5.0
    """Between asking a guest to end and killing it."""
    feed: LogFeed | None = None
    """Where those who follow hear what guests print."""
    checkpoints: CheckpointStore | None = None
    """What a step saves is found there by its next attempt on any machine. None: on this one only."""


PLAIN = Provision()
