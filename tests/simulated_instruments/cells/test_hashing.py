"""Noise drawn by hashing is uniform, normal, independent, and the same however it is asked for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from labctl.simulated_instruments.cells.arena import Arena
from labctl.simulated_instruments.cells.hashing import NoiseKey, hash_bits, standard_normal, uniform

KEY = NoiseKey.of("serial", "effect")
SIGMAS = 5.0  # of sampling error allowed; each statistic below has a known standard error


def draw(variate, cells, counts, key=KEY):
    """Variates of cells x counts, (cells, counts)."""
    grid = (
        np.repeat(np.asarray(cells, np.uint32), len(counts)),
        np.tile(np.asarray(counts, np.uint32), len(cells)),
    )
    return variate(key, *grid, Arena(len(grid[0]))).reshape(len(cells), len(counts)).copy()


def assert_evenly_spread(observed):
    """Chi-square of equal expectations: mean df, variance 2 df."""
    expected = observed.sum() / observed.size
    chi_square = ((observed - expected) ** 2 / expected).sum()
    freedom = observed.size - 1
    assert abs(chi_square - freedom) < SIGMAS * np.sqrt(2 * freedom)


@pytest.mark.parametrize("shift", [0, 10, 22])
def test_every_part_of_the_bits_is_uniform(shift):
    bits = draw(hash_bits, range(1 << 14), range(64))
    assert_evenly_spread(np.bincount((bits.ravel() >> shift) & 0x3FF, minlength=1 << 10))


def test_each_bit_flips_half_of_the_bits_out():
    cells = np.arange(1 << 12)
    plain = draw(hash_bits, cells, [7])
    for bit in range(12):
        flipped = np.bitwise_count(plain ^ draw(hash_bits, cells ^ (1 << bit), [7]))
        assert abs(flipped.mean() - 16) < SIGMAS * np.sqrt(8 / len(cells))
        flipped = np.bitwise_count(plain ^ draw(hash_bits, cells, [7 ^ (1 << bit)]))
        assert abs(flipped.mean() - 16) < SIGMAS * np.sqrt(8 / len(cells))


def neighbours():
    """Pairs of grids that a weak hash would tie together."""
    cells, counts = np.arange(1 << 13), np.arange(64)
    grid = draw(hash_bits, cells, counts)
    for lag in (1, 2, 3, 8, 16, 32):
        yield f"count + {lag}", grid, draw(hash_bits, cells, counts + lag)
    for lag in (1, 2, 64, 512, 513):
        yield f"cell + {lag}", grid, draw(hash_bits, cells + lag, counts)
    yield "cell + 1, count - 1", grid, draw(hash_bits, cells + 1, counts - 1)
    yield "another effect", grid, draw(hash_bits, cells, counts, NoiseKey.of("serial", "another"))
    yield "another serial", grid, draw(hash_bits, cells, counts, NoiseKey.of("seriam", "effect"))


@pytest.mark.parametrize(("first", "second"), [pytest.param(a, b, id=name) for name, a, b in neighbours()])
def test_neighbours_are_independent(first, second):
    for shift in (0, 26):
        joint = ((first >> shift) & 63) * 64 + ((second >> shift) & 63)
        assert_evenly_spread(np.bincount(joint.ravel(), minlength=64 * 64))
    correlation = np.corrcoef(first.ravel(), second.ravel())[0, 1]
    assert abs(correlation) < SIGMAS / np.sqrt(first.size)


def test_no_cell_repeats_another_cells_sequence():
    """Equal words among N are Poisson, of mean N**2 / 2**33; shifted copies would make them many more."""
    words = np.sort(draw(hash_bits, range(1 << 14), range(64)).ravel())
    expected = words.size**2 / 2**33
    assert abs(np.count_nonzero(words[1:] == words[:-1]) - expected) < SIGMAS * np.sqrt(expected)


def test_sequences_of_different_cells_are_uncorrelated_at_every_lag():
    noise = draw(standard_normal, range(64), range(4096)).astype(np.float64)
    spectra = np.fft.rfft(noise, axis=1)
    for cell in range(1, 64):
        crossed = np.fft.irfft(spectra[0].conj() * spectra[cell]) / 4096
        assert np.abs(crossed).max() < stats.norm.isf(1e-7) / np.sqrt(4096)


def test_uniforms_fill_the_open_unit_interval():
    values = draw(uniform, range(1 << 14), range(64))
    assert values.min() > 0
    assert values.max() < 1
    assert stats.kstest(values.ravel(), "uniform").pvalue > 1e-6


def test_normals_have_the_moments_of_a_normal():
    values = draw(standard_normal, range(1 << 14), range(128)).astype(np.float64).ravel()
    n = len(values)
    assert abs(values.mean()) < SIGMAS / np.sqrt(n)
    assert abs(values.var() - 1) < SIGMAS * np.sqrt(2 / n)
    assert abs(stats.skew(values)) < SIGMAS * np.sqrt(6 / n)
    assert abs(stats.kurtosis(values)) < SIGMAS * np.sqrt(24 / n)
    assert stats.kstest(values, "norm").pvalue > 1e-6


def test_normals_have_the_tails_of_a_normal():
    beyond = np.zeros(4)
    total = 0
    for start in range(0, 1 << 18, 1 << 15):
        values = np.abs(draw(standard_normal, range(start, start + (1 << 15)), range(64)))
        beyond += [np.count_nonzero(values > limit) for limit in (3, 4, 4.5, 5)]
        total += values.size
    expected = 2 * stats.norm.sf([3, 4, 4.5, 5]) * total
    assert expected[-1] > 9
    assert np.all(np.abs(beyond - expected) < SIGMAS * np.sqrt(expected))


@given(st.permutations(range(40)), st.integers(1, 40))
def test_batching_and_order_do_not_matter(order, size):
    cells = np.array([c * 7 for c in range(40)], np.uint32)
    counts = np.array([c * c for c in range(40)], np.uint32)
    together = standard_normal(KEY, cells, counts, Arena(40)).copy()
    arena = Arena(size)
    for start in range(0, 40, size):
        arena.reset()
        part = np.array(order[start : start + size])
        np.testing.assert_array_equal(standard_normal(KEY, cells[part], counts[part], arena), together[part])


def test_the_same_chip_is_the_same_tomorrow():
    """Frozen: a change here changes every simulated chip ever bought."""
    frozen = [[4071244760, 3909965755], [2206427391, 2394596896], [1148937302, 3816756388]]
    assert draw(hash_bits, [0, 1, 262_143], [0, 1]).tolist() == frozen
