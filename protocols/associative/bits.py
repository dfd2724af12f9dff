"""Planes of random bits, compared bit by bit: what characterisations of an associative chip write and read back."""

from __future__ import annotations

import numpy as np

from labctl.associative import AssociativeArray, AssociativeGeometry, Columns, Planes, Read
from labctl.errors import SettingsError

READS = 3
"""Of which the majority is believed."""


def every_row(geometry: AssociativeGeometry) -> Planes:
    """(row_bytes,) the plane of all rows."""
    return np.packbits(np.ones(geometry.rows, np.uint8), bitorder="little")


def random_planes(rng: np.random.Generator, count: int, geometry: AssociativeGeometry) -> Planes:
    """(count, row_bytes), each bit 0 or 1 by chance."""
    planes = rng.integers(0, 256, (count, geometry.row_bytes), np.uint8)
    return planes & every_row(geometry)


def ones(planes: Planes) -> int:
    return int(np.bitwise_count(planes).sum(dtype=np.int64))


def spread(count: int, of: int, setting: str) -> np.ndarray:
    """(count,) of `of` things, as far apart as can be; of fewer, all of them. Raises SettingsError for less than 1."""
    if count < 1:
        raise SettingsError(f"$.{setting}: must be at least 1, not {count}")
    wanted = min(count, of)
    return np.arange(wanted) * of // wanted


def still_columns(count: int, geometry: AssociativeGeometry, setting: str) -> Columns:
    """(count,) columns on tracks of their own, all under a port at once: once sought, no track is shifted any more."""
    return (spread(count, geometry.tracks, setting) * geometry.domains).astype(np.uint32)


def read_thrice(array: AssociativeArray, columns: Columns) -> tuple[Planes, int]:
    """What `columns` hold by the majority of three reads, (n, row_bytes), and how many bits of these differed from it.

    A bit that is misread twice of three times is believed: the square of the rate at which single ones are.
    """
    first, second, third = array.perform(*([Read(columns)] * READS))
    believed = first & second | second & third | third & first
    return believed, sum(ones(each ^ believed) for each in (first, second, third))
