"""Word operations of the self-test: what each is given, a program for it on columns by chance, and its truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.associative import AssociativeGeometry, Program
from labctl.compiler import Word, emit, program_of
from labctl.errors import SettingsError

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Kind:
    """One of the compiler's word operations.

    widths: of its words, for operands of so many bits; the last word is the result. given: how many of the words are
    operands, from the first on. truth: of the operands, (n,) each. signed: whether it is of signed words only.
    """

    widths: Callable[[int], tuple[int, ...]]
    given: int
    truth: Callable[..., NDArray[Any]]
    signed: bool = False


KINDS: dict[str, Kind] = {
    "add": Kind(lambda bits: (bits, bits + 1), 2, lambda a, b: a + b),
    "add_out": Kind(lambda bits: (bits, bits, bits + 1), 2, lambda a, b: a + b),
    "subtract": Kind(lambda bits: (bits, bits + 1), 2, lambda a, b: b - a),
    "subtract_out": Kind(lambda bits: (bits, bits, bits + 1), 2, lambda a, b: a - b),
    "reverse_subtract": Kind(lambda bits: (bits + 1, bits + 1), 2, lambda a, b: a - b),
    "negate": Kind(lambda bits: (bits + 1,), 1, lambda b: -b),
    "negate_out": Kind(lambda bits: (bits, bits + 1), 1, lambda a: -a),
    "relu": Kind(lambda bits: (bits,), 1, lambda b: np.maximum(b, 0), signed=True),
    "compare": Kind(lambda bits: (bits, bits, 1), 2, lambda a, b: a > b),
    "max": Kind(lambda bits: (bits, bits), 2, np.maximum),
}
"""By the compiler's names."""


@dataclass(frozen=True, slots=True)
class Work:
    """A program on words that lie somewhere. signed: whether they are. operands: words to load. result: to read."""

    program: Program
    signed: bool
    operands: tuple[Word, ...]
    result: Word


def work(name: str, bits: int, geometry: AssociativeGeometry, rng: np.random.Generator) -> Work:
    """The operation `name` of `bits`, on tracks and from domains that `rng` chooses; signed or not by chance, too.

    Raises SettingsError where its words do not fit.
    """
    kind = KINDS[name]
    widths = kind.widths(bits)
    if max(widths) > geometry.domains or len(widths) + 2 > geometry.tracks:
        raise SettingsError(
            f"$.bits: {name} of {bits} bits wants {len(widths) + 2} tracks of {max(widths)} domains or more; this "
            f"array has {geometry.tracks} of {geometry.domains}"
        )
    signed = kind.signed or bool(rng.integers(2))
    every = np.array([*widths, 1, 1])
    tracks = rng.permutation(geometry.tracks)[: len(every)]
    *firsts, carry, flag = (tracks * geometry.domains + rng.integers(geometry.domains - every + 1)).tolist()
    words = tuple(Word(first, width, signed) for first, width in zip(firsts, widths, strict=True))
    program = program_of(emit(name, *words, carry=carry, flag=flag), f"{name} of {bits} bits")
    return Work(program, signed, words[: kind.given], words[-1])


def operands(name: str, bits: int, rows: int, signed: bool, rng: np.random.Generator) -> Ints:
    """(rows, operands) random words of `bits`."""
    low, high = (-(1 << bits - 1), 1 << bits - 1) if signed else (0, 1 << bits)
    return rng.integers(low, high, size=(rows, KINDS[name].given))
