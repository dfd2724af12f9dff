"""Columns as text, whole blocks at a time.

Every column becomes a matrix of bytes, a row a value, padded with zero bytes; side by side, without the padding, they
are lines. Numbers are the shortest text that reads back as the very same number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.exchange.tables.columns import Column
from labctl.exchange.tables.names import quoted

Bytes = NDArray[np.uint8]
_ZERO = ord("0")
_PIECE = 65_536
"""Rows a piece: their bytes, a few MB, stay in a processor's cache."""


def lines(columns: Sequence[Column], block: Mapping[str, NDArray[Any]]) -> bytes:
    """Lines of comma-separated values; what is not there (NaN, no time) is left empty."""
    rows = len(block[columns[0].name])
    pieces = [slice(first, first + _PIECE) for first in range(0, rows, _PIECE)]
    return b"".join(_lines([_text(column, block[column.name][piece]) for column in columns]) for piece in pieces)


def _lines(texts: Sequence[Bytes]) -> bytes:
    comma, newline = (np.full((len(texts[0]), 1), ord(each), np.uint8) for each in ",\n")
    parts = [part for text in texts for part in (text, comma)]
    matrix = np.concatenate([*parts[:-1], newline], axis=1).ravel()
    line: bytes = matrix[matrix != 0].tobytes()
    return line


def _text(column: Column, values: NDArray[Any]) -> Bytes:
    """(rows, width) bytes."""
    if column.is_time:
        return _times(values.astype("M8[ns]"))
    if column.flags is not None:
        return _words(column.flags.words(), values)
    if column.integer is None and values.dtype.kind == "f":
        return _floats(values)
    text = _integers(column.stored(values))
    if column.integer is not None:
        text[np.isnan(values)] = 0
    return text


def _words(words: Mapping[int, str], codes: NDArray[Any]) -> Bytes:
    """Codes without a word stay numbers."""
    table, places = np.unique(codes, return_inverse=True)
    texts = [quoted(words.get(int(code), str(code))).encode() for code in table]
    return _matrix(np.array(texts, np.bytes_), places)


def _floats(values: NDArray[Any]) -> Bytes:
    """A block has few different ones where they come from a converter: each of those is made text once."""
    import pandas as pd  # has the fastest way to number them; xarray has imported it

    places, table = pd.factorize(values)  # NaN: -1, the last
    return _matrix(np.append(table.astype(np.bytes_), np.bytes_()), places)


def _matrix(texts: NDArray[np.bytes_], places: NDArray[np.intp]) -> Bytes:
    """(places, width): of each place its text."""
    width = max(texts.dtype.itemsize, 1)
    table = texts.astype(f"S{width}").view(np.uint8).reshape(len(texts), width)
    found: Bytes = table[places]
    return found


def _integers(values: NDArray[Any]) -> Bytes:
    negative = values < 0
    wide = values.astype(np.uint64)  # two's complement: of the lowest number, too, the magnitude comes out right
    magnitude = np.where(negative, ~wide + np.uint64(1), wide)
    digits = _digits(magnitude, len(str(int(magnitude.max(initial=0)))))
    leading = np.logical_and.accumulate(digits[:, :-1] == _ZERO, axis=1)
    digits[:, :-1][leading] = 0
    if not negative.any():
        return digits
    return np.concatenate([np.where(negative, ord("-"), 0).astype(np.uint8)[:, None], digits], axis=1)


def _times(values: NDArray[np.datetime64]) -> Bytes:
    """ISO 8601, UTC, with nine digits."""
    missing = np.isnat(values)
    number = np.where(missing, 0, values.astype(np.int64))
    seconds, places = np.unique(number // 10**9, return_inverse=True)
    whole = _matrix(np.datetime_as_string(seconds.astype("M8[s]")).astype(np.bytes_), places)
    fraction = _digits((number % 10**9).astype(np.uint64), 9)
    dot, zone = (np.full((len(number), 1), ord(each), np.uint8) for each in ".Z")
    text = np.concatenate([whole, dot, fraction, zone], axis=1)
    text[missing] = 0
    return text


def _digits(numbers: NDArray[np.uint64], count: int) -> Bytes:
    """(numbers, count) digits, with leading zeros."""
    left = numbers.astype(np.uint32) if count <= 9 else numbers
    found = np.empty((len(left), count), np.uint8)
    for place in range(count - 1, -1, -1):
        rest = left // left.dtype.type(10)
        found[:, place] = left - rest * left.dtype.type(10)
        left = rest
    found += _ZERO
    return found
