"""Noise drawn by hashing is uniform, normal, independent, and the same however it is asked for.

Keys are fixed, so a statistic here is a number that never changes. The tolerances are those a true random source would
pass but for one draw in a million: five standard errors, or where the expectation is small, the Poisson quantiles.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from labctl.simulated_instruments.cells.arena import Arena
from labctl.simulated_instruments.cells.hashing import (
    NoiseKey,
    NormalGrid,
    _half_normal_quantiles,
    half_normal,
    hash_bits,
    hash_grid,
    standard_normal,
    uniform,
)

KEY = NoiseKey.of("serial", "effect")
SIGMAS = 5.0  # of sampling error allowed; each statistic below has a known standard error
RARE = 1e-6  # probability of a statistic that a true random source fails by chance
SERIALS = [f"R40-{number:04}" for number in range(1, 65)]
EFFECTS = [
    "switching",
    "cycle",
    "breakdown",
    "reading",
    *(f"{name} {n}" for name in ("fluctuator", "relaxation") for n in range(4)),
]
BLOCK = 1 << 20


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


def assert_poisson(observed, expected):
    """Within the central 1 - RARE of a Poisson distribution of mean `expected`."""
    low, high = stats.poisson.ppf([RARE / 2, 1 - RARE / 2], expected)
    assert low <= observed <= high, f"{observed} where {expected:.4g} are expected, {low:g} to {high:g} allowed"


def assert_uncorrelated(columns):
    """(n, k): no two of k columns correlate, nor do all of them a little.

    A correlation of n independent pairs is normal with variance 1 / n; squares of the k (k - 1) / 2 scaled ones add up
    to a chi-square, and the largest of them is bounded by Bonferroni.
    """
    n, k = columns.shape
    scaled = np.corrcoef(columns, rowvar=False)[np.triu_indices(k, 1)] * np.sqrt(n)
    assert np.abs(scaled).max() < stats.norm.isf(RARE / 2 / len(scaled))
    assert abs((scaled**2).sum() - len(scaled)) < SIGMAS * np.sqrt(2 * len(scaled))


def many_cells():
    return draw(hash_bits, range(BLOCK), [3])


def many_counts():
    return draw(hash_bits, [262_143], range(BLOCK))


def many_cells_and_counts():
    return draw(hash_bits, range(1 << 10), range(1 << 10))


def many_effects():
    keys = [NoiseKey.of("R40-0001", f"effect {number}") for number in range(1 << 13)]
    return np.stack([draw(hash_bits, range(64), [0, 1], key) for key in keys])


def many_serials():
    keys = [NoiseKey.of(f"R40-{number:04}", "switching") for number in range(1 << 13)]
    return np.stack([draw(hash_bits, range(64), [0, 1], key) for key in keys])


@pytest.mark.parametrize("drawn", [many_cells, many_counts, many_cells_and_counts, many_effects, many_serials])
def test_every_part_of_the_bits_is_uniform(drawn):
    bits = drawn().ravel()
    for shift in (0, 5, 11, 16, 22):
        assert_evenly_spread(np.bincount((bits >> shift) & 0x3FF, minlength=1 << 10))


def test_each_bit_flips_half_of_the_bits_out():
    cells = np.arange(1 << 12)
    plain = draw(hash_bits, cells, [7])
    for bit in range(12):
        flipped = np.bitwise_count(plain ^ draw(hash_bits, cells ^ (1 << bit), [7]))
        assert abs(flipped.mean() - 16) < SIGMAS * np.sqrt(8 / len(cells))
        flipped = np.bitwise_count(plain ^ draw(hash_bits, cells, [7 ^ (1 << bit)]))
        assert abs(flipped.mean() - 16) < SIGMAS * np.sqrt(8 / len(cells))


def neighbours():
    """Names of pairs of grids that a weak hash would tie together, and how either of a pair is drawn."""

    def grid(cell=0, count=0, serial="serial", effect="effect"):
        return lambda: draw(hash_bits, np.arange(1 << 13) + cell, np.arange(64) + count, NoiseKey.of(serial, effect))

    for lag in (1, 2, 3, 8, 16, 32):
        yield f"count + {lag}", grid(), grid(count=lag)
    for lag in (1, 2, 64, 512, 513):
        yield f"cell + {lag}", grid(), grid(cell=lag)
    yield "cell + 1, count - 1", grid(count=1), grid(cell=1)
    yield "another effect", grid(), grid(effect="another")
    yield "another serial", grid(), grid(serial="seriam")
    for serial, effect in (("R40-0002", "switching"), ("R40-0001", "reading"), ("R40-0002", "reading")):
        yield f"{serial}, {effect}", grid(serial="R40-0001", effect="switching"), grid(serial=serial, effect=effect)
    yield "the next serial, cell + 1", grid(serial="R40-0001"), grid(serial="R40-0002", cell=1)


@pytest.mark.parametrize(("first", "second"), [pytest.param(a, b, id=name) for name, a, b in neighbours()])
def test_neighbours_are_independent(first, second):
    one, other = first(), second()
    for shift in (0, 26):
        joint = ((one >> shift) & 63) * 64 + ((other >> shift) & 63)
        assert_evenly_spread(np.bincount(joint.ravel(), minlength=64 * 64))
    correlation = np.corrcoef(one.ravel(), other.ravel())[0, 1]
    assert abs(correlation) < SIGMAS / np.sqrt(one.size)


def test_no_cell_repeats_another_cells_sequence():
    """Equal words among N are Poisson, of mean N**2 / 2**33; shifted copies would make them many more."""
    words = np.sort(draw(hash_bits, range(1 << 14), range(64)).ravel())
    expected = words.size**2 / 2**33
    assert abs(np.count_nonzero(words[1:] == words[:-1]) - expected) < SIGMAS * np.sqrt(expected)


def test_adjacent_serials_are_uncorrelated():
    keys = [NoiseKey.of(serial, "switching") for serial in SERIALS]
    assert_uncorrelated(
        np.stack([draw(standard_normal, range(1 << 12), range(16), key).ravel() for key in keys], axis=1)
    )


def test_effects_on_one_chip_are_uncorrelated():
    keys = [NoiseKey.of("R40-0001", effect) for effect in EFFECTS]
    assert_uncorrelated(
        np.stack([draw(standard_normal, range(1 << 14), range(16), key).ravel() for key in keys], axis=1)
    )


def test_traits_of_a_chip_do_not_return_in_the_next():
    """Traits are drawn at count 0 alone: sorted or not, the cells of two chips do not line up."""
    chips = [
        draw(standard_normal, range(1 << 16), [0], NoiseKey.of(serial, "trait: floor")).ravel() for serial in SERIALS
    ]
    assert_uncorrelated(np.stack(chips, axis=1))
    squares = np.square(np.stack(chips, axis=1))
    assert_uncorrelated(np.argsort(np.argsort(squares, axis=0), axis=0).astype(np.float64))


def test_words_of_adjacent_serials_meet_as_often_as_by_chance():
    """Equal words among N of eight chips: Poisson, of mean N**2 / 2**33. Two at one cell and count: hardly ever."""
    keys = [NoiseKey.of(serial, "switching") for serial in SERIALS[:8]]
    words = np.stack([draw(hash_bits, range(1 << 14), range(16), key).ravel() for key in keys])
    ordered = np.sort(words, axis=None)
    assert_poisson(np.count_nonzero(ordered[1:] == ordered[:-1]), words.size**2 / 2**33)
    pairs = list(itertools.combinations(range(8), 2))
    together = sum(np.count_nonzero(words[one] == words[other]) for one, other in pairs)
    assert_poisson(together, len(pairs) * words.shape[1] / 2**32)


def test_keys_are_as_different_as_random_words():
    """2**17 serials and effects: no key twice; equal 32-bit words Poisson, of mean N**2 / 2**33."""
    keys = [NoiseKey.of(f"R40-{n >> 4:04}", EFFECTS[n & 7] + str(n >> 3 & 1)) for n in range(1 << 17)]
    assert len({(int(key.before), int(key.after)) for key in keys}) == len(keys)
    for word in ("before", "after"):
        words = np.array([getattr(key, word) for key in keys])
        assert_evenly_spread(np.bincount(words >> 22, minlength=1 << 10))
        assert_poisson(len(words) - len(np.unique(words)), len(words) ** 2 / 2**33)


@pytest.mark.parametrize("lines", ["counts", "cells"])
def test_noise_along_counts_and_along_cells_has_no_memory(lines):
    """Mean product of neighbours at every lag up to half the length, over 64 lines: normal, of variance 1 / products.

    The spectrum of a padded line gives all lags at once.
    """
    length = 1 << 14
    grid = (
        draw(standard_normal, range(64), range(length))
        if lines == "counts"
        else draw(standard_normal, range(length), range(64)).T
    )
    spectrum = np.fft.rfft(grid.astype(np.float64), n=2 * length, axis=1)
    products = np.fft.irfft(np.abs(spectrum) ** 2, axis=1).sum(axis=0)[1 : length // 2]
    pairs = 64 * (length - np.arange(1, length // 2))
    scaled = products / np.sqrt(pairs)
    assert np.abs(scaled).max() < stats.norm.isf(RARE / 2 / len(scaled))
    assert abs((scaled**2).mean() - 1) < SIGMAS * np.sqrt(2 / len(scaled))


def plane_partners():
    counts, cells = np.arange(1 << 10), np.arange(1 << 12)
    key = NoiseKey.of("R40-0001", "reading")
    base = draw(uniform, cells, counts, key)
    yield "the next count", base, draw(uniform, cells, counts + 1, key)
    yield "the next cell", base, draw(uniform, cells + 1, counts, key)
    yield "the next row", base, draw(uniform, cells + 512, counts, key)
    yield "the next serial", base, draw(uniform, cells, counts, NoiseKey.of("R40-0002", "reading"))
    yield "another effect", base, draw(uniform, cells, counts, NoiseKey.of("R40-0001", "switching"))


def test_pairs_fill_the_plane_evenly():
    """2**22 pairs in 512 x 512 squares, 16 expected in each."""
    for name, first, second in plane_partners():
        square = (first * 512).astype(np.intp) * 512 + (second * 512).astype(np.intp)
        observed = np.bincount(square.ravel(), minlength=512 * 512)
        expected = observed.mean()
        chi_square = ((observed - expected) ** 2 / expected).sum()
        # An index of dispersion of Poisson counts: its variance has 1 / expected more than a chi-square's.
        error = np.sqrt((2 + 1 / expected) * observed.size)
        assert abs(chi_square - (observed.size - 1)) < SIGMAS * error, name


def test_triples_of_counts_fill_the_cube_evenly():
    values = draw(uniform, range(1 << 16), range(48)).reshape(-1, 3)
    places = (values * 32).astype(np.intp) @ np.array([1024, 32, 1])
    assert_evenly_spread(np.bincount(places, minlength=32**3))


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


def tail_counts(draws):
    """How many of `draws` normals, over cells, counts and serials, are beyond each of TAILS, either side."""
    beyond = np.zeros((2, len(TAILS)), np.int64)
    arena = Arena(BLOCK)
    for block in range(draws // BLOCK):
        arena.reset()
        cells = arena.range(BLOCK * (block % 4), BLOCK)
        key = NoiseKey.of(SERIALS[block % len(SERIALS)], "reading")
        values = standard_normal(key, cells, np.uint32(block), arena)
        far = values[np.abs(values) > TAILS[0]]
        beyond += [[np.count_nonzero(sign * far > limit) for limit in TAILS] for sign in (1, -1)]
    return beyond


TAILS = (3.5, 4.0, 4.5, 5.0, 5.5)


def assert_normal_tails(draws):
    expected = stats.norm.sf(TAILS) * draws
    for side in tail_counts(draws):
        for observed, mean in zip(side, expected, strict=True):
            assert_poisson(observed, mean)


def test_normals_have_the_tails_of_a_normal():
    """2e7 draws: beyond 4 sigma 664 a side, known to 4 %; beyond 5 sigma 6."""
    assert_normal_tails(20 * BLOCK)


@pytest.mark.slow
def test_normals_have_the_tails_of_a_normal_in_a_hundred_million():
    """2e8 draws: beyond 4 sigma 6,640 a side, known to 1.2 %; beyond 5 sigma 60; beyond 5.5 sigma 4."""
    assert_normal_tails(200 * BLOCK)


@pytest.mark.parametrize(("limit", "within"), [(3.0, 0.002), (4.0, 0.02), (4.5, 0.02), (5.0, 0.02), (5.5, 0.12)])
def test_the_exact_tails_are_those_of_a_normal(limit, within):
    """No sampling: any two entries of the table are equally likely, so the tail is a sum over one of them."""
    table = _half_normal_quantiles().astype(np.float64)
    tail = (len(table) - np.searchsorted(table, limit - table, side="right")).sum() / float(len(table)) ** 2
    assert tail / stats.norm.sf(limit) == pytest.approx(1, abs=within)


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


class TestGrid:
    """Words of many lines at many counts, two variates of each."""

    LINES = np.array([*range(24), 100, 101, 400, 511], np.uint32)

    def drawn(self, counts):
        """Both halves of the words of two turns: (4, lines, counts)."""
        found = []
        for turn in (0, 1):
            for half in (0, 1):
                arena = Arena(len(self.LINES) * len(counts))
                words = hash_grid(KEY, self.LINES, np.asarray(counts, np.uint32), turn, arena)
                found.append(half_normal(words, half, arena).reshape(len(self.LINES), -1).copy())
        return np.array(found)

    def test_a_variate_is_that_of_its_line_and_count_alone(self):
        counts = np.arange(1000, 1200)
        whole = self.drawn(counts)
        np.testing.assert_array_equal(self.drawn(counts[50:60]), whole[:, :, 50:60])
        arena = Arena(7 * 200)
        some = half_normal(hash_grid(KEY, self.LINES[3:10], counts.astype(np.uint32), 1, arena), 1, arena)
        np.testing.assert_array_equal(some.reshape(7, 200), whole[3, 3:10])

    @pytest.mark.parametrize("step", [1, 4])
    def test_they_have_the_moments_of_a_normal(self, step):
        values = self.drawn(step * np.arange(20_000)).astype(np.float64).ravel()
        scaled = np.sqrt(len(values))
        assert abs(values.mean()) < SIGMAS / scaled
        assert abs(values.var() - 1) < SIGMAS * np.sqrt(2) / scaled
        assert abs(np.mean(values**3)) < SIGMAS * np.sqrt(15) / scaled
        assert abs(np.mean(values**4) - 3) < SIGMAS * np.sqrt(96) / scaled + 0.002  # no tail beyond 4.3 sigma
        assert stats.kstest(values, "norm").statistic < 3 / scaled

    @pytest.mark.parametrize("step", [1, 4])
    def test_lines_turns_halves_and_counts_are_independent(self, step):
        values = self.drawn(step * np.arange(20_000)).astype(np.float64)
        series = values.reshape(-1, values.shape[-1]).T
        assert_uncorrelated(series)
        assert_uncorrelated(np.square(series))
        for lag in (1, 2, 3):
            assert_uncorrelated(np.column_stack([series[:-lag, :20], series[lag:, :20]]))


def test_a_grid_that_keeps_its_hashes_gives_the_variates_of_one_that_does_not():
    lines, arena = np.array([5, 900, 17], np.uint32), Arena(1 << 14)
    grid = NormalGrid(KEY, lines)
    for first, count in ((0, 1), (1, 3), (4090, 10), (2, 5000), (9, 1)):
        counts = (first + np.arange(count)).astype(np.uint32)
        arena.reset()
        expected = half_normal(hash_grid(KEY, lines, counts, 0, arena), 1, arena).reshape(3, count)
        found, bits = np.empty((count, 3), np.float32), np.empty((2, count, 3), np.uint32)
        grid.fill(found, first, *bits, np.empty((count, 3), np.intp))
        np.testing.assert_array_equal(found, expected.T)
