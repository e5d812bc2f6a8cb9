"""Arguments bound to a signature, with the nearest name where one is unknown."""

import inspect
from collections.abc import Mapping
from typing import Any

from penstock.sdk.nearest import nearest_hint


def bound_arguments(signature: inspect.Signature, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> inspect.BoundArguments:
    """As `signature.bind`, but an unknown name is told before a missing one.

    :raises TypeError: they don't fit.
    """
    parameters = signature.parameters.values()
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters)
    names = [parameter.name for parameter in parameters if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)]
    for name in kwargs:
        if name not in names and not takes_any:
            raise TypeError(f"there is no parameter {name!r}{nearest_hint(name, names)}")
    return signature.bind(*args, **kwargs)
