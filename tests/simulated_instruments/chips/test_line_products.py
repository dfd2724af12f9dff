"""Products of signed codes are products on the same cells, with the same converters and noise of their own."""

from __future__ import annotations

import copy
import dataclasses
from itertools import pairwise

import numpy as np
import pytest

from labctl.simulated_instruments.cells.technologies import Technology
from labctl.simulated_instruments.chips.converters import Converter
from labctl.simulated_instruments.chips.crossbar import CrossbarMacro
from labctl.simulated_instruments.chips.line_products import LineWindow
from labctl.simulated_instruments.chips.periphery import Periphery

ROWS, COLS = 64, 80
INPUTS, OUTPUTS = 20, 17
VOLTAGE = 0.2
FINE = 125e-6  # A: a range that nothing here saturates
SIGMAS = 5.0
CELLS = {name: Technology.named(name).parameters for name in ("pcm_90nm", "rram_40nm")}
SILENT = {
    "pcm_90nm": {"read_noise": 0.0, "read_noise_floor": 0.0, "drift_onset": 1e-4},
    "rram_40nm": {"read_noise": 0.0, "read_noise_floor": 0.0, "flicker_noise": 0.0, "telegraph_fraction": 0.0},
}
CROOKED = dataclasses.replace(
    Periphery.named("test_macro"),
    adc_offset_spread=40.0,
    adc_bow_spread=60.0,
    adc_skew_spread=40.0,
    dac_offset_spread=30.0,
)
WAYS = [(on_columns, backward) for on_columns in (False, True) for backward in (False, True)]


class FineMacro(CrossbarMacro):
    """Whose ordinary products are converted on the same range."""

    column_adc = Converter.spanning(-FINE, FINE, bits=14)


def made(cells="pcm_90nm", periphery=None, silent=False, rows=ROWS, cols=COLS):
    """A chip with conductances all over the scale."""
    parameters = dataclasses.replace(CELLS[cells], **SILENT[cells]) if silent else CELLS[cells]
    chip = FineMacro.buy("X-1", parameters, rows, cols, periphery)
    volts = 4.2 if cells == "rram_40nm" else 2.9
    chip.pulse(1 if cells == "rram_40nm" else 3, None, round(volts / chip.dac.step), 1e-6, 1.2, 0.0)
    set_some(chip, np.arange(0, rows * cols, 3), 0.0)
    return chip


def set_some(chip, cells, time, period=0.0):
    volts = 1.6 if chip.cell_kind != "PCM" else 0.8
    chip.pulse(2, np.asarray(cells, np.uint32), round(volts / chip.dac.step), 50e-9, 2.5, time, period)


def window(on_columns=False, inputs=INPUTS, outputs=OUTPUTS, seed=0):
    random = np.random.default_rng(seed)
    along, across = (COLS, ROWS) if on_columns else (ROWS, COLS)
    lines = random.permutation(along)[: 2 * inputs].astype(np.uint16)
    return LineWindow(
        lines[:inputs], lines[inputs:], random.permutation(across)[:outputs].astype(np.uint16), on_columns
    )


def drawn(vectors, lines, backward=False, seed=1, share=1.0):
    random = np.random.default_rng(seed)
    given = len(lines.outputs if backward else lines.plus)
    codes = random.integers(-32767, 32768, (vectors, given)).astype(np.int16)
    codes[random.random(codes.shape) >= share] = 0
    return codes


def lines_by_ordinary_products(chip, codes, lines, backward, time=0.0, voltage=VOLTAGE):
    """What each sensed line's converter gives for the same voltages in `CrossbarMacro.multiply`, from its middle."""
    transpose = lines.on_columns is not backward
    volts = np.zeros((len(codes), COLS if transpose else ROWS), np.float32)
    if backward:
        volts[:, lines.outputs] = codes * np.float32(voltage / 32767)
    else:
        volts[:, lines.plus] = codes * np.float32(voltage / 32767)
        volts[:, lines.minus] = -volts[:, lines.plus]
    currents = chip.multiply(volts, transpose, time).astype(np.float64)
    found = np.rint((currents - chip.column_adc.offset) / chip.column_adc.step) - 8192
    return found[:, np.concatenate([lines.plus, lines.minus]) if backward else lines.outputs]


def by_ordinary_products(chip, codes, lines, backward, time=0.0):
    found = lines_by_ordinary_products(chip, codes, lines, backward, time)
    return found[:, : len(lines.plus)] - found[:, len(lines.plus) :] if backward else found


