"""The cells of a network: read as they are, switched where their state changes, given up where they do not follow."""

import numpy as np
import pytest

import labctl
from labctl.array import Operation, PulseBatch
from labctl.learning.placement import place
from labctl.protocols.pruning.cells import NetworkCells
from labctl.protocols.pruning.settings import PruningSettings

LAYERS = [(20, 12), (12, 6)]


@pytest.fixture(scope="module")
def formed():
    """An array half of whose cells have formed, and which those are; tests leave all of them kept."""
    with labctl.load_bench() as bench, bench.array() as array:
        cells = np.arange(array.geometry.cells, dtype=np.uint32)
        amplitude = np.full(len(cells), array.dac.codes(3.433), np.uint16)
        (found,) = array.driver.pulse_and_verify(PulseBatch(Operation.FORM, cells, amplitude, 1e-6, 1.2))
        yield array.driver, found.conductance[0] > 2e-6


def _cells(formed, **settings):
    array, conducts = formed
    placement = place(LAYERS, (array.geometry.rows, array.geometry.cols))
    cells = NetworkCells(array, placement, PruningSettings(replayed_reads=4, **settings), conducts)
    cells.read_all()
    cells.note_larger()
    return cells


def _masks(seed):
    rng = np.random.default_rng(seed)
    return [rng.random(shape) < 0.5 for shape in LAYERS]


ALL = [np.ones(shape, bool) for shape in LAYERS]


def test_pruned_edges_lose_their_conductance_and_reinstated_ones_have_it_again(formed):
    cells = _cells(formed)
    masks = _masks(0)

    done = cells.show(masks, 0)

    assert done.failed <= 2
    for layer, mask in enumerate(masks):
        pair = np.stack([cells.placement.plus[layer], cells.placement.minus[layer]])
        conducts = cells.formed[pair] & ~cells.fixed[pair]
        now = cells.now.mean(axis=0)[pair]
        assert np.median(now[:, ~mask][conducts[:, ~mask]]) < 1.5e-6
        assert np.median(now[:, mask][conducts[:, mask]]) > 9e-6
    count = sum(int(np.count_nonzero(cells.formed[[p[~m], q[~m]]])) for p, q, m in _pairs(cells, masks))
    assert done.pruned == count

    back = cells.show(ALL, 0)

    assert back.reinstated == count - done.failed
    assert np.median(cells.now.mean(axis=0)[cells.placement.cells(0)][cells.formed[cells.placement.cells(0)]]) > 9e-6


def test_nothing_is_pulsed_where_nothing_changes(formed):
    cells = _cells(formed)
    cells.show(_masks(1), 0)

    again = cells.show(_masks(1), 0)

    assert (again.pruned, again.reinstated, again.pulses) == (0, 0, 0)
    cells.show(ALL, 0)


def test_resetting_one_cell_of_a_pair_leaves_the_other_as_it_is(formed):
    cells = _cells(formed, policy="one")
    masks = _masks(2)
    before = cells.now.mean(axis=0)

    done = cells.show(masks, 0)

    pairs = list(zip(cells.placement.plus, cells.placement.minus, strict=True))
    smaller = [np.where(cells.is_larger[plus], minus, plus) for plus, minus in pairs]
    for layer, mask in enumerate(masks):
        untouched = smaller[layer][~mask]
        assert not cells.is_off[untouched].any()
        assert np.allclose(cells.now.mean(axis=0)[untouched], before[untouched])
    one_formed = sum(
        int(np.count_nonzero(cells.formed[[p[~m], q[~m]]].any(axis=0))) for p, q, m in _pairs(cells, masks)
    )
    assert done.pruned == one_formed
    cells.show(ALL, 0)


def test_the_weights_of_a_pruned_edge_are_its_residue_as_measured(formed):
    cells = _cells(formed)
    masks = _masks(3)
    cells.show(masks, 0)

    for layer, mask in enumerate(masks):
        plus, minus = cells.placement.plus[layer], cells.placement.minus[layer]
        measured = cells.now.mean(axis=0)[plus] - cells.now.mean(axis=0)[minus]
        mean = np.mean(
            [np.where(mask, cells.kept(layer, read), cells.pruned(layer, read)) for read in range(4)], axis=0
        )
        assert np.allclose(mean, measured, atol=2e-9)
        assert np.any(measured[~mask] != 0)  # a pruned edge is not zero
    cells.show(ALL, 0)


def test_readings_differ_from_one_to_the_next_by_the_cells_noise(formed):
    cells = _cells(formed)
    some = cells.placement.cells(0)[cells.formed[cells.placement.cells(0)]]

    spread = cells.on[:, some].std(axis=0, ddof=1) / cells.on[:, some].mean(axis=0)

    assert 0.001 < np.median(spread) < 0.05


def test_going_on_finds_what_was_switched_since(formed):
    cells = _cells(formed)
    cells.show(_masks(4), 0)
    state = {name: values.copy() for name, values in cells.state().items()}
    cells.show(_masks(5), 0)
    other = NetworkCells(cells.array, cells.placement, cells.settings, cells.formed)

    changed = other.restore(state)

    assert 0.2 < changed < 0.8
    assert other.switches.sum() > state["switches"].sum()
    mine = cells.placement.cells(0)[~cells.fixed[cells.placement.cells(0)]]
    now, before, found = cells.is_off[mine], state["is_off"][mine], other.is_off[mine]
    reads = other.now.mean(axis=0)[mine]
    clear = (reads < 1e-6) | (reads > 9e-6)  # others may have relaxed: nobody can tell what they were switched to
    assert np.count_nonzero(clear) > 0.5 * len(mine)
    assert np.mean(found[clear] == (reads[clear] < 1e-6)) > 0.99
    assert np.mean(found[clear] == now[clear]) > 0.99
    assert np.count_nonzero(now != before) > 50
    cells.show(ALL, 0)


def _pairs(cells, masks):
    return zip(cells.placement.plus, cells.placement.minus, masks, strict=True)
