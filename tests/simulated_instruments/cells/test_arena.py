"""An arena hands out scratch arrays that do not overlap until they are taken back."""

from __future__ import annotations

import numpy as np
import pytest

from labctl.simulated_instruments.cells.arena import Arena


def test_arrays_do_not_overlap_until_reset():
    arena = Arena(8)
    first, second = arena.float32(8), arena.float32(5)
    assert not np.shares_memory(first, second)
    assert len(second) == 5
    arena.reset()
    assert np.shares_memory(arena.float32(3), first)


def test_a_mark_can_be_gone_back_to_again_and_again():
    arena = Arena(8)
    kept = arena.uint32(8)
    mark = arena.mark()
    first = arena.uint32(8)
    for _ in range(3):
        arena.release(mark)
        again = arena.uint32(8)
        assert np.shares_memory(again, first)
        assert not np.shares_memory(again, kept)


def test_a_range_starts_where_it_is_told():
    np.testing.assert_array_equal(Arena(8).range(40, 3), [40, 41, 42])


def test_more_than_its_size_is_refused():
    with pytest.raises(ValueError, match="9 elements asked of an arena of 8"):
        Arena(8).float32(9)
