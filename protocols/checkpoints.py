"""Checkpoints of several parts: the arrays of each under its own name and a dot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]


def beneath(part: str, arrays: Arrays) -> dict[str, NDArray[Any]]:
    """`arrays` under the name of a `part`."""
    return {f"{part}.{name}": values for name, values in arrays.items()}


def within(checkpoint: Arrays, part: str) -> dict[str, NDArray[Any]]:
    """Of a `checkpoint` those of a `part`, under their own names."""
    prefix = f"{part}."
    return {name.removeprefix(prefix): values for name, values in checkpoint.items() if name.startswith(prefix)}
