"""Numbers that every store, clock and language of ours can hold; what comes from outside is held to these."""

from typing import Annotated

from pydantic import Field

LongInteger = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
Count = Annotated[int, Field(ge=0, le=2**63 - 1)]
Seconds = Annotated[float, Field(ge=0, le=3e9, allow_inf_nan=False)]
"""A span of time, a century at most: in microseconds it can be added to any date."""
