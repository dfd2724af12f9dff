"""Bit-serial products are the products of their planes: the same cells, offsets, noise and converters."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labctl.simulated_instruments.cells.rram_parameters import RramParameters
from labctl.simulated_instruments.chips.bit_serial import Window
from labctl.simulated_instruments.chips.converters import Converter
from labctl.simulated_instruments.chips.crossbar import CrossbarMacro
from labctl.simulated_instruments.chips.periphery import Periphery

ROWS, COLS = 64, 48
INPUTS, OUTPUTS = 20, 17
BITS = 4
VOLTAGE = 0.2
FINE = 125e-6  # A, the smallest range
SIGMAS = 5.0
QUIET = dataclasses.replace(
    RramParameters.default(),
    read_noise=0.0,
    read_noise_floor=0.0,
    flicker_noise=0.0,
    telegraph_fraction=0.0,
)
CROOKED = dataclasses.replace(
    Periphery.named("test_macro"), adc_offset_spread=40.0, adc_bow_spread=60.0, adc_skew_spread=40.0
)


class FineMacro(CrossbarMacro):
    """Whose ordinary products are converted on the smallest range too."""

    column_adc = Converter.spanning(-FINE, FINE, bits=14)


def formed(parameters=None, periphery=None):
    chip = FineMacro.buy("X-1", parameters, ROWS, COLS, periphery)
    chip.pulse(1, None, round(4.2 / chip.dac.step), 1e-6, 1.2, 0.0)
    return chip


def window(inputs=INPUTS, outputs=OUTPUTS, seed=0):
    random = np.random.default_rng(seed)
    rows = random.permutation(ROWS)[: 2 * inputs]
    return Window(rows[:inputs], rows[inputs:], random.permutation(COLS)[:outputs])


def drawn(vectors, bits=BITS, inputs=INPUTS, seed=1):
    return np.random.default_rng(seed).integers(0, 1 << bits, (vectors, inputs)).astype(np.uint8)


def planes_of(codes, lines, bits, voltage=VOLTAGE):
    """Row voltages of every plane, the lowest of a vector first: (n * bits, rows)."""
    volts = np.zeros((len(codes), bits, ROWS), np.float32)
    for bit in range(bits):
        volts[:, bit, lines.plus] = voltage * (codes >> bit & 1)
        volts[:, bit, lines.minus] = -voltage * (codes >> bit & 1)
    return volts.reshape(-1, ROWS)


def sums_by_planes(chip, codes, lines, bits, voltage=VOLTAGE):
    """The same by the ordinary product of every plane: (n, outputs)."""
    currents = chip.multiply(planes_of(codes, lines, bits, voltage))[:, lines.cols]
    found = np.rint((currents.astype(np.float64) - chip.column_adc.offset) / chip.column_adc.step)
    return np.einsum("b,nbj->nj", 2.0 ** np.arange(bits), found.reshape(len(codes), bits, -1))


@pytest.mark.parametrize("periphery", [Periphery.ideal(), Periphery.named("test_macro"), CROOKED])
@pytest.mark.parametrize("bits", [1, 3, 8])
def test_without_noise_it_is_the_sum_of_the_ordinary_products_of_its_planes(periphery, bits):
    chip, lines, codes = formed(QUIET, periphery), window(), drawn(30, bits)
    found = chip.multiply_bits(codes, lines, bits, VOLTAGE, FINE)
    assert found.dtype == np.uint32
    assert not found[-1].any()
    error = found[:-1] - sums_by_planes(chip, codes, lines, bits)
    assert np.abs(error).max() < 1 << bits  # a code a plane: sums round differently next to half a code
    assert np.mean(error == 0) > 0.9
    assert found[:-1].std(axis=0).min() > 10  # so that this says something


def test_noise_and_offsets_are_those_of_ordinary_products():
    chip, lines, codes, repeats = formed(periphery=CROOKED), window(), drawn(10), 1000
    many = np.repeat(codes, repeats, axis=0)
    sums = chip.multiply_bits(many, lines, BITS, VOLTAGE, FINE)[:-1].reshape(10, repeats, -1).astype(np.float64)
    others = sums_by_planes(chip, many, lines, BITS).reshape(10, repeats, -1)
    error = np.sqrt((sums.var(axis=1) + others.var(axis=1)) / repeats)
    apart = (sums.mean(axis=1) - others.mean(axis=1)) / error
    assert np.abs(apart).max() < SIGMAS
    assert np.sqrt(np.mean(np.square(apart))) == pytest.approx(1, abs=SIGMAS / np.sqrt(2 * apart.size))
    ratio = sums.var(axis=1) / others.var(axis=1)  # each with a deviation of sqrt(2 / n)
    assert np.abs(np.log(ratio)).max() < SIGMAS * np.sqrt(4 / repeats)
    assert np.mean(np.log(ratio)) == pytest.approx(0, abs=SIGMAS * np.sqrt(4 / repeats / ratio.size))
    correlation = np.corrcoef((sums - sums.mean(axis=1, keepdims=True)).reshape(-1, OUTPUTS), rowvar=False)
    assert np.abs(correlation[np.triu_indices(OUTPUTS, 1)]).max() < SIGMAS / np.sqrt(10 * repeats)


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 8))
@settings(max_examples=20, deadline=None)
def test_any_batches_give_the_same_codes_to_the_last_bit(seed, parts, bits):
    one, two, codes = formed(), formed(), drawn(90, bits, seed=seed)
    together = one.multiply_bits(codes, window(), bits, VOLTAGE, FINE)
    apart = [two.multiply_bits(part, window(), bits, VOLTAGE, FINE) for part in np.array_split(codes, parts)]
    np.testing.assert_array_equal(np.concatenate([each[:-1] for each in apart]), together[:-1])
    np.testing.assert_array_equal(sum(each[-1] for each in apart), together[-1])
    assert one.multiplications == two.multiplications == 90 * bits
    assert np.any(one.multiply_bits(codes, window(), bits, VOLTAGE, FINE)[:-1] != together[:-1])


@pytest.mark.parametrize(("inputs", "outputs"), [(9, 40), (32, 48), (1, 1)])
def test_products_of_many_blocks_are_no_different(inputs, outputs):
    one, two, lines, codes = formed(), formed(), window(inputs, outputs), drawn(9000, inputs=inputs)
    together = one.multiply_bits(codes, lines, BITS, VOLTAGE, FINE)
    for part in (slice(0, 77), slice(77, 1234), slice(1234, 9000)):
        np.testing.assert_array_equal(two.multiply_bits(codes[part], lines, BITS, VOLTAGE, FINE)[:-1], together[part])


def test_a_column_does_not_depend_on_which_others_are_looked_at():
    one, two, codes, lines = formed(), formed(), drawn(40), window()
    some = dataclasses.replace(lines, cols=lines.cols[3:5])
    whole = one.multiply_bits(codes, lines, BITS, VOLTAGE, FINE)
    np.testing.assert_array_equal(two.multiply_bits(codes, some, BITS, VOLTAGE, FINE), whole[:, 3:5])


def test_no_bit_shows_the_offsets_and_the_noise_that_they_make():
    chip, lines = formed(), window()
    idle = chip.multiply_bits(np.zeros((2000, INPUTS), np.uint8), lines, 1, VOLTAGE, FINE)[:-1].astype(np.float64)
    grounded = chip.multiply_bits(np.ones((2000, INPUTS), np.uint8), lines, 1, 0.0, FINE)[:-1]
    ordinary = sums_by_planes(chip, np.zeros((2000, INPUTS), np.uint8), lines, 1)
    for other in (grounded, ordinary):
        np.testing.assert_allclose(idle.mean(axis=0), other.mean(axis=0), atol=SIGMAS * np.sqrt(2 / 2000))
    assert np.abs(idle.mean(axis=0) - chip.product_adc(FINE).top / 2).max() > 1


def test_a_warm_chip_shows_what_its_ordinary_products_do():
    chip, lines, codes = formed(QUIET), window(), drawn(30)
    cold = chip.multiply_bits(codes, lines, BITS, VOLTAGE, FINE)[:-1]
    chip.heat(350.0, 1.0)
    warm = chip.multiply_bits(codes, lines, BITS, VOLTAGE, FINE, time=1.0)[:-1]
    assert np.abs(warm - sums_by_planes(chip, codes, lines, BITS)).max() < 1 << BITS
    assert np.any(warm != cold)


def test_currents_are_the_same_on_every_range_as_far_as_it_resolves_them():
    chip, lines, codes, planes = formed(QUIET, Periphery.ideal()), window(), drawn(30), (1 << BITS) - 1
    amps, steps = [], []
    for full_scale in chip.product_ranges:
        adc, sums = chip.product_adc(full_scale), chip.multiply_bits(codes, lines, BITS, VOLTAGE, full_scale)[:-1]
        amps.append(sums * adc.step + planes * adc.offset)
        steps.append(adc.step)
    assert steps == pytest.approx([250e-6 / 16_383, 1e-3 / 16_383, 4e-3 / 16_383])
    for coarser, step in zip(amps[1:], steps[1:], strict=True):
        assert np.abs(coarser - amps[0]).max() <= planes * (step + steps[0]) / 2 * 1.001
    assert amps[0].std() > 10 * steps[-1]


@pytest.mark.parametrize("periphery", [Periphery.ideal(), Periphery.named("test_macro")])
@pytest.mark.parametrize("sign", [1, -1])
def test_conversions_at_either_end_are_counted_for_each_column(periphery, sign):
    """25 V takes most columns beyond the range; which, and how often, ordinary products say."""
    chip, lines, codes = formed(QUIET, periphery), window(), drawn(30)
    found = chip.multiply_bits(codes, lines, BITS, sign * 25.0, FINE)
    currents = chip.multiply(planes_of(codes, lines, BITS, sign * 25.0))[:, lines.cols]
    codes_seen = np.rint((currents.astype(np.float64) + FINE) / chip.column_adc.step)
    at_ends = (codes_seen == 0) | (codes_seen == chip.column_adc.top)
    assert at_ends.any(axis=0).sum() > OUTPUTS // 2
    assert not at_ends.all()
    np.testing.assert_array_equal(found[-1], at_ends.sum(axis=0))
    assert np.abs(found[:-1] - sums_by_planes(chip, codes, lines, BITS, sign * 25.0)).max() < 1 << BITS


def test_faults_of_the_readout_are_seen():
    chip, lines, codes = formed(), window(), drawn(30)
    before = chip.multiply_bits(codes, lines, BITS, VOLTAGE, FINE)
    chip.readout_faults.stick([lines.cols[2]], 100)
    stuck = chip.multiply_bits(codes, lines, BITS, VOLTAGE, FINE)
    assert np.all(stuck[:-1, 2] == 100 * 15)
    assert not np.any(before[:, 2] == 100 * 15)
    assert not stuck[-1].any()
    chip.readout_faults.saturate(True)
    saturated = chip.multiply_bits(codes, lines, BITS, VOLTAGE, FINE)
    assert np.all(saturated[:-1] == 16_383 * 15)
    assert np.all(saturated[-1] == 30 * BITS)


def test_it_counts_as_no_read_and_sees_the_latest_pulse():
    chip, lines, codes = formed(), window(), drawn(30)
    before = chip.multiply_bits(codes, lines, BITS, VOLTAGE, FINE)
    chip.pulse(3, None, round(3.0 / chip.dac.step), 1e-6, 2.5, 0.0)
    after = chip.multiply_bits(codes, lines, BITS, VOLTAGE, FINE)
    assert after[:-1].std() < before[:-1].std() / 3
    assert not chip.read_counts.any()


def test_a_range_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"no product range of 0\.001 A"):
        formed().multiply_bits(drawn(1), window(), BITS, VOLTAGE, 1e-3)
