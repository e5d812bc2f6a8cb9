"""What the broker and its library say, in the words of the port: every failure is `BusUnavailable`, and no text holds the password."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager

from aiormq.exceptions import (
    ChannelAccessRefused,
    ChannelNotFoundEntity,
    InvalidFrameError,
    ProbableAuthenticationError,
)

from penstock.contracts.errors import BusUnavailable
from penstock.transport.buses.rabbitmq.address import Address

_APPLY = "`penstock topology apply` declares what is missing"
UNROUTABLE = f"no queue takes it; {_APPLY}"
FULL = "the broker refused it: its queue is full, or has no leader"


@contextmanager
def translated(what: str) -> Generator[None, None, None]:
    """Raises `BusUnavailable` for whatever goes wrong inside; `what` was attempted.

    A lost connection cancels what waits for it, which is told from a cancellation of our own task by that task's own count. The library
    also swallows a cancellation that comes at the moment of an answer or of an error, which is made good for.
    """
    task = asyncio.current_task()
    before = 0 if task is None else task.cancelling()
    try:
        yield
    except BusUnavailable as error:
        raise BusUnavailable(f"{what}: {error}") from error
    except asyncio.CancelledError as error:
        if task is not None and task.cancelling() > before:
            raise
        raise BusUnavailable(f"{what}: the connection was lost") from error
    except Exception as error:
        if task is not None and task.cancelling() > before:
            raise asyncio.CancelledError from error
        # aiormq rejects what waits with whatever ended the connection, a bare Exception among it.
        raise BusUnavailable(f"{what}: {explained(error)}") from error
    if task is not None and task.cancelling() > before:
        raise asyncio.CancelledError


def explained(error: BaseException) -> str:
    """What happened, and what to do about it where there is something to do."""
    match error:
        case ChannelNotFoundEntity():
            return f"{error}; {_APPLY}"
        case ChannelAccessRefused():
            return f"{error}; give the user that permission, or let an operator declare it: {_APPLY}"
        case TimeoutError():
            return "no answer in time; the broker may be out of memory or disk, overloaded or unreachable"
        case _:
            return str(error) or type(error).__name__


def why_closed(closing: "asyncio.Future[object]") -> str:
    """What ended a channel or connection, by its future."""
    error = None if closing.cancelled() else closing.exception()
    return "the connection was lost" if error is None or isinstance(error, asyncio.CancelledError) else explained(error)


def refused_connection(address: Address, error: BaseException) -> BusUnavailable:
    """Why a connection could not be opened."""
    text = str(error)
    if isinstance(error, ProbableAuthenticationError):
        reason = "the broker refused the user or the password; check the user information of PENSTOCK_BROKER_URL"
    elif isinstance(error, InvalidFrameError) and "Connection.OpenOk" in text:
        # The library does not pass on what the broker says when it refuses a virtual host.
        reason = (
            "the virtual host does not exist, is full, or the user may not enter it; check the path of PENSTOCK_BROKER_URL, "
            "or run `rabbitmqctl add_vhost` and `rabbitmqctl set_permissions`"
        )
    elif isinstance(error, TimeoutError):
        reason = "the broker did not answer in time; check that it runs and that nothing drops the packets"
    elif isinstance(error, OSError):
        reason = f"{text or type(error).__name__}; check that the broker runs and the host and port of PENSTOCK_BROKER_URL"
    else:
        reason = explained(error)
    return BusUnavailable(f"can't connect to RabbitMQ at {address}: {reason}")
