"""The window of conductance each cell has to end in, as codes of the board's converter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from labctl.array import Geometry, Scale
from labctl.errors import SettingsError, TargetError
from labctl.protocols.write_verify_settings import WriteVerifySettings
from labctl.units import format_quantity

_MARGIN = 1.5  # a cell has to land so far above where it would count as pristine: readings are noisy


def lowest_landing(formed_at: float) -> float:
    """S from which on a cell can land in a window."""
    return formed_at * _MARGIN


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
    below, above = _margins(settings, target, shape)
    least = settings.form.formed_at
    _check_targets(target, below, above, wanted, adc, least)
    target = np.where(wanted, target, np.float32(least))
    below, above = (np.where(wanted, margin, np.float32(0)) for margin in (below, above))
    aim = np.float32(settings.aim)
    low, high = _codes_within(target, below, above, adc, least)
    aim_low, aim_high = _codes_within(target, below * aim, above * aim, adc, lowest_landing(least))
    if settings.window_high is not None:
        beyond = wanted & (target + above > _readable(adc))
        high[beyond.ravel()] = aim_high[beyond.ravel()] = adc.top
    if np.any((aim_high < aim_low) & wanted.ravel()):
        name = "tolerance" if settings.window_high is None else "window_high"
        raise SettingsError(f"$.{name}: narrower than one step of the converter, {format_quantity(adc.step, 'S')}")
    count = int(np.count_nonzero(wanted))
    return Windows(target.ravel(), low, high, aim_low, aim_high, wanted.ravel(), excluded.ravel(), count)


def _margins(
    settings: WriteVerifySettings, target: np.ndarray, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """(rows, cols) S from the target down and up to the window's edges."""
    if settings.window_low is not None and settings.window_high is not None:
        low = _numbers(settings.window_low, shape, "window_low")
        high = _numbers(settings.window_high, shape, "window_high")
        return target - low, high - target
    if settings.tolerances is not None:
        tolerance = _numbers(settings.tolerances, shape, "tolerances")
    else:
        tolerance = np.full(shape, settings.tolerance, np.float32)
    return tolerance, tolerance


def _codes_within(
    target: np.ndarray, below: np.ndarray, above: np.ndarray, adc: Scale, least: float
) -> tuple[np.ndarray, np.ndarray]:
    """(cells,) lowest and highest code from `below` under to `above` over `target`: none below `least`, and not the top
    one, which means saturated."""
    low = np.ceil((np.maximum(target - below, least) - adc.offset) / adc.step).clip(0, adc.top)
    high = np.floor((target + above - adc.offset) / adc.step).clip(0, adc.top - 1)
    return low.astype(adc.dtype).ravel(), high.astype(adc.dtype).ravel()


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


def _readable(adc: Scale) -> float:
    """S at the highest code that is not saturated."""
    return adc.offset + adc.step * (adc.top - 1)


def _check_targets(
    target: np.ndarray, below: np.ndarray, above: np.ndarray, wanted: np.ndarray, adc: Scale, least: float
) -> None:
    most = _readable(adc)
    problems = (
        (~np.isfinite(target), "is not a finite conductance"),
        (target < 0, "is negative"),
        (target < least, "is below form.formed_at, where a cell counts as pristine"),
        (~((below >= 0) & (above >= 0)), "is not within its window_low and window_high"),
        (target - below > most, f"is above what the board can read, {format_quantity(most, 'S')}"),
    )
    for wrong, what in problems:
        wrong = wrong & wanted
        if wrong.any():
            row, col = np.unravel_index(int(wrong.argmax()), wrong.shape)
            raise TargetError(f"$.target: {target[row, col]:g} S at row {row}, column {col} {what}")
