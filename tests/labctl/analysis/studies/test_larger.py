from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from big_run import programming, write
from measured_runs import write_map

import labctl
from labctl import analysis
from labctl.errors import UsageError

pytest.importorskip("dask", reason="needs the extra `dask`")

EVENTS = 6_000_000
ROOM = 40_000_000
"""Bytes of memory of its own that the process may take beyond what it has when it begins."""

LIMITED = """
import re, resource, sys
import dask, numpy as np
import dask.array, labctl.recording.tree
from labctl import analysis
dask.config.set(scheduler="synchronous")
with analysis.open_events(sys.argv[1], chunks=500_000) as events:  # once, for what is only imported then
    events["reading"][:1000].mean().compute()
taken = int(re.search(r"VmData:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (taken + int(sys.argv[2]), resource.RLIM_INFINITY))
with analysis.open_events(sys.argv[1], chunks=500_000) as events:
    mean, odd = events["reading"].mean().compute().item(), (events["status"] > 0).sum().compute().item()
    print(events.sizes["event"], mean, odd)
    try:
        print(events["reading"].values.mean())
    except MemoryError:
        print("does not fit")
"""


def test_events_in_chunks_are_those_of_the_run(tmp_path: Path) -> None:
    path = write_map(tmp_path / "map.h5", np.random.default_rng(1).uniform(1e-6, 1e-4, (3, 40, 40)))
    with analysis.open_events(path, chunks=1000) as events, labctl.open_run(path) as tree:
        assert events["reading"].chunks == ((1000,) * 4 + (800,),)
        for name in ("cell", "reading", "time", "operation", "status"):
            np.testing.assert_array_equal(events[name].compute().values, tree["events"][name].values)
        assert events.attrs["chip_serial"] == "MADE-UP-1"


def test_chunks_of_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a row at least"):
        analysis.open_events(tmp_path / "run.h5", chunks=0)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit is Linux's")
def test_a_statistic_of_more_than_the_memory_there_is(tmp_path: Path) -> None:
    path = tmp_path / "big.h5"
    _, events = write(path, programming(EVENTS))
    assert events * 8 > ROOM
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path), str(ROOM)], capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0, done.stderr
    told, fits = done.stdout.splitlines()
    assert fits == "does not fit"
    count, mean, odd = told.split()
    with labctl.open_run(path) as tree:
        reading = tree["events"]["reading"].values
        assert (int(count), int(odd)) == (events, int(np.count_nonzero(tree["events"]["status"].values)))
    assert float(mean) == pytest.approx(reading.mean())