def products(chip, codes, lines, backward=False, time=0.0, bits=14, voltage=VOLTAGE, full_scale=FINE):
    return chip.multiply_lines(codes, lines, voltage, full_scale, bits, backward, time)


@pytest.mark.parametrize("cells", CELLS)
@pytest.mark.parametrize("periphery", [Periphery.ideal(), Periphery.named("test_macro"), CROOKED])
@pytest.mark.parametrize(("on_columns", "backward"), WAYS)
def test_without_noise_it_is_the_ordinary_product_within_a_code(cells, periphery, on_columns, backward):
    chip, lines = made(cells, periphery, silent=True), window(on_columns)
    codes = drawn(30, lines, backward)
    found, at_ends = products(chip, codes, lines, backward)
    expected = by_ordinary_products(chip, codes, lines, backward)
    assert (found.dtype, found.shape, at_ends) == (np.int16, expected.shape, 0)
    assert np.abs(found - expected).max() <= 1 + backward  # sums round differently next to half a code
    assert np.mean(found == expected) > 0.9
    assert expected.std() > 100  # so that this says something


@pytest.mark.parametrize(("on_columns", "backward"), WAYS)
def test_noise_and_offsets_are_those_of_ordinary_products(on_columns, backward):
    chip, lines, repeats = made(periphery=CROOKED), window(on_columns), 800
    many = np.repeat(drawn(10, lines, backward), repeats, axis=0)
    ours = products(chip, many, lines, backward)[0].reshape(10, repeats, -1).astype(np.float64)
    others = by_ordinary_products(chip, many, lines, backward).reshape(10, repeats, -1)
    error = np.sqrt((ours.var(axis=1) + others.var(axis=1)) / repeats)
    apart = (ours.mean(axis=1) - others.mean(axis=1)) / error
    assert np.abs(apart).max() < SIGMAS
    assert np.sqrt(np.mean(np.square(apart))) == pytest.approx(1, abs=SIGMAS / np.sqrt(2 * apart.size))
    ratio = ours.var(axis=1) / others.var(axis=1)  # each with a deviation of sqrt(2 / n)
    assert np.abs(np.log(ratio)).max() < SIGMAS * np.sqrt(4 / repeats)
    assert np.mean(np.log(ratio)) == pytest.approx(0, abs=SIGMAS * np.sqrt(4 / repeats / ratio.size))
    correlation = np.corrcoef((ours - ours.mean(axis=1, keepdims=True)).reshape(-1, ours.shape[-1]), rowvar=False)
    assert np.abs(correlation[np.triu_indices(len(correlation), 1)]).max() < SIGMAS / np.sqrt(10 * repeats)


@pytest.mark.parametrize("cells", CELLS)
@pytest.mark.parametrize("backward", [False, True])
def test_sparse_vectors_one_by_one_are_what_they_are_together(cells, backward):
    """Noise is that of the count of multiplications; sums may round differently."""
    one, two, lines = made(cells), made(cells), window()
    codes = drawn(200, lines, backward, share=0.3)
    together = products(one, codes, lines, backward)[0]
    apart = np.concatenate([products(two, code[np.newaxis], lines, backward)[0] for code in codes])
    assert np.abs(apart - together).max() <= 1 + backward
    assert np.mean(apart == together) > 0.99
    assert one.multiplications == two.multiplications == 200
    again = products(one, codes, lines, backward)[0]
    assert np.mean(again == together) < 0.9


def test_a_line_does_not_depend_on_which_others_are_looked_at():
    one, two, lines = made(), made(), window()
    codes = drawn(40, lines)
    some = dataclasses.replace(lines, outputs=lines.outputs[3:5])
    assert np.abs(products(two, codes, some)[0] - products(one, codes, lines)[0][:, 3:5]).max() <= 1


def test_products_of_many_blocks_are_no_different():
    one, two, lines = made(), made(), window()
    codes = drawn(5000, lines)
    together = products(one, codes, lines)[0]
    apart = np.concatenate([products(two, part, lines)[0] for part in np.array_split(codes, [77, 1234])])
    assert np.abs(apart - together).max() <= 1
    assert np.mean(apart == together) > 0.99


