"""Layers on an array: every edge has two cells of its own, in one column, and dead lines are left out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labctl.errors import SettingsError
from labctl.learning.placement import place, place_either_way

PAPER = [(9, 64), (576, 16), (400, 128), (128, 10)]


def _check(placement, layers, dead_rows=(), dead_cols=()):
    """Whatever the placement, these hold."""
    rows, cols = placement.shape
    for tile in range(placement.tiles):
        cells = placement.cells(tile)
        assert len(np.unique(cells)) == len(cells)  # no cell has two edges at a time
        assert not np.isin(cells // cols, dead_rows).any()
        assert not np.isin(cells % cols, dead_cols).any()
        assert cells.max() < rows * cols
    for layer, shape in enumerate(layers):
        plus, minus = placement.plus[layer], placement.minus[layer]
        assert plus.shape == minus.shape == tuple(shape)
        assert np.array_equal(plus % cols, minus % cols)  # a pair is in one column
        covered = np.zeros(shape, int)
        for block in placement.of_layer(layer):
            covered[block.edges] += 1
            assert np.array_equal(plus[block.edges], np.add.outer(block.plus.astype(int) * cols, block.cols))
            assert np.array_equal(minus[block.edges], np.add.outer(block.minus.astype(int) * cols, block.cols))
        assert (covered == 1).all()


def test_the_published_network_stands_on_one_array():
    placement = place(PAPER, (512, 512))

    _check(placement, PAPER)
    assert placement.tiles == 1
    assert len(placement.cells(0)) == 2 * 62_272
    assert [len(placement.of_layer(layer)) for layer in range(4)] == [1, 3, 2, 1]  # 576 and 400 inputs are cut at 256


def test_what_does_not_fit_takes_turns():
    layers = [(784, 512), (512, 10)]

    placement = place(layers, (512, 512))

    _check(placement, layers)
    assert placement.tiles == 4  # 406,528 pairs of 131,072 at a time
    assert sum(len(placement.cells(tile)) for tile in range(placement.tiles)) == 2 * (784 * 512 + 5120)


def test_blocks_of_stacked_chips_stand_on_one_chip_each():
    layers = [(784, 512), (512, 10)]

    placement = place(layers, (4 * 512, 512), chips=4)

    _check(placement, layers)
    assert placement.tiles == 1
    for block in placement.blocks:
        assert len({*(block.plus // 512), *(block.minus // 512)}) == 1


def test_dead_lines_are_passed_over_and_single_cells_are_not():
    dead = np.zeros((512, 512), bool)
    dead[[3, 200]], dead[:, 7] = True, True
    dead[100, 100:150] = True

    placement = place(PAPER, (512, 512), dead)

    _check(placement, PAPER, [3, 200], [7])
    assert 100 in placement.cells(0) // 512


@settings(deadline=None, max_examples=60)
@given(
    layers=st.lists(st.tuples(st.integers(1, 90), st.integers(1, 70)), min_size=1, max_size=5),
    rows=st.integers(4, 60),
    cols=st.integers(1, 50),
    seed=st.integers(0, 9),
)
def test_every_edge_has_its_cells_whatever_the_sizes(layers, rows, cols, seed):
    rng = np.random.default_rng(seed)
    dead_rows = rng.choice(rows, rng.integers(0, rows - 2), replace=False)
    dead_cols = rng.choice(cols, rng.integers(0, cols), replace=False)
    dead = np.zeros((rows, cols), bool)
    dead[dead_rows], dead[:, dead_cols] = True, True

    placement = place(layers, (rows, cols), dead)

    _check(placement, layers, dead_rows, dead_cols)
    assert placement.layer_map(0).shape == (rows, cols)


def test_an_array_that_is_dead_is_refused():
    with pytest.raises(SettingsError, match="0 of 8 rows"):
        place([(2, 2)], (8, 8), np.ones((8, 8), bool))


def test_lines_are_told_in_ranges():
    (first, *_) = place([(3, 2)], (8, 8)).describe()

    assert first["plus_rows"] == [[0, 3, 2]]
    assert first["minus_rows"] == [[1, 3, 2]]
    assert first["cols"] == [[0, 2, 1]]


def test_inputs_stand_on_columns_where_that_takes_fewer_blocks():
    layers = [(785, 250), (251, 10)]

    placement = place_either_way(layers, (512, 2048))

    assert placement.on_columns
    assert (placement.tiles, len(placement.blocks)) == (1, 2)  # on rows: 785 inputs in 4 blocks of 256 at most, and 251
    cells = placement.cells(0)
    assert len(np.unique(cells)) == 2 * (785 * 250 + 2510)
    for layer, block in enumerate(placement.blocks):
        assert np.array_equal(placement.plus[layer], np.add.outer(block.plus, block.cols.astype(int) * 2048))
        assert np.array_equal(placement.minus[layer], np.add.outer(block.minus, block.cols.astype(int) * 2048))
        assert (placement.layer_map(0)[np.ix_(block.cols, block.plus)] == layer).all()
    described = placement.describe()[1]
    assert described["rows"] == [[250, 10, 1]]
    assert described["plus_cols"] == [[0, 251, 2]]


def test_inputs_stand_on_rows_where_either_way_takes_as_many_blocks():
    placement = place_either_way([(100, 30)], (512, 512))

    assert not placement.on_columns
    _check(placement, [(100, 30)])


def test_dead_lines_are_left_out_whichever_way_the_inputs_stand():
    dead = np.zeros((40, 200), bool)
    dead[3], dead[:, 7] = True, True

    placement = place_either_way([(90, 30)], (40, 200), dead)

    assert placement.on_columns
    assert not dead.ravel()[placement.cells(0)].any()


def test_a_network_that_stands_neither_way_is_refused():
    with pytest.raises(SettingsError, match="no network can stand on this array"):
        place_either_way([(4, 4)], (4, 4), np.ones((4, 4), bool))
