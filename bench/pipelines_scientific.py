"""The same pipelines in a module that imports what most training code does: their guests are forked from a larger process."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression

from penstock.sdk import collect, each, pipeline, step

# What is imported and not used would be no import that a linter leaves alone.
LIBRARIES = (np.ndarray, pd.DataFrame, LinearRegression)


@step
def plus_one(number: int) -> int:
    return number + 1


@step
def last(numbers: Sequence[int]) -> int:
    return numbers[-1]


@pipeline
def single(number: int) -> int:
    return plus_one(number)


@pipeline
def chain_of_5(number: int) -> int:
    for position in range(5):
        number = plus_one.options(name=f"plus_{position}")(number)
    return number


@pipeline
def chain_of_100(number: int) -> int:
    for position in range(100):
        number = plus_one.options(name=f"plus_{position}")(number)
    return number


@pipeline
def fan(numbers: Sequence[int]) -> int:
    return last(collect(plus_one(each(numbers))))
