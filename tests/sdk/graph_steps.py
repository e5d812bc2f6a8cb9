"""Small steps of which tests draw graphs."""

from collections.abc import Sequence
from typing import NamedTuple

from penstock.sdk import Directory, File, step


class Parts(NamedTuple):
    left: int
    right: str


@step
def make(number: int) -> int:
    return number


@step
def parts(number: int) -> Parts:
    return Parts(number, "")


@step
def total(numbers: Sequence[int]) -> int:
    return sum(numbers)


@step
def add(a: int, b: int) -> int:
    return a + b


@step
def say(number: int) -> None: ...


@step
def folder(number: int) -> Directory:
    return Directory(".")


@step
def read(file: File) -> str:
    return ""


@step
def numbers() -> list[int]:
    return [1, 2]
