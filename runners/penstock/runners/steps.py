"""Decoded steps, kept by their bytes: all orders of a step carry the same ones."""

from collections import OrderedDict

from pydantic import ValidationError

from penstock.contracts.errors import ContractError
from penstock.contracts.spec import StepSpec

_KEPT = 256


class StepCache:
    """The most recently used ones."""

    def __init__(self) -> None:
        self._steps: OrderedDict[bytes, StepSpec] = OrderedDict()

    def step(self, data: bytes) -> StepSpec:
        """:raises ContractError: the bytes are not a step."""
        step = self._steps.get(data)
        if step is None:
            try:
                step = StepSpec.model_validate_json(data)
            except ValidationError as error:
                first = error.errors()[0]
                raise ContractError(f"not a step: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
            self._steps[data] = step
            if len(self._steps) > _KEPT:
                self._steps.popitem(last=False)
        return step
