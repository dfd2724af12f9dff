"""Lines, converters and amplifiers err as the periphery says, and whoever measures can find out by how much."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from labctl.simulated_instruments.cells.model import select
from labctl.simulated_instruments.cells.parameters import ParameterError
from labctl.simulated_instruments.cells.rram_parameters import RramParameters
from labctl.simulated_instruments.chips.crossbar import CrossbarMacro
from labctl.simulated_instruments.chips.front_end import FrontEnd
from labctl.simulated_instruments.chips.periphery import Periphery

FORM, SET, RESET = 1, 2, 3
SIGMAS = 5.0  # of sampling error allowed
IDEAL, REAL = Periphery.ideal(), Periphery.named("test_macro")
STEADY = dataclasses.replace(
    RramParameters.default(),
    stuck_low_fraction=0.0,
    stuck_high_fraction=0.0,
    flicker_noise=0.0,
    telegraph_fraction=0.0,
    read_disturb=0.0,
    nonlinearity=0.0,
    relaxation_times=(),
    relaxation_levels=(),
    relaxation_probabilities=(),
    relaxation_quantiles=(),
    relaxation_memory=(),
)
"""Cells that are sound, and whose reads differ by white noise alone."""
ROWS, COLS, REPEATS = 32, 64, 64


def code(voltage):
    return round(voltage / CrossbarMacro.dac.step)


def pristine(rows=ROWS, cols=COLS, **periphery):
    return CrossbarMacro.buy("P-1", STEADY, rows, cols, dataclasses.replace(IDEAL, **periphery))


def formed(rows=ROWS, cols=COLS, **periphery):
    """The same cells for every periphery: it is ideal while they are formed."""
    made = pristine(rows, cols)
    made.pulse(FORM, None, code(4.2), 1e-6, 1.2, 0.0)
    chip = pristine(rows, cols, **periphery)
    for name, array in made._cells.state.items():
        chip._cells.state[name][:] = array
    return chip


def read(chip):
    """Codes, averaged over many reads: (rows, cols)."""
    return chip.read(None, repeats=REPEATS).mean(axis=0).reshape(chip.rows, chip.cols)


def shown(chip):
    """Conductance by the nominal scale, S, averaged: (rows, cols)."""
    return (read(chip) * chip.adc.step + chip.adc.offset) / chip.read_voltage


def assert_spread(values, spread):
    n = values.size
    assert abs(values.mean()) < SIGMAS * spread / np.sqrt(n)
    assert abs(values.std() - spread) < SIGMAS * spread / np.sqrt(2 * n)


class TestConverters:
    def test_the_offset_of_a_column_is_found_in_its_pristine_cells(self):
        """Rounded to codes the same noise differs by less than 1/2 from one chip to the other, and by far less in the
        mean of a column."""
        offsets = read(pristine(adc_offset_spread=2.0)) - read(pristine())
        columns = offsets.mean(axis=0)
        assert_spread(columns, 2.0)
        assert np.abs(offsets - columns).max() < 0.5
        np.testing.assert_array_equal(columns, (read(pristine(adc_offset_spread=2.0)) - read(pristine())).mean(axis=0))

    def test_the_gain_of_a_column_is_found_in_its_formed_cells(self):
        ratio = (shown(formed(adc_gain_spread=0.003)) / shown(formed())).mean(axis=0)
        assert_spread(ratio - 1, 0.003)

    def test_the_gain_is_the_same_on_every_range(self):
        chips = [formed(adc_gain_spread=0.003), formed()]
        for chip in chips:
            chip.current_range = chip.ranges[3]
        wide = (shown(chips[0]) / shown(chips[1])).mean(axis=0)
        fine = (shown(formed(adc_gain_spread=0.003)) / shown(formed())).mean(axis=0)
        np.testing.assert_allclose(wide, fine, atol=2e-4)  # a fifteenth of the spread: rounding to 1/600 of the value

    @pytest.mark.parametrize("transpose", [False, True])
    def test_gain_and_offset_of_a_lines_converter_are_found_in_products(self, transpose):
        chip, ideal = (
            formed(256, 256, **errors) for errors in ({"adc_gain_spread": 0.05, "adc_offset_spread": 20.0}, {})
        )
        inputs = np.repeat(np.array([[0.0], [0.2]], np.float32), 256, axis=1)
        (zero, full), (no_zero, no_full) = (each.multiply(inputs, transpose) for each in (chip, ideal))
        offset = (zero - no_zero) / chip.column_adc.step
        assert_spread(offset, 20.0)
        assert_spread((full - zero) / (no_full - no_zero) - 1, 0.05)

    def test_rows_and_columns_have_converters_of_their_own(self):
        chip = pristine(64, 64, adc_offset_spread=20.0)
        zero = np.zeros((1, 64), np.float32)
        forth, back = chip.multiply(zero)[0], chip.multiply(zero, transpose=True)[0]
        assert abs(np.corrcoef(forth, back)[0, 1]) < SIGMAS / np.sqrt(64)

    def test_a_dac_that_gives_more_moves_its_columns_cells_further(self):
        amplitudes = np.full(ROWS * COLS, code(1.7), np.uint16)
        chips = [formed(dac_gain_spread=0.05), formed()]
        for chip in chips:
            chip.pulse(RESET, None, code(3.0), 1e-6, 2.5, 0.0)
            chip.pulse(SET, None, amplitudes, 1e-7, 1.2, 0.0)
        moved = np.log(chips[0]._cells.conductance / chips[1]._cells.conductance).reshape(ROWS, COLS).mean(axis=0)
        volts = np.full((1, COLS), 0.2, np.float32)
        gain = chips[0]._front_end.driven(volts, chips[0].dac, transpose=True)[0] / volts[0]
        assert np.corrcoef(moved, gain)[0, 1] > 0.5

    def test_a_code_of_zero_is_no_pulse_of_the_other_sign(self):
        chip = formed(dac_offset_spread=500.0)
        where = np.arange(ROWS * COLS, dtype=np.uint32)
        before = chip._cells.conductance.copy()
        chip.pulse(RESET, where, np.zeros(len(where), np.uint16), 1e-7, 2.5, 0.0)
        assert np.all(chip._cells.conductance <= before)


class TestAmplifier:
    def test_its_offset_is_a_current(self):
        """In a conductance it shows as one over the read voltage."""
        found = []
        for volts in (0.1, 0.4):
            chips = [pristine(amplifier_offset=-20e-9), pristine()]
            for chip in chips:
                chip.read_voltage, chip.current_range = volts, 1e-6
            found.append(np.mean(shown(chips[0]) - shown(chips[1])) * volts)
        assert found == pytest.approx([-20e-9, -20e-9], rel=2e-3)  # a step of the range, 63 pA, is 3e-3 of it

    def test_it_differs_from_chip_to_chip_and_drifts_with_temperature(self):
        periphery = dataclasses.replace(IDEAL, amplifier_offset_spread=2e-9, amplifier_drift_spread=2e-11)
        serials, adc = [f"P-{number}" for number in range(400)], CrossbarMacro.column_adc
        ends = [FrontEnd(serial, periphery, (2, 2), CrossbarMacro.dac, adc, adc) for serial in serials]
        cold, hot = (np.array([end.offset(kelvin) for end in ends]) for kelvin in (300.0, 400.0))
        assert_spread(cold, 2e-9)
        assert_spread((hot - cold) / 100, 2e-11)


class TestLines:
    def test_a_far_cell_reads_less_by_what_its_lines_take(self):
        lines = {"bit_line_resistance": 10.0, "source_line_resistance": 20.0, "switch_resistance": 100.0}
        seen, real = shown(formed(**lines)), shown(formed())
        row, col = np.indices(real.shape)
        series = 200 + 10 * (col + 1) + 20 * (row + 1)
        rounding = 1.1 * formed().adc.step / 0.2  # both are rounded, on different sides at worst
        np.testing.assert_allclose(seen, real / (1 + real * series), rtol=1e-4, atol=rounding)

    def test_a_far_cell_is_moved_less(self):
        near, far = (formed(switch_resistance=ohms) for ohms in (0.0, 5e3))
        for chip in (near, far):
            chip.pulse(RESET, None, code(2.0), 1e-7, 2.5, 0.0)
        changed = near._cells.conductance < 0.99 * formed()._cells.conductance
        assert changed.mean() > 0.3
        assert np.all(far._cells.conductance >= near._cells.conductance)
        assert np.mean((far._cells.conductance > near._cells.conductance)[changed]) > 0.9

    def test_a_product_is_less_by_what_the_lines_take(self):
        chip, ideal = formed(**{name: getattr(REAL, name) for name in RESISTANCES}), formed()
        inputs = np.full((50, ROWS), 0.2, np.float32)
        found, whole = (each.multiply(inputs).mean(axis=0) for each in (chip, ideal))
        # Switches, 2 x 5 Ohm in a load of so many cells, and 64 + 32 pieces of line, whose mean cell sees a third.
        load = shown(ideal).mean() * np.array([COLS, ROWS])
        estimate = load @ [5.0 + 0.15 * COLS / 3, 5.0 + 0.15 * ROWS / 3]
        assert 1 - found.sum() / whole.sum() == pytest.approx(estimate, rel=0.1)


RESISTANCES = ("bit_line_resistance", "source_line_resistance", "switch_resistance")


COEFFICIENTS = {"low_conductance_coefficient": 2e-3, "high_conductance_coefficient": -1e-3, "coefficient_level": 5e-6}


class TestTemperature:
    def test_what_hardly_conducts_gains_and_what_conducts_loses(self):
        chips = [formed(**COEFFICIENTS) for _ in range(2)]
        chips[0].heat(400.0, time=0.0)
        hot, cold = (shown(chip) for chip in chips)
        rounding = 1.1 * chips[0].adc.step / 0.2
        coefficient = -1e-3 + 3e-3 / (1 + cold / 5e-6)
        np.testing.assert_allclose(hot, cold * (1 + 100 * coefficient), atol=2 * rounding)
        low = np.array([[1e-8, 1e-4]], np.float32)
        factor = chips[0]._front_end.temperature_factor(low, 400.0)
        np.testing.assert_allclose(factor, [[1.1994, 0.9143]], atol=1e-4)

    def test_products_see_it_as_reads_do(self):
        chip = formed(**COEFFICIENTS)
        inputs = np.full((50, ROWS), 0.2, np.float32)
        cold, reads = chip.multiply(inputs).sum(), shown(chip).sum()
        chip.heat(500.0, time=0.0)
        assert chip.multiply(inputs).sum() / cold == pytest.approx(shown(chip).sum() / reads, rel=2e-3)

    def test_no_cell_changes_by_it(self):
        chip = formed(**COEFFICIENTS)
        before = chip._cells.conductance.copy()
        chip.heat(500.0, time=0.0)
        chip.read(None)
        np.testing.assert_array_equal(chip._cells.conductance, before)


class TestProductsOfCellsThatAge:
    """The cells are looked at once for a stretch of time, and again where anything has changed."""

    START = 1.8e9  # s

    def chip(self):
        chip = CrossbarMacro.buy("P-1", rows=24, cols=16)
        chip.pulse(FORM, None, code(4.2), 1e-6, 1.2, self.START)
        return chip

    def product(self, chip, time):
        return chip.multiply(np.full((1, 24), 0.2, np.float32), time=self.START + time)

    def looks(self, chip, mocker):
        return mocker.spy(chip._cells, "read_moments")

    def test_it_looks_once_for_a_stretch(self, mocker):
        chip = self.chip()
        looked = self.looks(chip, mocker)
        for time in (10.50, 10.6, 10.9):
            self.product(chip, time)
        assert looked.call_count == 1
        self.product(chip, 12.0)
        assert looked.call_count == 2

    @pytest.mark.parametrize(
        "change",
        [
            lambda chip, time: chip.pulse(SET, np.array([3], np.uint32), code(1.0), 1e-7, 2.0, time),
            lambda chip, time: chip.pulse_and_read(SET, np.array([3], np.uint32), code(1.0), 1e-7, 2.0, time),
            lambda chip, time: chip.read(None, time=time),
            lambda chip, time: chip.heat(350.0, time),
            lambda chip, _: setattr(chip, "read_voltage", 0.3),
        ],
    )
    def test_it_looks_again_after_a_change(self, change, mocker):
        chip = self.chip()
        looked = self.looks(chip, mocker)
        self.product(chip, 10.5)
        change(chip, self.START + 10.6)
        self.product(chip, 10.7)
        assert looked.call_count == 2

    def test_who_looked_before_does_not_matter(self):
        often, once = self.chip(), self.chip()
        for time in (0.1, 3.0, 20.2):
            self.product(often, time)
            once.multiplications += 1
        np.testing.assert_array_equal(self.product(often, 20.8), self.product(once, 20.8))


class TestSets:
    def test_an_ideal_one_changes_nothing(self):
        """Currents go through the converter as they are."""
        chip = pristine(4, 4)
        conductance = np.linspace(0, 7e-5, 16).astype(np.float32)
        ((_, where),) = select(None, 16, chip._arena)
        codes = chip._front_end.digitise(conductance.copy(), chip.adc, 0.2, 400.0, where)
        exact = (conductance.astype(float) * 0.2 - chip.adc.offset) / chip.adc.step
        np.testing.assert_allclose(codes, exact, atol=0.51)

    def test_an_unknown_name_names_those_there_are(self):
        with pytest.raises(ParameterError, match=r"no periphery 'perfect': choose one of ideal, test_macro$"):
            Periphery.named("perfect")

    @pytest.mark.parametrize("name", ["switch_resistance", "adc_gain_spread"])
    def test_what_cannot_be_negative_is_not(self, name):
        with pytest.raises(ValueError, match=f"^{name} must not be negative$"):
            dataclasses.replace(IDEAL, **{name: -1.0})