@pytest.mark.parametrize("bits", [8, 11, 13])
@pytest.mark.parametrize("backward", [False, True])
def test_fewer_bits_are_the_highest_of_a_converters_codes(bits, backward):
    one, two, lines = made(), made(), window()
    codes = drawn(50, lines, backward)
    coarse, fine = (products(chip, codes, lines, backward, bits=each)[0] for chip, each in ((one, bits), (two, 14)))
    step = 1 << 14 - bits
    if not backward:
        np.testing.assert_array_equal(coarse, fine >> 14 - bits)
    assert np.abs(coarse * step - fine).max() <= step  # less than a step for each line that is converted
    assert len(np.unique(coarse)) > 5


@pytest.mark.parametrize("periphery", [Periphery.ideal(), CROOKED])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("bits", [14, 9])
@pytest.mark.parametrize("backward", [False, True])
def test_conversions_at_either_end_are_counted(periphery, sign, bits, backward):
    """A part of the lines is beyond the range; which, ordinary products say."""
    chip, lines, voltage = made(periphery=periphery, silent=True), window(), 0.9 if backward else 2.5
    codes = np.abs(drawn(30, lines, backward)) * np.int16(sign)
    found, at_ends = products(chip, codes, lines, backward, bits=bits, voltage=voltage)
    lines_seen = lines_by_ordinary_products(chip, codes, lines, backward, voltage=voltage)
    ends = (np.array([0, 16383]) - 8192) >> 14 - bits
    expected = np.isin(lines_seen.astype(int) >> 14 - bits, ends)
    assert 0.02 < expected.mean() < 0.98
    assert at_ends == pytest.approx(expected.sum(), abs=2)  # codes next to an end that round differently
    if not backward:
        assert found.min() >= ends[0]
        assert found.max() <= ends[1]
        assert np.isin(found, ends).sum() == at_ends


def test_currents_are_the_same_on_every_range_as_far_as_it_resolves_them():
    chip, lines = made(silent=True, periphery=Periphery.ideal()), window()
    codes, amps, steps = drawn(30, lines), [], []
    for full_scale in chip.line_ranges[2:]:
        step = chip.line_adc(full_scale).step
        amps.append(products(chip, codes, lines, full_scale=full_scale)[0] * step + step / 2)
        steps.append(step)
    assert steps[0] == pytest.approx(250e-6 / 16_383)
    for coarser, step in zip(amps[1:], steps[1:], strict=True):
        assert np.abs(coarser - amps[0]).max() <= (step + steps[0]) / 2 * 1.01
    assert amps[0].std() > 5 * steps[-1]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("cells", CELLS)
def test_what_pulses_changed_is_what_a_look_at_all_cells_shows(seed, cells):
    """Pulses, waits and products one after another; then another chip in the same state looks for the first time."""
    random = np.random.default_rng(seed)
    ideal = dataclasses.replace(Periphery.named("test_macro"), bit_line_resistance=0.0, source_line_resistance=0.0)
    ideal = dataclasses.replace(ideal, switch_resistance=0.0)
    chip, lines = made(cells, ideal), [window(), window(True, seed=5)]
    products(chip, drawn(1, lines[0]), lines[0], time=1e9)
    time = 1e9 + random.random()
    for _ in range(12):
        for _ in range(random.integers(0, 3)):
            some = np.sort(random.choice(ROWS * COLS, random.integers(1, 12), replace=False))
            if random.random() < 0.3:
                chip.read(some.astype(np.uint32), time=time, period=1e-6)
            else:
                set_some(chip, some, time, period=1e-6)
            time += 20e-6
        time += random.choice([0.0, 4e-6, 3e-3, 0.04, 0.3])
        for way in (False, True):
            products(chip, drawn(1, lines[0], way), lines[0], way, time)
    looked = chip._seen_cells
    fresh = anew(chip)
    products(fresh, drawn(1, lines[1]), lines[1], False, time)
    for name in ("conductance", "variance"):
        np.testing.assert_allclose(getattr(looked, name), getattr(fresh._seen_cells, name), rtol=2e-6)
    for ours, others in zip(looked.resting, fresh._seen_cells.resting, strict=True):
        np.testing.assert_allclose(ours, others, rtol=1e-5, atol=1e-12)  # A: a thousandth of the finest code
    fresh.multiplications = chip.multiplications
    for each, backward in ((each, backward) for each in lines for backward in (False, True)):
        codes = drawn(20, each, backward)
        ours, others = (products(one, codes, each, backward, time)[0] for one in (chip, fresh))
        assert np.abs(ours - others).max() <= 1 + backward


