"""Position check and realignment of a simulated chip whose shifts went wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from associative_benches import write_associative_bench

import labctl
from labctl.analysis.characterisation import statistics
from labctl.associative import Action, Configure, Load, Read, Shift
from labctl.errors import SettingsError
from labctl.runner import RunResult

ROWS, TRACKS, DOMAINS, STRIDE = 4096, 8, 32, 12
COLUMNS = np.arange(TRACKS, dtype=np.uint32) * DOMAINS + 5
"""One of every track."""
SURE, UNSURE = Configure(verify_every=1), Configure(verify_every=0)


def astray() -> list[Action]:
    """Every track to and fro, after which nanowires are astray if shifts go wrong."""
    return [Shift(track, steps) for track in range(TRACKS) for steps in (STRIDE, -STRIDE)]


def aligned(
    folder: Path, *, settings: dict[str, Any] | None = None, sure: Configure = SURE, **faults: float
) -> tuple[RunResult, int]:
    """The run, and how many bits of columns written before, read after it, are not what was written."""
    shape = {"rows": ROWS, "tracks": TRACKS, "domains": DOMAINS, "ports": 1}
    planes = np.random.default_rng(3).integers(0, 256, (TRACKS, ROWS // 8), np.uint8)
    with labctl.load_bench(write_associative_bench(folder, **shape, **faults)) as live, live.array() as array:
        array.driver.perform(sure, Load(COLUMNS, planes), UNSURE, *astray())
        run = labctl.run("associative_alignment", array, out=folder, **(settings or {}))
        _, found = array.driver.perform(sure, Read(COLUMNS))
    return run, int(np.bitwise_count(found ^ planes).sum())


@pytest.mark.parametrize("misread", [0.0, 0.02])
def test_nanowires_astray_are_brought_back_with_what_they_hold(tmp_path: Path, misread: float) -> None:
    run, wrong = aligned(tmp_path, shift_error=2e-3, transverse_misread=misread)
    found = run.summary
    expected = ROWS * TRACKS * 2 * STRIDE * 2e-3  # but for those that go wrong twice
    assert found["astray_before"] == pytest.approx(expected, rel=0.15)
    assert found["tracks_astray_before"] == TRACKS
    assert (found["astray_after"], found["tracks_astray_after"]) == (0, 0)
    assert found["counters"]["realignments"] > 0
    assert (found["misreads"] > 0) == (misread > 0)
    assert wrong <= (found["astray_before"] / 100 if misread else 0)  # the board's own verify checks once


def test_the_histogram_says_how_far_they_were(tmp_path: Path) -> None:
    run, _ = aligned(tmp_path, shift_error=2e-2)
    offset, before, after = (run.results[name].values for name in ("offset", "nanowires_before", "nanowires_after"))
    assert before.sum() == after.sum() == ROWS * TRACKS
    by_offset = dict(zip(offset.tolist(), before.sum(axis=0).tolist(), strict=True))
    assert by_offset[0] > by_offset[1] > by_offset[2] > by_offset[3]
    assert by_offset[1] == pytest.approx(by_offset[-1], rel=0.1)
    assert after[:, offset != 0].sum() == 0
    with labctl.open_run(run.path) as tree:
        found = {each.name: each for each in statistics(tree)}
    assert found["astray_before"].value == run.summary["astray_before"] / (ROWS * TRACKS)
    assert found["tracks_astray_after"].value == 0


def test_of_a_chip_whose_shifts_do_not_fail_nothing_is_moved_for_misreads(tmp_path: Path) -> None:
    run, wrong = aligned(tmp_path, sure=UNSURE, transverse_misread=1e-2)
    assert run.summary["misreads"] > 0
    assert (run.summary["counters"]["realignments"], wrong) == (0, 0)


def test_without_a_try_it_only_says_where_they_are(tmp_path: Path) -> None:
    run, _ = aligned(tmp_path, shift_error=2e-3, settings={"tries": 0, "tracks": [2, 3]})
    assert run.summary["tracks"] == 3
    assert run.summary["astray_after"] == run.summary["astray_before"] > 0
    assert run.summary["counters"]["realignments"] == 0
    assert run.results["track"].values.tolist() == [2, 3, 4]


def test_tracks_that_the_chip_does_not_have_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"tracks: first 6 and count 3 are not within the chip's 8 tracks"):
        aligned(tmp_path, settings={"tracks": [6, 3]})
