"""A crossbar macro gives the same codes in any batching, converts as told, and knows its limits."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labctl.simulated_instruments.cells.rram_parameters import RramParameters
from labctl.simulated_instruments.chips.crossbar import CrossbarMacro
from labctl.simulated_instruments.chips.periphery import Periphery

FORM, SET, RESET = 1, 2, 3
SIGMAS = 5.0  # of sampling error allowed


def code(voltage):
    return round(voltage / CrossbarMacro.dac.step)


IDEAL = Periphery.ideal()
STEADY = dataclasses.replace(
    RramParameters.default(), flicker_noise=0.0, telegraph_fraction=0.0, read_disturb=0.0, nonlinearity=0.0
)
"""Cells whose reads differ by white noise alone."""


def formed(serial="X-1", rows=64, cols=48, parameters=None, periphery=None):
    chip = CrossbarMacro.buy(serial, parameters, rows, cols, periphery)
    chip.pulse(FORM, None, code(4.2), 1e-6, 1.2, 0.0)
    return chip


def conductance(chip, codes):
    return (codes * chip.adc.step + chip.adc.offset) / chip.read_voltage


def voltages(count):
    """One amplitude a cell, spread over the switching range."""
    return np.linspace(code(1.2), code(2.4), count).astype(np.uint16)


class TestBatching:
    """What a cell does follows from its own history alone."""

    @given(st.integers(0, 2**32 - 1), st.integers(1, 4))
    @settings(max_examples=20, deadline=None)
    def test_any_order_and_any_batches_give_the_same_codes(self, seed, parts):
        whole, split, random = formed(), formed(), np.random.default_rng(seed)
        amplitudes = voltages(64 * 48)
        for operation in (SET, RESET, SET):
            together = whole.pulse_and_read(operation, None, amplitudes, 1e-7, 2.3, 0.0)[0]
            order = random.permutation(64 * 48).astype(np.uint32)
            for part in np.array_split(order, parts):
                codes = split.pulse_and_read(operation, part, amplitudes[part], 1e-7, 2.3, 0.0)[0]
                np.testing.assert_array_equal(codes, together[part])
        np.testing.assert_array_equal(split.read(None), whole.read(None))

    @pytest.mark.parametrize("shape", [(300, 256), (2, 40_000), (40_000, 2)])
    def test_an_array_of_many_blocks_is_no_different(self, shape):
        whole, split = formed("X-1", *shape), formed("X-1", *shape)
        together = whole.pulse_and_read(SET, None, code(1.8), 1e-7, 2.3, 0.0)[0]
        order = np.random.default_rng(1).permutation(np.prod(shape)).astype(np.uint32)
        for part in np.array_split(order, 7):
            amplitudes = np.full(len(part), code(1.8), np.uint16)
            codes = split.pulse_and_read(SET, part, amplitudes, 1e-7, 2.3, 0.0)[0]
            np.testing.assert_array_equal(codes, together[part])

    @pytest.mark.parametrize("operation", [FORM, SET, RESET])
    @pytest.mark.parametrize("cells", [None, np.arange(5, 3000, 3, dtype=np.uint32)])
    def test_pulse_and_read_is_a_pulse_and_then_a_read(self, operation, cells):
        one, two = formed(), formed()
        amplitudes = voltages(64 * 48 if cells is None else len(cells))
        codes = one.pulse_and_read(operation, cells, amplitudes, 1e-7, 2.3, 0.0)
        two.pulse(operation, cells, amplitudes, 1e-7, 2.3, 0.0)
        np.testing.assert_array_equal(codes, two.read(cells))
        np.testing.assert_array_equal(one.pulse_counts, two.pulse_counts)
        np.testing.assert_array_equal(one.read_counts, two.read_counts)

    def test_repeats_are_reads_one_after_another(self):
        one, two = formed(), formed()
        cells = np.arange(100, 200, dtype=np.uint32)
        together = one.read(cells, repeats=5)
        assert together.shape == (5, 100)
        np.testing.assert_array_equal(together, np.concatenate([two.read(cells) for _ in range(5)]))

    def test_the_other_cells_are_left_alone(self):
        chip, cells = formed(), np.arange(0, 64 * 48, 2, dtype=np.uint32)
        before = chip.pulse_counts.ravel().copy()
        chip.pulse(SET, cells, voltages(len(cells)), 1e-7, 2.3, 0.0)
        grown = chip.pulse_counts.ravel() - before
        assert np.all(grown[::2] == 1)
        assert np.all(grown[1::2] == 0)
        assert not chip.read_counts.any()

    def test_an_empty_batch_is_nothing(self):
        assert formed().read(np.array([], np.uint32), repeats=3).shape == (3, 0)

    def test_another_serial_is_another_chip_and_the_same_serial_the_same(self):
        first, same, other = (formed(serial).read(None)[0] for serial in ("X-1", "X-1", "X-2"))
        np.testing.assert_array_equal(first, same)
        correlation = np.corrcoef(np.minimum(first, 4000), np.minimum(other, 4000))[0, 1]
        assert abs(correlation) < SIGMAS / np.sqrt(first.size)


class TestConversion:
    def test_a_fresh_chip_reads_around_zero_and_is_not_rectified(self):
        assert CrossbarMacro.buy("X-1", rows=64, cols=64).read(None, repeats=50).min() > 0
        chip = CrossbarMacro.buy("X-1", rows=64, cols=64, periphery=IDEAL)
        codes = chip.read(None, repeats=50)
        assert codes.min() > 0
        shown = conductance(chip, codes)
        assert shown.min() < 0
        assert np.median(shown) == pytest.approx(1e-7, rel=0.05)

    def test_what_is_beyond_the_range_reads_the_top_code(self):
        chip = formed()
        chip.current_range = 1e-6  # 5 uS at 0.2 V
        codes = chip.read(None)
        assert chip.adc.top == (1 << 14) - 1
        assert np.mean(codes == chip.adc.top) > 0.9

    @pytest.mark.parametrize("full_scale", CrossbarMacro.ranges[2:])
    @pytest.mark.parametrize("read_voltage", [0.1, 0.2, 0.5])
    def test_range_and_read_voltage_do_not_change_the_conductance(self, full_scale, read_voltage):
        chip, plain = (formed(parameters=STEADY, periphery=IDEAL) for _ in range(2))
        chip.current_range, chip.read_voltage = full_scale, read_voltage
        shown, expected = conductance(chip, chip.read(None)), conductance(plain, plain.read(None))
        seen = (chip.adc.top * chip.adc.step + chip.adc.offset) / read_voltage
        inside = expected < min(seen, 75e-6)
        step = (chip.adc.step / read_voltage + plain.adc.step / 0.2) / 2
        np.testing.assert_allclose(shown[inside], expected[inside], atol=1.01 * step)

    def test_one_code_for_all_is_that_code_for_each(self):
        one, each = formed(), formed()
        codes = one.pulse_and_read(SET, None, code(1.7), 1e-7, 2.3, 0.0)
        amplitudes = np.full(64 * 48, code(1.7), np.uint16)
        np.testing.assert_array_equal(codes, each.pulse_and_read(SET, None, amplitudes, 1e-7, 2.3, 0.0))

    def test_the_dac_spans_five_volts(self):
        assert CrossbarMacro.dac.bits == 16
        assert CrossbarMacro.dac.step * 65_536 + CrossbarMacro.dac.offset == 5.0


class TestRefusal:
    @pytest.mark.parametrize(
        ("call", "error", "told"),
        [
            (lambda chip: chip.read(np.array([9], np.uint32)), IndexError, "cell 9 is not one of the 9"),
            (lambda chip: chip.pulse(SET, np.array([9], np.uint32), 9, 1e-7, 2, 0), IndexError, "cell 9"),
            (lambda chip: chip.pulse(4, None, 9, 1e-7, 2, 0), ValueError, "4 is not a valid Operation"),
            (lambda chip: chip.pulse(SET, None, 65_536, 1e-7, 2, 0), ValueError, "code 65536"),
            (lambda chip: chip.pulse(SET, None, voltages(8), 1e-7, 2, 0), ValueError, r"got shape \(8,\)"),
            (lambda chip: chip.pulse(SET, None, 9, 0.0, 2, 0), ValueError, "cannot be 0 s wide"),
            (lambda chip: setattr(chip, "read_voltage", 0.6), ValueError, "0.6 V is outside 0.05 to 0.5 V"),
            (lambda chip: setattr(chip, "current_range", 2e-6), ValueError, "no current range of 2e-06 A"),
            (lambda chip: chip.multiply(np.zeros((1, 4), np.float32)), ValueError, r"\(n, 3\)"),
        ],
    )
    def test_it_says_what_is_wrong_and_applies_nothing(self, call, error, told):
        chip = CrossbarMacro.buy("X-1", rows=3, cols=3)
        with pytest.raises(error, match=told):
            call(chip)
        assert not chip.pulse_counts.any()
        assert not chip.read_counts.any()

    def test_a_chip_has_cells(self):
        with pytest.raises(ValueError, match="0 x 5 cells"):
            CrossbarMacro.buy("X-1", rows=0, cols=5)

    def test_counts_cannot_be_written(self):
        with pytest.raises(ValueError, match="read-only"):
            CrossbarMacro.buy("X-1", rows=3, cols=3).pulse_counts[0, 0] = 1


class TestMultiplication:
    def sampled(self, transpose, vectors=4000):
        """Currents of one vector, many times; the mean and deviation that reads of the cells make of it."""
        chip = formed(parameters=STEADY, periphery=IDEAL)
        lines = 48 if transpose else 64
        vector = np.linspace(-0.1, 0.2, lines).astype(np.float32)
        currents = chip.multiply(np.tile(vector, (vectors, 1)), transpose=transpose).astype(np.float64)
        reads = conductance(chip, chip.read(None, repeats=4000)).reshape(-1, 64, 48)
        reads = reads.transpose(0, 2, 1) if transpose else reads
        spread = np.sqrt(np.einsum("i,ij->j", vector.astype(float) ** 2, reads.var(axis=0)))
        return currents, vector @ reads.mean(axis=0), spread, chip.column_adc.step

    @pytest.mark.parametrize("transpose", [False, True])
    def test_it_is_the_sum_of_reads_with_their_noise(self, transpose):
        currents, mean, spread, step = self.sampled(transpose)
        n = len(currents)
        noise = np.hypot(spread, step / np.sqrt(12))
        error = np.hypot(noise, noise) / np.sqrt(n)  # of this mean and of the one it is compared with
        saturating = 48 if transpose else 64
        assert currents.shape[1] == (64 if transpose else 48)
        offset = np.abs(currents.mean(axis=0) - mean)
        assert np.mean(offset < SIGMAS * error + step / 2) >= 1 - 2 / saturating
        ratio = currents.std(axis=0) / noise
        assert np.median(ratio) == pytest.approx(1, abs=SIGMAS / np.sqrt(n) + 0.05)

    def test_vectors_at_once_are_vectors_one_by_one(self):
        one, each = formed(), formed()
        inputs = np.random.default_rng(2).uniform(0, 0.2, (20, 64)).astype(np.float32)
        together = one.multiply(inputs)
        apart = np.concatenate([each.multiply(vector[None]) for vector in inputs])
        assert np.abs(together - apart).max() < 1.5 * one.column_adc.step  # sums round differently
        assert one.multiplications == each.multiplications == 20
        assert np.any(one.multiply(inputs) != together)

    def test_it_counts_as_no_read_and_sees_the_latest_pulse(self):
        chip = formed()
        inputs = np.full((1, 64), 0.2, np.float32)
        before = chip.multiply(inputs)
        chip.pulse(RESET, None, code(3.0), 1e-6, 2.5, 0.0)
        assert np.all(chip.multiply(inputs) < before)
        assert not chip.read_counts.any()

    def test_a_column_saturates_at_its_converter(self):
        chip = formed()
        inputs = np.full((1, 64), 100.0, np.float32)
        for sign in (1, -1):
            np.testing.assert_allclose(chip.multiply(sign * inputs), sign * 2e-3, rtol=1e-5)