def anew(chip):
    """The same chip, as if nobody had asked it for products yet, but knowing when its cells were pulsed."""
    other = copy.deepcopy(chip)
    other._seen_cells.heated(-np.inf)  # begins again
    other._line_products = None
    return other


# -- what is seen of the cells ----------------------------------------------------------------------------------


@pytest.mark.parametrize("cells", CELLS)
def test_cells_are_seen_as_of_finer_ticks_the_later_they_were_pulsed(cells):
    """What a cell shows changes 10 ms, 0.1 s and 1 s after its pulse, and between those it does not."""
    chip, lines = made(cells, silent=True), window()
    products(chip, drawn(1, lines), lines, time=1000.0)
    one = np.array([5], np.uint32)
    set_some(chip, one, 2000.0032)
    shown = {}
    for time in (2000.0033, 2000.009, 2000.0101, 2000.019, 2000.021, 2000.099, 2000.1039, 2000.19, 2000.21, 2000.99):
        products(chip, drawn(1, lines), lines, time=time)
        shown[time] = float(chip._seen_cells.conductance[5])
    moments = [shown[time] for time in sorted(shown)]
    same = [one == other for one, other in pairwise(moments)]
    assert same == [True, False, True, False, False, False, True, False, False]


def test_what_is_seen_does_not_depend_on_who_looked_when():
    often, once, lines = made(), made(), window()
    for chip in (often, once):
        products(chip, drawn(1, lines), lines, time=1000.0)
        set_some(chip, [3, 77, 500], 2000.0032)
        set_some(chip, [77, 90], 2000.0514)
    for time in np.arange(2000.06, 2003.0, 0.0137):
        products(often, drawn(1, lines), lines, time=time)
    for chip in (often, once):
        products(chip, drawn(1, lines), lines, time=2002.9999)
    np.testing.assert_array_equal(often._seen_cells.conductance, once._seen_cells.conductance)


