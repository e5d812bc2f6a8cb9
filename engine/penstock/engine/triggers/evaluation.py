"""How compiled CEL is evaluated within bounds: natively, and for an expression that is a `map` or `filter` as a whole, item by item.

The library copies what a name stands for whenever it is read, and all that `map` and `filter` have made so far for every further item.
A `map` over 10,000 numbers takes it two seconds; item by item a fiftieth of one. What other loops would cost is reckoned beforehand.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from penstock.engine.triggers.scope import Scope, extent
from penstock.engine.triggers.syntax import Loop, last_loop, loops_in
from penstock.engine.triggers.text_functions import PARTS_LIMIT

if TYPE_CHECKING:
    import cel

ITEM_LIMIT = 10_000
"""Items that a loop may run over: the most that a batch has."""
EFFORT_LIMIT = 5_000_000
"""Values that the loops of an expression may copy: about a quarter of a second."""


_MADE_EFFORT = 5
"""As much as copying so many values: making one of Python's own."""
SUMS = 8
"""So many sums an expression may have without anybody reckoning what they copy."""
SUM_LIMIT = 50_000_000
"""Values that sums may copy, which are copied many at a time: about a quarter of a second too."""


class TooMuch(ValueError):
    """It would take too long over these events."""


@dataclass(frozen=True, slots=True)
class Native:
    """An expression as the library evaluates it. `names`: the variables that it uses, but those that loops around it bind."""

    program: "cel.Program"
    names: tuple[str, ...]
    loops: tuple[Loop, ...] = ()

    def value(self, scope: Scope) -> Any:
        if self.loops:
            longest, total = extent(scope.variables(self.names))
            longest = max(longest, PARTS_LIMIT) if "split" in self.program.functions() else longest
            growth = prod(max(loop.reads, 1) for loop in self.loops if loop.kind == "map")
            _check(longest, growth * sum(_effort(loop, longest, total, self.names) for loop in self.loops))
        return self.program.execute(scope.context(self.names))


@dataclass(frozen=True, slots=True)
class ItemByItem:
    """`over.map(variable, made)`, `over.map(variable, condition, made)` or `over.filter(variable, condition)`."""

    over: "Native | ItemByItem"
    loop: Loop
    condition: Native | None
    made: Native | None

    def value(self, scope: Scope) -> Any:
        match self.over.value(scope):
            case [*items]:
                pass
            case {**entries}:
                items = sorted(entries, key=str)  # the library has them in another order each time
            case _:
                raise TypeError("what it loops over is no list")
        outer = tuple({*(self.condition.names if self.condition else ()), *(self.made.names if self.made else ())})
        _check(len(items), len(items) * extent(scope.variables(outer))[1] * _outward(self.loop, outer) if outer else 0)
        if self.loop.reads > 1:
            # What it makes may hold each item as often.
            _check(0, extent(items)[1] * self.loop.reads * _MADE_EFFORT)
        return list(self._values(scope, items, outer))

    def _values(self, scope: Scope, items: list[Any], outer: tuple[str, ...]) -> Iterator[Any]:
        for item in items:
            context = scope.around(self.loop.variable, item, outer)
            if self.condition is not None and not _truth(self.condition.program.execute(context)):
                continue
            yield item if self.made is None else self.made.program.execute(context)


def check_sums(text: str, names: tuple[str, ...], scope: Scope) -> None:
    """Each sum of texts or lists copies all that was summed before it.

    :raises TooMuch: together they copy too much.
    """
    sums = text.count("+")
    if sums > SUMS and sums * sums * extent(scope.variables(names))[1] > SUM_LIMIT:
        raise TooMuch(f"it has {sums} sums, which is too much work for events as large as this")


def plan(text: str, whole: Native) -> Native | ItemByItem:
    """How to evaluate the expression `text`, which is valid CEL and compiled as `whole`."""
    import cel  # noqa: PLC0415 -- a third of a second, for who evaluates

    loop = last_loop(text) if whole.loops else None
    if loop is None:
        return whole

    def part(source: str) -> Native:
        program = cel.compile(source)
        return Native(program, tuple(name for name in program.variables() if name in whole.names), tuple(loops_in(source)))

    parts = [part(source) for source in loop.parts]
    over = plan(loop.over, part(loop.over))
    # Loops are in the order in which they end.
    if loop.kind == "filter":
        return ItemByItem(over, whole.loops[-1], parts[0], None)
    return ItemByItem(over, whole.loops[-1], parts[0] if len(parts) > 1 else None, parts[-1])


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("what decides about its items is neither true nor false")
    return value


def _effort(loop: Loop, longest: int, total: int, names: tuple[str, ...]) -> int:
    copied = longest * total * _outward(loop, names) or total
    return copied * (longest // 2 + 1) if loop.kind in ("map", "filter") else copied


def _outward(loop: Loop, names: tuple[str, ...]) -> int:
    """How often its body reads variables of the expression."""
    return sum(name in names for name in loop.names)


def _check(items: int, effort: int) -> None:
    if items > ITEM_LIMIT:
        raise TooMuch(f"a loop over {items} items is too much, {ITEM_LIMIT} at most")
    if effort > EFFORT_LIMIT:
        raise TooMuch("its loops are too much work for events as large as this; let them look at less, or send smaller events")
