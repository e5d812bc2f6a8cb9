"""The moments of a run's timeline that others may hear of."""

from penstock.contracts.event_types import OWN, RUN_TYPES, STEP_TYPES

TELLS_STEPS = "tells_steps"
"""The option of a run of whose steps somebody wants to hear."""
RUN_MOMENTS = frozenset(kind.removeprefix(OWN) for kind in RUN_TYPES)
STEP_MOMENTS = frozenset(kind.removeprefix(OWN) for kind in STEP_TYPES)
