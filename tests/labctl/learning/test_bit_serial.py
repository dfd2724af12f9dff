"""Columns of bit-serial products are calibrated by straight lines, and a board may have to be given plane by plane."""

import numpy as np

from labctl.array import Capability, Geometry, Window
from labctl.learning.bit_serial import bit_products, calibrated


def test_gain_and_offset_of_each_column_are_found():
    rng = np.random.default_rng(1)
    expected = rng.normal(0, 1e-5, (400, 3)).astype(np.float32)
    gain, offset = np.array([0.8, 1.0, 1.1]), np.array([1e-6, 0, -2e-6])
    currents = (gain * expected + offset + rng.normal(0, 1e-7, (400, 3))).astype(np.float32)

    found = calibrated(currents, expected)

    assert np.allclose(found[0], gain, atol=0.003)
    assert np.allclose(found[1], offset, atol=3e-8)


def test_a_column_that_never_varies_keeps_its_gain():
    gain, offset = calibrated(np.full((50, 1), 3e-6, np.float32), np.full((50, 1), 1e-6, np.float32))

    assert gain.tolist() == [1]
    assert np.allclose(offset, 2e-6)


class OnlyMultiplies:
    """A board without bit-serial products: exact, and it notes what it was given."""

    capabilities = Capability.MULTIPLY

    def __init__(self, conductance):
        self.conductance = conductance
        self.geometry = Geometry(*conductance.shape, "1T1R RRAM")
        self.volts = []

    def multiply(self, volts):
        self.volts.append(volts.copy())
        return volts @ self.conductance


def test_a_board_that_only_multiplies_is_given_each_plane():
    rng = np.random.default_rng(2)
    board = OnlyMultiplies(rng.uniform(1e-6, 2e-5, (10, 6)).astype(np.float32))
    window = Window(np.array([0, 4, 7], np.uint16), np.array([1, 5, 9], np.uint16), np.array([5, 2], np.uint16))
    codes = rng.integers(0, 16, (7, 3)).astype(np.uint8)

    currents, saturated = bit_products(board, codes, window, 4, 0.25, 1e-4)

    weights = (board.conductance[window.plus] - board.conductance[window.minus])[:, window.cols]
    assert np.allclose(currents, 0.25 * codes.astype(np.float32) @ weights, rtol=1e-4, atol=1e-9)
    assert saturated == 0
    assert len(board.volts) == 4
    assert not any(volts[:, [2, 3, 6, 8]].any() for volts in board.volts)
