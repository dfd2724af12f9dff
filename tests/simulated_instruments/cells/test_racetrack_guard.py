"""Two transverse reads of guard domains tell the displacement of a nanowire modulo their period."""

from __future__ import annotations

import numpy as np

from labctl.simulated_instruments.cells.racetrack_guard import COUNTS, DISPLACEMENTS, measured, misread

EVERYWHERE = np.arange(-8, 9, dtype=np.int8)


def test_every_displacement_has_counts_of_its_own():
    pairs = {tuple(pair) for pair in COUNTS.tolist()}
    assert len(pairs) == 8
    np.testing.assert_array_equal(DISPLACEMENTS[COUNTS[:, 0], COUNTS[:, 1]], np.arange(-4, 4))


def test_displacements_are_told_modulo_the_period():
    np.testing.assert_array_equal(measured(EVERYWHERE), [0, 1, 2, 3, -4, -3, -2, -1, 0, 1, 2, 3, -4, -3, -2, -1, 0])
    np.testing.assert_array_equal(misread(EVERYWHERE, np.zeros((17, 2), np.int8)), measured(EVERYWHERE))


def test_one_misread_of_an_aligned_nanowire_does_no_harm():
    errors = np.array([[1, 0], [-1, 0], [0, 1], [0, -1]], np.int8)
    assert not misread(np.zeros(4, np.int8), errors).any()


def test_one_misread_makes_a_displacement_seem_less_if_anything():
    true = np.arange(-4, 4, dtype=np.int8)
    for error in ([1, 0], [-1, 0], [0, 1], [0, -1]):
        seeming = misread(true, np.tile(np.array(error, np.int8), (8, 1)))
        assert (np.abs(seeming) <= np.abs(true)).all()
        assert (np.abs((seeming - true + 4) % 8 - 4) <= 2).all()
        assert (seeming != true).any()