@pytest.mark.parametrize("cells", CELLS)
@pytest.mark.parametrize(("pulsed", "longer"), [(5, 1), (ROWS * COLS // 64, 100)])
def test_a_few_pulses_leave_what_lines_take_about_as_it_was(cells, pulsed, longer):
    """Lines that resist as if they were `longer`: against all cells looked at anew, in shares of what is seen.

    Off by what a line takes times the change of all that its cells conduct, once for either kind of line.
    """
    usual = Periphery.named("test_macro")
    resisting = dataclasses.replace(
        Periphery.ideal(),
        bit_line_resistance=longer * usual.bit_line_resistance,
        source_line_resistance=longer * usual.source_line_resistance,
    )
    chip, ideal, lines = made(cells, resisting, silent=True), made(cells, Periphery.ideal(), silent=True), window()
    some = np.sort(np.random.default_rng(3).choice(ROWS * COLS, pulsed, replace=False))
    before, after = [], []
    for each in (chip, ideal):
        products(each, drawn(1, lines), lines, time=1000.0)
        before.append(each._seen_cells.conductance.reshape(ROWS, COLS).copy())
        set_some(each, some, 1000.2)
        products(each, drawn(1, lines), lines, time=1000.2001)
        after.append(each._seen_cells.conductance.reshape(ROWS, COLS))
    taken = 1 - before[0] / before[1]
    changes = [np.abs(after[1].sum(axis) / before[1].sum(axis) - 1).max() for axis in (0, 1)]
    expected = anew_look(chip, 1000.2001).reshape(ROWS, COLS)
    error = np.abs(after[0] / expected - 1).max()
    assert error < taken.max() * sum(changes)
    if pulsed == 5:
        assert np.abs(after[0].sum(axis=0) / expected.sum(axis=0) - 1).max() < 1e-4  # of what columns show
    assert taken.max() > 2e-3 * longer
    assert np.abs(after[0] / before[0] - 1).max() > 0.1  # so that this says something


def anew_look(chip, time):
    other = anew(chip)
    products(other, drawn(1, window()), window(), time=time)
    return other._seen_cells.conductance


def test_pulsing_all_cells_leaves_no_stale_lines():
    chip, lines = made(silent=True), window()
    products(chip, drawn(1, lines), lines, time=1000.0)
    for first in range(0, ROWS * COLS, 64):
        set_some(chip, np.arange(first, first + 64), 1000.0 + first * 1e-6)
        products(chip, drawn(1, lines), lines, time=1000.0001 + first * 1e-6)
    shown = chip._seen_cells.conductance.copy()
    np.testing.assert_allclose(shown, anew_look(chip, chip.time), rtol=1e-4)


def test_a_warm_chip_shows_what_its_ordinary_products_do():
    chip, lines = made("rram_40nm", silent=True), window()
    codes = drawn(30, lines)
    cold = products(chip, codes, lines, time=1000.0)[0]
    chip.heat(350.0, 1001.0)
    warm = products(chip, codes, lines, time=1001.0)[0]
    assert np.abs(warm - by_ordinary_products(chip, codes, lines, False, 1001.0)).max() <= 1
    assert np.any(warm != cold)


def test_hot_cells_are_seen_as_of_finer_ticks():
    chip, lines = made(silent=True), window()
    chip.heat(400.0, 1000.0)
    products(chip, drawn(1, lines), lines, time=1001.0)
    set_some(chip, [5], 2000.0)
    seen = []
    for time in (2000.0001, 2000.0011, 2000.0021):
        products(chip, drawn(1, lines), lines, time=time)
        seen.append(float(chip._seen_cells.conductance[5]))
    assert seen[0] > seen[1] > seen[2]


@pytest.mark.parametrize("cells", CELLS)
def test_the_read_voltage_is_that_of_the_chip(cells):
    chip, lines = made(cells, silent=True), window()
    codes = drawn(30, lines)
    products(chip, codes, lines, time=1000.0)
    chip.read_voltage = 0.4
    found = products(chip, codes, lines, time=1000.0)[0]
    assert np.abs(found - by_ordinary_products(chip, codes, lines, False, 1000.0)).max() <= 1


def test_reads_are_seen_where_they_disturb_and_else_nothing_is_looked_at_again(mocker):
    for cells, disturbs in (("pcm_90nm", False), ("rram_40nm", True)):
        chip, lines = made(cells), window()
        products(chip, drawn(1, lines), lines, time=1000.0)
        looked = mocker.spy(chip._cells, "read_moments")
        chip.read(np.array([7, 9], np.uint32), time=1000.1)
        products(chip, drawn(1, lines), lines, time=1000.1001)
        assert looked.call_count == disturbs


def test_a_pulse_costs_a_look_at_its_cells_alone(mocker):
    chip, lines = made(), window()
    products(chip, drawn(1, lines), lines, time=1000.0)
    looked = mocker.spy(chip._cells, "read_moments")
    set_some(chip, [7, 9], 1000.1)
    for _ in range(3):
        products(chip, drawn(1, lines), lines, time=1000.1001)
    assert [len(call.args[0]) for call in looked.call_args_list] == [2]


def test_faults_of_the_readout_are_seen_on_columns():
    chip, lines = made(), window()
    codes = drawn(30, lines)
    chip.readout_faults.stick([int(lines.outputs[2])], 100)
    stuck, at_ends = products(chip, codes, lines)
    assert np.all(stuck[:, 2] == 100 - 8192)
    assert not np.any(stuck[:, 3] == 100 - 8192)
    assert at_ends == 0
    assert products(chip, drawn(30, lines, True), lines, backward=True)[1] == 0  # of rows, which are not at fault
    chip.readout_faults.saturate(True)
    saturated, at_ends = products(chip, codes, lines)
    assert np.all(saturated == 8191)
    assert at_ends == saturated.size


def test_it_counts_as_no_read_and_survives_being_saved(tmp_path):
    chip, lines = made(), window()
    codes = drawn(30, lines)
    products(chip, codes, lines, time=1000.0)
    assert not chip.read_counts.any()
    chip.save(tmp_path / "chip.h5")
    loaded = FineMacro.load(tmp_path / "chip.h5", CELLS["pcm_90nm"])
    ours, others = (products(each, codes, lines, time=1010.0)[0] for each in (chip, loaded))
    np.testing.assert_array_equal(ours, others)


def test_many_windows_are_forgotten_and_made_again():
    chip, lines = made(), [window(inputs=30, outputs=60, seed=seed) for seed in range(8)]
    codes = drawn(5, lines[0])
    for _ in range(2):
        for each in lines:
            products(chip, codes, each)
    kept = chip._line_products._matrices
    assert 1 < len(kept) < 8
    one, other = made(), made()
    one.multiplications = other.multiplications = chip.multiplications
    expected = products(one, codes, lines[0])[0]
    np.testing.assert_array_equal(products(chip, codes, lines[0])[0], expected)


def test_a_range_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"no range of 0\.001 A for lines"):
        products(made(), drawn(1, window()), window(), full_scale=1e-3)
