"""What a run is for: digests that are the same for the same cause, and the run's id. Here loops are told."""

import hashlib
from collections.abc import Iterable, Sequence

from penstock.contracts.cloud_events import HOP_LIMIT, CloudEvent
from penstock.contracts.encoding import canonical, digest_of
from penstock.contracts.names import RunId
from penstock.contracts.triggers import TriggerSpec

_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
_LENGTH = 26


def cause_of_events(events: Iterable[tuple[str, str, int]]) -> str:
    """The digest of the events, each by source, id and how often it was replayed, that make a run together, in whichever order."""
    return digest_of(sorted([list(event) for event in events]))


def cause_of_key(dedupe: str) -> str:
    """The digest of a dedupe key: whatever events have it, they are one cause."""
    return digest_of({"dedupe": dedupe})


def run_id_of(workspace: str, trigger: str, cause: str) -> RunId:
    """The id of the one run of that cause: 26 digits of Crockford's base32, whichever version of the trigger decides."""
    number = int.from_bytes(hashlib.sha256(canonical([workspace, trigger, cause])).digest()) >> (256 - 5 * _LENGTH)
    return RunId("".join(_DIGITS[number >> shift & 31] for shift in range(5 * (_LENGTH - 1), -1, -5)))


def looped(spec: TriggerSpec, event: CloudEvent, causes: Sequence[str] = ()) -> str | None:
    """Why nothing may start from the event: it came through too many runs, or this trigger is among `causes`, the triggers that led to it.

    None: it may. A trigger that has a hop limit of its own means to go round.
    """
    limit = HOP_LIMIT if spec.hop_limit is None else spec.hop_limit
    if event.hops > limit:
        return f"it came through {event.hops} runs, {limit} at most"
    if spec.hop_limit is None and spec.name in causes:
        return f"the trigger {spec.name!r} is among its own causes; `hop_limit` lets it go round that often"
    return None
