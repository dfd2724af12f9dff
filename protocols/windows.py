"""The window of conductance each cell has to end in, as codes of the board's converter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from labctl.array import Geometry, Scale
from labctl.errors import SettingsError, TargetError
from labctl.protocols.write_verify_settings import WriteVerifySettings
from labctl.units import format_quantity


@dataclass(frozen=True, slots=True)
class Windows:
    """(cells,) targets in S, and windows in ADC codes whose `low` and `high` are inside.

    `aim_low`, `aim_high`: where a cell has to land. `wanted`, `excluded`: bool. `count`: of wanted cells, at least 1.
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
    target = _map(settings.target, shape, "target").astype(np.float32)
    wanted = np.ones(shape, bool) if settings.cells is None else _map(settings.cells, shape, "cells").astype(bool)
    excluded = (
        np.zeros(shape, bool) if settings.exclude is None else _map(settings.exclude, shape, "exclude").astype(bool)
    )
    wanted &= ~excluded
    tolerance = (
        np.full(shape, settings.tolerance, np.float32)
        if settings.tolerances is None
        else _map(settings.tolerances, shape, "tolerances").astype(np.float32)
    )
    _check_targets(target, tolerance, wanted, adc)
    target = np.where(wanted, target, 0)
    low, high = _codes_within(target, tolerance, adc)
    aim_low, aim_high = _codes_within(target, tolerance * np.float32(settings.aim), adc)
    if np.any((aim_high < aim_low) & wanted.ravel()):
        raise SettingsError(f"$.tolerance: narrower than one step of the converter, {format_quantity(adc.step, 'S')}")
    return Windows(
        target.ravel(),
        low,
        high,
        aim_low,
        aim_high,
        wanted.ravel(),
        excluded.ravel(),
        max(int(np.count_nonzero(wanted)), 1),
    )


def _codes_within(target: np.ndarray, tolerance: np.ndarray, adc: Scale) -> tuple[np.ndarray, np.ndarray]:
    """(cells,) lowest and highest code within `tolerance` of `target`, never the top one, which means saturated."""
    low = np.ceil((target - tolerance - adc.offset) / adc.step).clip(0, adc.top)
    high = np.floor((target + tolerance - adc.offset) / adc.step).clip(0, adc.top - 1)
    return low.astype(np.uint16).ravel(), high.astype(np.uint16).ravel()


def _map(values: np.ndarray, shape: tuple[int, int], name: str) -> np.ndarray:
    if np.shape(values) != shape:
        raise TargetError(f"$.{name}: has shape {np.shape(values)}, the array is {shape}")
    return np.asarray(values)


def _check_targets(target: np.ndarray, tolerance: np.ndarray, wanted: np.ndarray, adc: Scale) -> None:
    most = adc.offset + adc.step * (adc.top - 1)
    problems = (
        (~np.isfinite(target), "is not a finite conductance"),
        (target < 0, "is negative"),
        (target - tolerance > most, f"is above what the board can read, {format_quantity(most, 'S')}"),
    )
    for wrong, what in problems:
        wrong = wrong & wanted
        if wrong.any():
            row, col = np.unravel_index(int(wrong.argmax()), wrong.shape)
            raise TargetError(f"$.target: {target[row, col]:g} S at row {row}, column {col} {what}")
