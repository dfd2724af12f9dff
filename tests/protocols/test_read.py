"""Reading an array or a part of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from benches import write_bench

import labctl


def test_a_region_is_read_and_nothing_else(tmp_path: Path) -> None:
    with labctl.load_bench(write_bench(tmp_path)) as bench, bench.array() as array:
        result = labctl.run("read", array, rows=[4, 3], cols=[30, 2], repeats=5)
    inside = np.zeros((32, 32), bool)
    inside[4:7, 30:32] = True
    assert result.summary["cells"] == 6
    with labctl.open_run(result.path) as tree:
        assert tree["events"].sizes["event"] == 30
        assert np.array_equal(np.unique(tree["events/cell"]), np.flatnonzero(inside))
        for name in ("conductance", "conductance_spread", "saturated_reads"):
            assert np.array_equal(np.isfinite(tree["maps"][name].values), inside), name
        readings = tree["events/reading"].values.reshape(5, 6)
        maps = tree["maps"]
        np.testing.assert_allclose(maps["conductance"].values[inside], readings.mean(axis=0), rtol=1e-5, atol=1e-12)
        spread = readings.std(axis=0, ddof=1)
        np.testing.assert_allclose(maps["conductance_spread"].values[inside], spread, rtol=1e-3, atol=1e-12)
