"""The idx format of MNIST and its relatives, for unsigned bytes.

Two zero bytes, the type (8: unsigned byte), the number of axes, each axis' length as big-endian u32, then the
elements, last axis fastest; nothing follows. Y. LeCun, C. Cortes and C. Burges, "The MNIST database", at the end.
"""

from __future__ import annotations

import math
import struct

import numpy as np
from numpy.typing import NDArray

_UNSIGNED_BYTE = 8


def decode_idx(content: bytes, axes: int) -> NDArray[np.uint8]:
    """The array in `content`, with so many axes; raises ValueError with what is wrong."""
    if len(content) < 4 or content[:2] != b"\0\0":
        raise ValueError("no idx file: it does not begin with two zero bytes and two of a kind")
    kind, found = content[2], content[3]
    if kind != _UNSIGNED_BYTE:
        raise ValueError(f"elements of idx type 0x{kind:02x}, not unsigned bytes (0x08)")
    if found != axes:
        raise ValueError(f"{found} axes instead of {axes}")
    start = 4 + 4 * axes
    if len(content) < start:
        raise ValueError("cut off within its header")
    shape = struct.unpack(f">{axes}I", content[4:start])
    if len(content) - start != math.prod(shape):
        size = " x ".join(str(length) for length in shape)
        raise ValueError(f"{len(content) - start} bytes of elements instead of {size}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def encode_idx(array: NDArray[np.uint8]) -> bytes:
    """`array` as an idx file's content."""
    header = bytes([0, 0, _UNSIGNED_BYTE, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + np.ascontiguousarray(array, np.uint8).tobytes()
