"""The window of conductance each cell has to end in, as codes of the board's converter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from labctl.array import Geometry, Scale
from labctl.errors import SettingsError, TargetError
from labctl.protocols.write_verify_settings import WriteVerifySettings
from labctl.units import format_quantity

_MARGIN = 1.5  # a cell has to land so far above where it would count as pristine: readings are noisy


@dataclass(frozen=True, slots=True)
class Windows:
    """(cells,) targets in S, and windows in ADC codes whose `low` and `high` are inside.

    `aim_low`, `aim_high`: where a cell has to land. `wanted`, `excluded`: bool. `count`: of wanted cells.
    """

    target: np.ndarray
    low: np.ndarray
    high: np.ndarray
    aim_low: np.ndarray
    aim_high: np.ndarray
    wanted: np.ndarray
    excluded: np.ndarray
    count: int


def windows(settings: WriteVerifySettings, geometry: Geometry, adc: Scale) -> Windows:
    """Raises TargetError or SettingsError with one sentence where a target cannot be meant."""
    shape = (geometry.rows, geometry.cols)
    target = _numbers(settings.target, shape, "target")
    targeted = _mask(settings.cells, shape, "cells", default=True)
    excluded = _mask(settings.exclude, shape, "exclude", default=False) & targeted
    wanted = targeted & ~excluded
    if not wanted.any():
        raise TargetError("$.target: nothing to program: no cell is targeted that is not excluded")
    if settings.tolerances is None:
        tolerance = np.full(shape, settings.tolerance, np.float32)
    else:
        tolerance = _numbers(settings.tolerances, shape, "tolerances")
    least = settings.form.formed_at
    _check_targets(target, tolerance, wanted, adc, least)
    target = np.where(wanted, target, np.float32(least))
    low, high = _codes_within(target, tolerance, adc, least)
    aim_low, aim_high = _codes_within(target, tolerance * np.float32(settings.aim), adc, least * _MARGIN)
    if np.any((aim_high < aim_low) & wanted.ravel()):
        raise SettingsError(f"$.tolerance: narrower than one step of the converter, {format_quantity(adc.step, 'S')}")
    count = int(np.count_nonzero(wanted))
    return Windows(target.ravel(), low, high, aim_low, aim_high, wanted.ravel(), excluded.ravel(), count)


def _codes_within(target: np.ndarray, tolerance: np.ndarray, adc: Scale, least: float) -> tuple[np.ndarray, np.ndarray]:
    """(cells,) lowest and highest code within `tolerance` of `target`: none below `least`, and not the top one, which
    means saturated."""
    low = np.ceil((np.maximum(target - tolerance, least) - adc.offset) / adc.step).clip(0, adc.top)
    high = np.floor((target + tolerance - adc.offset) / adc.step).clip(0, adc.top - 1)
    return low.astype(np.uint16).ravel(), high.astype(np.uint16).ravel()


def _mask(values: np.ndarray | None, shape: tuple[int, int], name: str, *, default: bool) -> np.ndarray:
    if values is None:
        return np.full(shape, default)
    if values.dtype != bool:
        raise TargetError(f"$.{name}: must be booleans, not {values.dtype}")
    return _shaped(values, shape, name)


def _numbers(values: np.ndarray, shape: tuple[int, int], name: str) -> np.ndarray:
    if values.dtype.kind not in "iuf":
        raise TargetError(f"$.{name}: must be real numbers in S, not {values.dtype}")
    return _shaped(values, shape, name).astype(np.float32)


def _shaped(values: np.ndarray, shape: tuple[int, int], name: str) -> np.ndarray:
    if values.shape != shape:
        raise TargetError(f"$.{name}: has shape {values.shape}, the array is {shape}")
    return values


def _check_targets(target: np.ndarray, tolerance: np.ndarray, wanted: np.ndarray, adc: Scale, least: float) -> None:
    most = adc.offset + adc.step * (adc.top - 1)
    problems = (
        (~np.isfinite(target), "is not a finite conductance"),
        (target < 0, "is negative"),
        (target < least, "is below form.formed_at, where a cell counts as pristine"),
        (target - tolerance > most, f"is above what the board can read, {format_quantity(most, 'S')}"),
    )
    for wrong, what in problems:
        wrong = wrong & wanted
        if wrong.any():
            row, col = np.unravel_index(int(wrong.argmax()), wrong.shape)
            raise TargetError(f"$.target: {target[row, col]:g} S at row {row}, column {col} {what}")
