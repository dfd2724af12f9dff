"""Windows that are not even around their target: given by their edges, open at an end, in the codes of the board."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from arrays import ScriptedArray
from hypothesis import given
from hypothesis import strategies as st
from measured import finish

from labctl.array import Geometry, Operation, PulseBatch, Scale
from labctl.errors import SettingsError, TargetError
from labctl.protocols.forming import FormingSettings
from labctl.protocols.ramps import Ramp
from labctl.protocols.windows import windows
from labctl.protocols.write_verify import write_verify
from labctl.protocols.write_verify_settings import CellOutcome, WriteVerifySettings

ADC = Scale(5e-9, -2.5e-6, 14, "S")  # to 79.4 uS
TWO_BITS = [(0.0, 12.5e-6), (17e-6, 18e-6), (24e-6, 28e-6), (50e-6, 1.0)]
"""Four windows as for two bits a cell: at most, two narrow ones, and at least."""


def settings(edges: list[tuple[float, float]], **chosen: Any) -> WriteVerifySettings:
    low, high = np.array(edges).T[:, None]
    target = np.where(high > 80e-6, low * 1.2, (low + high) / 2)
    return WriteVerifySettings(target=target, window_low=low, window_high=high, form_pristine=False, **chosen)


def test_edges_are_windows_in_codes() -> None:
    found = windows(settings(TWO_BITS, aim=1.0), Geometry(1, 4, ""), ADC)
    low, high = ADC.values(found.low), ADC.values(found.high)
    # the first and last code inside are less than one step from the edge; float32 gives or takes one more
    assert np.all(np.abs(low[1:] - [17e-6, 24e-6, 50e-6]) <= ADC.step * 1.01)
    assert np.all(np.abs(high[:3] - [12.5e-6, 18e-6, 28e-6]) <= ADC.step * 1.01)


def test_at_most_reaches_down_to_where_a_cell_counts_as_pristine_and_at_least_takes_in_saturated_readings() -> None:
    found = windows(settings(TWO_BITS), Geometry(1, 4, ""), ADC)
    least = FormingSettings().formed_at
    assert ADC.values(found.low[0]) == pytest.approx(least, abs=ADC.step)
    assert found.high[3] == found.aim_high[3] == ADC.top
    assert found.aim_low[3] > found.low[3]


@given(st.floats(2e-6, 30e-6), st.floats(0.1e-6, 5e-6), st.floats(0.5, 1.0))
def test_an_even_window_is_the_same_by_edges_and_by_tolerance(target: float, tolerance: float, aim: float) -> None:
    """But for one code, where an edge falls on one and float32 sums differ in their last digit."""
    centre = np.full((1, 1), target, np.float32)
    by_tolerance = WriteVerifySettings(target=centre, tolerance=tolerance, aim=aim)  # type: ignore[arg-type]
    low, high = centre - np.float32(tolerance), centre + np.float32(tolerance)
    by_edges = WriteVerifySettings(target=centre, window_low=low, window_high=high, aim=aim)
    first, second = (windows(each, Geometry(1, 1, ""), ADC) for each in (by_tolerance, by_edges))
    for name in ("low", "high", "aim_low", "aim_high"):
        assert abs(int(getattr(first, name)[0]) - int(getattr(second, name)[0])) <= 1


def test_cells_land_in_the_windows_of_two_bits_also_with_pulses_of_one_amplitude() -> None:
    """A ramp whose start is its stop gives one amplitude, `hold` further times."""

    def moves(conductance: np.ndarray, batch: PulseBatch) -> np.ndarray:
        return conductance + (0.4e-6 if batch.operation is Operation.SET else -0.4e-6)

    one = {"step": 0.1, "width": 1e-7, "gate": 2.0}
    fixed = {
        "set": Ramp(start=2.0, stop=2.0, **one),  # type: ignore[arg-type]
        "reset": Ramp(start=2.4, stop=2.4, **one),  # type: ignore[arg-type]
    }
    for ramps in (fixed, {}):
        array = ScriptedArray(8, 30e-6, moves)
        given = settings(TWO_BITS * 2, max_pulses=200, hold=199, **ramps)
        summary, maps, _ = finish(write_verify.steps(array, given, np.random.default_rng(0)))
        assert np.all(maps["outcome"] == CellOutcome.IN_WINDOW)
        low, high = np.array(TWO_BITS * 2).T
        assert np.all((array.conductance >= low) & (array.conductance <= high))
        assert summary["fraction_in_window"] == 1


def test_a_saturated_cell_is_in_a_window_that_is_open_above() -> None:
    array = ScriptedArray(1, 200e-6, lambda conductance, _: conductance)
    summary, _, _ = finish(write_verify.steps(array, settings([(50e-6, 1.0)]), np.random.default_rng(0)))
    assert summary["outcomes"]["in_window"] == 1


@pytest.mark.parametrize(
    ("wrong", "error", "sentence"),
    [
        ({"window_high": np.full((1, 2), 9e-6)}, TargetError, r"column 0 is not within its window_low and window_high"),
        ({"window_low": np.full((1, 2), np.nan)}, TargetError, r"is not within its window_low and window_high"),
        ({"window_low": np.zeros((2, 2))}, TargetError, r"\$.window_low: has shape \(2, 2\)"),
        (
            {"target": np.full((1, 2), 0.1), "window_low": np.full((1, 2), 0.09), "window_high": np.ones((1, 2))},
            TargetError,
            r"is above what the board can read",
        ),
        (
            {
                "target": np.full((1, 2), 10.002e-6),
                "window_low": np.full((1, 2), 10e-6),
                "window_high": np.full((1, 2), 10.004e-6),
            },
            SettingsError,
            r"\$.window_high: narrower than one step of the converter",
        ),
    ],
)
def test_windows_that_cannot_be_meant_are_refused(wrong: dict, error: type[Exception], sentence: str) -> None:
    given = {
        "target": np.full((1, 2), 10e-6),
        "window_low": np.full((1, 2), 5e-6),
        "window_high": np.full((1, 2), 15e-6),
        "aim": 0.5,
    }
    with pytest.raises(error, match=sentence):
        windows(WriteVerifySettings(**{**given, **wrong}), Geometry(1, 2, ""), ADC)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"window_low": np.zeros((1, 1))}, "window_low and window_high belong together"),
        (
            {"window_low": np.zeros((1, 1)), "window_high": np.ones((1, 1)), "tolerances": np.ones((1, 1))},
            "say what tolerances say too",
        ),
    ],
)
def test_half_a_window_or_two_kinds_of_it_are_refused(wrong: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        WriteVerifySettings(target=np.zeros((1, 1)), **wrong)


def test_cells_without_a_target_need_no_window() -> None:
    edges = np.array([[5e-6, np.nan]]), np.array([[15e-6, np.nan]])
    given = WriteVerifySettings(
        target=np.array([[10e-6, np.nan]]),
        cells=np.array([[True, False]]),
        window_low=edges[0],
        window_high=edges[1],
    )
    assert windows(given, Geometry(1, 2, ""), ADC).count == 1
