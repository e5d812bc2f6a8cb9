"""Types of events: which are ours, and how they are asked for."""

OWN = "penstock."
"""Begins the types that only Penstock makes."""
RUN_TYPES = ("penstock.run.started", "penstock.run.succeeded", "penstock.run.failed", "penstock.run.cancelled")
STEP_TYPES = ("penstock.step.succeeded", "penstock.step.failed", "penstock.step.skipped")


def type_fits(pattern: str, event_type: str) -> bool:
    """Whether events of that type are meant; `*` at the end of a pattern stands for anything."""
    return event_type.startswith(pattern[:-1]) if pattern.endswith("*") else event_type == pattern
