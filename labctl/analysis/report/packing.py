"""Numbers as text within a page: maps in 16 bits a cell, compressed; and what decodes them again.

A map of numbers becomes codes 0 to 65534, value = offset + scale * code, and 65535 where there is none. High bytes
come first, then low ones, which compresses better. The browser inflates with DecompressionStream (zlib's format).
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

NONE, TOP = 65535, 65534
_FINE = 1e-6  # of a value that is the only one


def pack_numbers(values: ArrayLike) -> dict[str, Any]:
    """`values` as {data, bits, scale, offset}. Whole numbers up to 65534 are exact, others to half of `scale`."""
    numbers = np.asarray(values, np.float64)
    known = np.isfinite(numbers)
    low, high = (float(numbers[known].min()), float(numbers[known].max())) if known.any() else (0.0, 0.0)
    if low >= 0 and high <= TOP and not (numbers[known] % 1).any():
        scale, offset = 1.0, 0.0
    else:
        step = (high - low) / TOP or abs(low) * _FINE
        scale, offset = max(step, float(np.finfo(np.float64).tiny)), low
    codes = np.full(numbers.shape, NONE, np.uint16)
    codes[known] = np.rint((numbers[known] - offset) / scale).clip(0, TOP).astype(np.uint16)
    flat = codes.ravel()
    planes = (flat >> 8).astype(np.uint8).tobytes() + (flat & 255).astype(np.uint8).tobytes()
    return {"data": _text(planes), "bits": 16, "scale": scale, "offset": offset}


def pack_codes(codes: NDArray[Any]) -> dict[str, Any]:
    """Codes of one byte as {data, bits}."""
    return {"data": _text(codes.astype(np.uint8).tobytes()), "bits": 8}


def unpack(packed: Mapping[str, Any]) -> NDArray[np.float64]:
    """What was packed, flat; NaN for none. Codes as they are."""
    stored = np.frombuffer(zlib.decompress(base64.b64decode(packed["data"])), np.uint8)
    if packed["bits"] == 8:
        return stored.astype(np.float64)
    high, low = stored.reshape(2, -1).astype(np.uint16)
    codes = (high << 8) | low
    values: NDArray[np.float64] = packed["offset"] + packed["scale"] * codes.astype(np.float64)
    values[codes == NONE] = np.nan
    return values


def _text(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content, 6)).decode("ascii")
