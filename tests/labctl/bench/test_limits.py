"""Limits as arithmetic; that they hold before a byte goes out is in `test_live`."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from labctl.array import Geometry, Operation, PulseBatch, PulseLimits, Scale
from labctl.bench.limits import LimitGuard, tightest
from labctl.errors import LimitError
from labctl.steps import Cost

DAC = Scale(5 / 65_536, 0.0, 16, "V")
GEOMETRY = Geometry(4, 8, "test")


def batch(cells: object, volts: float = 2.0, operation: Operation = Operation.SET, **shape: float) -> PulseBatch:
    where = np.array(cells, np.uint32)
    amplitude = np.full(len(where), round(volts / DAC.step), np.uint16)
    return PulseBatch(operation, where, amplitude, shape.get("width", 1e-6), shape.get("gate", 1.5))


def guard(**layers: PulseLimits) -> LimitGuard:
    return LimitGuard(layers, GEOMETRY, DAC)


def refused(limits: LimitGuard, *batches: PulseBatch) -> str:
    with pytest.raises(LimitError) as raised:
        limits.check(batches)
    assert str(raised.value).endswith("; nothing was sent")
    return str(raised.value)


ONE_LIMIT = {
    "max_form_voltage": (3.0, batch([1], 3.1, Operation.FORM), "FORM pulse of 3.1"),
    "max_set_voltage": (2.0, batch([1], 2.1), "SET pulse of 2.1"),
    "max_reset_voltage": (2.0, batch([1], 2.1, Operation.RESET), "RESET pulse of 2.1"),
    "max_gate_voltage": (1.4, batch([1]), "SET gate of 1.5 V is above"),
    "max_width": (1e-7, batch([1]), "SET width of 1 us is above"),
    "min_width": (1e-5, batch([1]), "SET width of 1 us is below"),
    "max_dose": (1.9e-6, batch([1]), "another SET pulse on the cell at row 0, column 1 would exceed"),
}


@pytest.mark.parametrize("owner", ["instrument", "bench", "cell"])
@pytest.mark.parametrize("name", ONE_LIMIT)
def test_the_layer_that_forbids_a_pulse_is_named(name: str, owner: str) -> None:
    value, too_much, said = ONE_LIMIT[name]
    layers = {layer: PulseLimits() for layer in ("instrument", "bench", "cell")}
    layers[owner] = PulseLimits(**{name: value})
    sentence = refused(guard(**layers), too_much)
    assert said in sentence
    assert f"the {owner}'s {name} of " in sentence


def test_a_read_at_a_voltage_of_choice_stays_within_the_limits() -> None:
    layers = {
        "instrument": PulseLimits(min_read_voltage=0.05, max_read_voltage=0.5),
        "cell": PulseLimits(max_read_voltage=0.3),
    }
    limits = guard(**layers)
    for volts in (None, 0.05, 0.3):
        limits.check_read(volts)
    with pytest.raises(LimitError, match=r"read voltage of 400 mV is above the cell's max_read_voltage of 300 mV; not"):
        limits.check_read(0.4)
    with pytest.raises(LimitError, match=r"read voltage of 40 mV is below the instrument's min_read_voltage of 50 mV"):
        limits.check_plan(Cost(0, 1, {}, {}, {}, read_voltages=(0.2, 0.04)))


def test_the_strictest_layer_counts() -> None:
    layers = {
        "instrument": PulseLimits(4.5, min_width=1e-8),
        "bench": PulseLimits(3.0, min_width=2e-8),
        "cell": PulseLimits(3.5),
    }
    assert tightest(layers) == PulseLimits(3.0, min_width=2e-8)
    assert "the bench's max_form_voltage of 3 V" in refused(guard(**layers), batch([1], 3.2, Operation.FORM))


@example(3.4558)
@given(st.floats(0.1, 4.9))
def test_the_code_nearest_to_a_limit_is_allowed_and_the_next_is_not(limit: float) -> None:
    assume(abs(limit / DAC.step % 1 - 0.5) > 1e-4)  # else two codes are as near, but for what floats lose
    limits = guard(bench=PulseLimits(max_set_voltage=limit))
    nearest = int(DAC.codes(limit))
    for code in (nearest, nearest + 1):
        pulse = PulseBatch(Operation.SET, np.array([0], np.uint32), np.array([code], np.uint16), 1e-6, 1.0)
        if code == nearest:
            limits.check((pulse,))
        else:
            refused(limits, pulse)


@pytest.mark.parametrize(
    "broken", [{"width": float("nan")}, {"gate": float("nan")}, {"width": float("inf")}, {"width": -1.0}]
)
def test_what_is_no_number_is_within_no_limit(broken: dict[str, float]) -> None:
    limits = guard(instrument=PulseLimits(max_gate_voltage=3.3, min_width=1e-8, max_width=1e-3))
    refused(limits, batch([1], **broken))


def test_pulses_are_counted_per_cell_and_the_first_cell_over_is_named() -> None:
    limits = guard(cell=PulseLimits(max_pulses=2))
    limits.check((batch([0, 9, 10]),))
    limits.check((batch([9, 10]),))
    assert refused(limits, batch([0, 9, 10])) == (
        "another SET pulse on the cell at row 1, column 1 (and 1 more) would exceed the cell's max_pulses of 2; "
        "nothing was sent"
    )
    limits.check((batch([0]),))


def test_batches_that_go_out_together_are_counted_together_and_refused_together() -> None:
    limits = guard(cell=PulseLimits(max_pulses=2, max_dose=1.0))
    refused(limits, batch([1, 2]), batch([2, 3]), batch([2]))
    limits.check((batch([1, 2, 3]), batch([1, 2, 3])))  # of the refused ones, nothing was counted
    refused(limits, batch([1]))


@given(st.integers(1, 60), st.floats(0.5, 4.5), st.floats(1e-8, 1e-3))
def test_a_dose_of_n_equal_pulses_allows_n_of_them(count: int, volts: float, width: float) -> None:
    pulse = batch([5], volts, width=width)
    dose = float(DAC.values(pulse.amplitude)[0]) * width
    limits = guard(cell=PulseLimits(max_dose=count * dose))
    for _ in range(count):
        limits.check((pulse,))
    refused(limits, pulse)


def test_a_small_dose_is_not_lost_beside_a_large_one() -> None:
    large, small = batch([0], width=0.5), batch([0], width=1e-9)
    volts = float(DAC.values(large.amplitude)[0])
    limits = guard(cell=PulseLimits(max_dose=volts * (0.5 + 10 * 1e-9)))
    limits.check((large,))
    for _ in range(10):
        limits.check((small,))
    refused(limits, batch([0], width=3e-9))


@pytest.mark.parametrize(("cells", "amplitudes"), [([1, 1], 2), ([2, 1], 2), ([0, 32], 2), ([1], 2), ([1, 2], 0)])
def test_a_batch_that_is_none_is_refused_before_it_counts(cells: list[int], amplitudes: int) -> None:
    limits = guard(cell=PulseLimits(max_pulses=1))
    wrong = PulseBatch(Operation.SET, np.array(cells, np.uint32), np.zeros(amplitudes, np.uint16), 1e-6, 1.0)
    with pytest.raises(ValueError, match=r"strictly increasing and between 0 and 31|amplitudes for \d cells"):
        limits.check((batch([3]), wrong))
    limits.check((batch([1, 2, 3]),))


def test_a_batch_of_no_cells_is_within_every_limit() -> None:
    guard(cell=PulseLimits(max_pulses=1, max_dose=1e-9, max_set_voltage=0.1)).check((batch([]),))


def test_a_value_that_rounds_to_the_limit_is_shown_with_the_digits_it_takes() -> None:
    said = refused(guard(bench=PulseLimits(max_gate_voltage=1.5)), batch([1], gate=1.500001))
    assert "gate of 1.500001 V is above the bench's max_gate_voltage of 1.5 V" in said


def test_a_plan_is_held_against_the_same_limits() -> None:
    cost = Cost(1, 1, {Operation.SET: 2.5}, {Operation.SET: 1.0}, {Operation.SET: 1e-6})
    guard(bench=PulseLimits(max_set_voltage=2.5)).check_plan(cost)
    with pytest.raises(
        LimitError, match=re.escape("a SET pulse of 2.5 V is above the bench's max_set_voltage of 2.4 V")
    ):
        guard(bench=PulseLimits(max_set_voltage=2.4)).check_plan(cost)
