"""What every driver of an array checks of what it is given, and how a current becomes a code of a reading."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from labctl.array import Cells, PulseBatch, PulseLimits, Scale

_ROUNDING = 1e-9  # relative: what a voltage loses on its way through text
_BITS = 24  # as fine as a float32 and finer than any bench instrument
_UNDER_ZERO = 32  # part of the full scale that a reading may be below 0


def checked_batch(batch: PulseBatch, total: int) -> PulseBatch:
    """The batch in the types of the wire, on an array of `total` cells. Raises ValueError where it is none."""
    cells, amplitude = checked_cells(batch.cells, total), whole(batch.amplitude, np.uint16, "amplitudes")
    if len(amplitude) != len(cells):
        raise ValueError(f"{len(amplitude)} amplitudes for {len(cells)} cells")
    if not (math.isfinite(batch.width) and math.isfinite(batch.gate)):
        raise ValueError(f"a pulse cannot be {batch.width:g} s wide with {batch.gate:g} V on the gate")
    return PulseBatch(batch.operation, cells, amplitude, float(batch.width), float(batch.gate))


def checked_cells(cells: ArrayLike, total: int) -> Cells:
    """(n,) u32, little endian. Raises ValueError unless strictly increasing and on an array of `total` cells."""
    where: Cells = whole(cells, np.uint32, "cells")
    if len(where) and not (np.all(where[1:] > where[:-1]) and where[-1] < total):
        raise ValueError(f"cells must be strictly increasing and between 0 and {total - 1}")
    return where


def whole(values: ArrayLike, dtype: DTypeLike, what: str) -> NDArray[Any]:
    """`values` as (n,) of unsigned integers, little endian. Raises ValueError where they are no such numbers."""
    given = np.asarray(values)
    if given.ndim != 1 or (given.dtype.kind not in "ui" and given.size):
        raise ValueError(f"{what} must be whole numbers in one dimension, not {given.dtype} of shape {given.shape}")
    wanted = np.dtype(dtype).newbyteorder("<")
    if given.dtype != wanted and given.size and (given.min() < 0 or given.max() > np.iinfo(wanted).max):
        raise ValueError(f"{what} must be between 0 and {np.iinfo(wanted).max}")
    return np.ascontiguousarray(given, wanted)


def scale_at(adc: Scale, base: float, voltage: float, limits: PulseLimits) -> Scale:
    """What a code of a read at `voltage`, V, is in S, where `adc` is for reads at `base`, V.

    The converter measures a current, so it goes with one over the voltage. Raises ValueError beyond `limits`.
    """
    low, high = limits.min_read_voltage, limits.max_read_voltage
    if low is None or high is None or not low * (1 - _ROUNDING) <= voltage <= high * (1 + _ROUNDING):
        raise ValueError(f"a cell cannot be read at {voltage:g} V: it can be at {low:g} to {high:g} V")
    ratio = base / voltage
    return replace(adc, step=adc.step * ratio, offset=adc.offset * ratio)


def current_adc(current_range: float, read_voltage: float, reach: float = 1.0) -> Scale:
    """Of an instrument that answers currents as numbers: codes finer than they are, in S at `read_voltage`, V.

    current_range: A, of which `reach` can still be measured.
    """
    full = current_range * reach / read_voltage
    return Scale(full * (1 + 1 / _UNDER_ZERO) / ((1 << _BITS) - 1), -full / _UNDER_ZERO, _BITS, "S")


def codes_of(amps: ArrayLike, volts: float, scale: Scale) -> NDArray[np.uint32]:
    """Codes of currents read at `volts`, same shape; at an end of `scale` what is beyond it.

    Raises ValueError where a current is not a number: what was not read has no code.
    """
    exact = (np.asarray(amps, np.float64) / volts - scale.offset) / scale.step
    if np.isnan(exact).any():
        raise ValueError("a reading is not a number")
    return np.clip(np.rint(exact), 0, scale.top).astype(np.uint32)
