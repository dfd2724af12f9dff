"""Line resistance as it is computed for whole arrays, held against the exact solution of the network."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.linalg import splu

from labctl.simulated_instruments.chips.lines import Lines, divided

EXACT = 2e-5  # relative: float32 through some dozens of operations


class Network:
    """Every piece of line, switch and cell as a conductor between nodes: bit line nodes first, then source line nodes.

    Bit lines are driven, and source lines held at ground, through their switches; `floating` source lines are open.
    """

    def __init__(self, conductance, lines, floating=()):
        self.conductance, (self.rows, self.cols) = conductance, conductance.shape
        cells = conductance.size
        at = np.arange(cells).reshape(conductance.shape)
        ends, others, values = [at.ravel()], [at.ravel() + cells], [conductance.ravel()]
        for one, two, ohms in ((at[:, 1:], at[:, :-1], lines.bit), (at[1:] + cells, at[:-1] + cells, lines.source)):
            ends.append(one.ravel())
            others.append(two.ravel())
            values.append(np.full(one.size, 1 / ohms))
        one, two, value = (np.concatenate(each) for each in (ends, others, values))
        self.driven, self.sensed = at[:, 0], at[0] + cells
        self.drive = np.full(self.rows, 1 / (lines.switch + lines.bit))
        self.sense = np.full(self.cols, 1 / (lines.switch + lines.source))
        self.sense[list(floating)] = 0.0
        diagonal = np.bincount(np.concatenate([one, two]), np.concatenate([value, value]), 2 * cells)
        diagonal[self.driven] += self.drive
        diagonal[self.sensed] += self.sense
        matrix = sparse.coo_matrix((value, (one, two)), (2 * cells, 2 * cells))
        self.solver = splu((sparse.diags(diagonal) - matrix - matrix.T).tocsc())

    def voltages(self, rows, cols):
        """Of all nodes, for voltages behind the switches of the rows (rows, n) and of the columns (cols, n)."""
        currents = np.zeros((2 * self.conductance.size, rows.shape[1]))
        currents[self.driven] = rows * self.drive[:, None]
        currents[self.sensed] = cols * self.sense[:, None]
        return self.solver.solve(currents)

    def currents(self, rows):
        """Out of the columns, (cols, n)."""
        return self.voltages(rows, np.zeros((self.cols, rows.shape[1])))[self.sensed] * self.sense[:, None]

    def across(self, rows, cols):
        """Voltage across each cell, (cells, n)."""
        bit, source = np.split(self.voltages(rows, cols), 2)
        return bit - source

    def matrix(self):
        """A at a column for a volt on a row, (rows, cols)."""
        return self.currents(np.eye(self.rows)).T


def array(kind, shape):
    random = np.random.default_rng(3)
    conductance = random.lognormal(np.log(12e-6), 0.15, shape)
    if kind == "pruned":
        return np.where(random.random(shape) < 0.5, conductance, 4e-7)
    if kind == "uniform":
        return random.uniform(0.4e-6, 40e-6, shape)
    if kind == "halves":
        conductance[:, shape[1] // 2 :] /= 30
    return conductance


def effective(conductance, lines, variance=None):
    shown = conductance.astype(np.float32)
    variance = np.zeros_like(shown) if variance is None else variance.astype(np.float32)
    lines.effective(shown, variance, np.empty((3, shown.size), np.float32))
    return shown.astype(np.float64), variance.astype(np.float64)


def as_large_as(cells, shape, scale=1.0):
    """Lines that take of an array of `shape` what those of the test macro take of cells x cells."""
    pieces = [scale * 0.15 * (cells / length) ** 2 for length in shape[::-1]]
    return Lines(*pieces, switch=scale * 5.0 * cells / max(shape))


@pytest.mark.parametrize("lines", [Lines(0.15, 0.15, 5.0), Lines(3.0, 1.0, 100.0), Lines(40.0, 10.0, 1e3)])
@pytest.mark.parametrize("cell", [(0, 0), (3, 7), (11, 15)])
def test_a_cell_alone_is_in_series_with_its_lines(lines, cell):
    """The selected row's transistors are on, all other rows' off, and the other columns float."""
    row, col = cell
    conductance = np.full((12, 16), 1e-18)  # S of a cell whose transistor is off
    conductance[row] = array("uniform", (1, 16))
    network = Network(conductance, lines, floating=[each for each in range(16) if each != col])
    exact = network.currents(np.eye(12)[:, [row]])[col, 0]
    seen, alone = conductance.astype(np.float32).ravel(), row * 16 + col
    divided(seen, seen.copy(), lines.series(12, 16), np.empty_like(seen))
    assert seen[alone] == pytest.approx(exact, rel=EXACT)
    assert exact < conductance[cell]


@pytest.mark.parametrize("shape", [(4, 4), (12, 16), (32, 32), (32, 8)])
@pytest.mark.parametrize("cells", [128, 512, 1024])
@pytest.mark.parametrize("kind", ["formed", "pruned", "uniform"])
def test_the_matrix_of_an_array_is_off_by_little_of_what_the_lines_take(shape, cells, kind):
    """Neglected are round trips of the third order in the drop, and in those of the second that a line's cells are not
    the mean ones. Relative to the drop d the former go as d**2, the latter as d times the scatter of a line's mean;
    their factors, 0.12 and 0.15, are what the worst of these arrays needs, rounded up."""
    conductance, lines = array(kind, shape), as_large_as(cells, shape)
    exact = Network(conductance, lines).matrix()
    drop, error = conductance - exact, effective(conductance, lines)[0] - exact
    taken = drop.sum() / conductance.sum()
    scatter = conductance.std() / conductance.mean() / np.sqrt(min(shape))
    allowed = 0.12 * taken**2 + 0.15 * scatter * taken + EXACT / taken
    assert np.sqrt(np.mean(error**2) / np.mean(drop**2)) < allowed
    assert allowed < 0.11


def test_an_array_in_two_unlike_halves_is_where_it_breaks():
    conductance, lines = array("halves", (32, 32)), as_large_as(512, (32, 32))
    exact = Network(conductance, lines).matrix()
    drop, error = conductance - exact, effective(conductance, lines)[0] - exact
    off = np.sqrt(np.mean(error**2) / np.mean(drop**2))
    assert 0.01 < off < 0.03


@pytest.mark.parametrize("lines", [Lines(60.0, 1e-9, 0.0), Lines(1e-9, 60.0, 0.0)])
def test_it_is_exact_where_one_kind_of_line_resists(lines):
    conductance = array("uniform", (24, 20))
    exact = Network(conductance, lines).matrix()
    np.testing.assert_allclose(effective(conductance, lines)[0], exact, rtol=EXACT)
    assert np.mean(exact / conductance) < 0.9


def test_lines_that_conduct_take_nothing():
    conductance = array("uniform", (5, 7))
    lines = Lines(0.0, 0.0, 0.0)
    assert not lines
    np.testing.assert_array_equal(effective(conductance, lines)[0], conductance.astype(np.float32))


def test_switches_alone_take_their_part():
    conductance, switch = array("uniform", (20, 1)), 2e3
    beyond = Network(conductance, Lines(1e-9, 1e-9, switch)).matrix()
    np.testing.assert_allclose(effective(conductance, Lines(0.0, 0.0, switch))[0], beyond, rtol=0.05)


def test_the_other_way_round_the_matrix_is_the_same():
    conductance, lines = array("uniform", (9, 14)), as_large_as(512, (9, 14))
    turned = Lines(bit=lines.source, source=lines.bit, switch=lines.switch)
    np.testing.assert_allclose(effective(conductance, lines)[0].T, effective(conductance.T, turned)[0], rtol=EXACT)


@pytest.mark.parametrize("cells", [128, 512])
def test_noise_of_the_cells_comes_out_about_as_it_would(cells):
    """Exactly: a cell's part in a current's variance is var(G) times the square of the voltage across it times that
    across it when only this column is driven (Tellegen). (a b)**2 leaves out that columns rise with all rows and
    leave less to the cell: with all rows driven alike that is about half the drop, and never too little noise."""
    shape = (20, 16)
    conductance, lines = array("formed", shape), as_large_as(cells, shape)
    network, variance = Network(conductance, lines), (0.02 * conductance) ** 2
    rows = np.random.default_rng(4).uniform(0, 0.2, (20, 1))
    across = network.across(rows, np.zeros((16, 1)))
    ways_out = network.across(np.zeros((20, 16)), np.eye(16))
    exact = (variance.reshape(-1, 1) * across**2 * ways_out**2).sum(axis=0)
    shown = (rows**2).T @ effective(conductance, lines, variance)[1]
    drop = 1 - network.matrix().sum() / conductance.sum()
    excess = np.sqrt(shown[0] / exact) - 1
    assert np.all(excess > 0)
    assert np.all(excess < 0.6 * drop)
