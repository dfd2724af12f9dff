"""What the characterisation of an associative chip says, beside the parameters that the simulated chip was given."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from associative_benches import write_associative_bench

import labctl
from labctl.analysis.characterisation import Statistic, statistics
from labctl.array import Capability
from labctl.associative import Check, Configure
from labctl.errors import CapabilityError, Interrupted, SettingsError
from labctl.steps import Step

SMALL = {"rows": 4096, "tracks": 8, "domains": 32, "ports": 2}


def measured(
    folder: Path, *kinds: str, settings: dict[str, Any] | None = None, **faults: float
) -> dict[str, Statistic]:
    """Statistics by name, of a fresh small chip that has these faults alone."""
    bench = write_associative_bench(folder, **SMALL, **faults)
    with labctl.load_bench(bench) as live, live.array() as array:
        run = labctl.run("associative_characterisation", array, kinds=kinds, out=folder, **(settings or {}))
    with labctl.open_run(run.path) as tree:
        return {each.name: each for each in statistics(tree)}


def agrees(found: Statistic, truth: float) -> bool:
    """Whether `truth` is within twice the distance to the ends of the 95 % interval: four standard deviations."""
    assert found.low is not None
    assert found.high is not None
    return 2 * found.low - found.value <= truth <= 2 * found.high - found.value


@pytest.mark.parametrize("shift_error", [1e-4, 0.04])
def test_shift_errors_are_those_of_the_chip_with_checks_that_misread(tmp_path: Path, shift_error: float) -> None:
    found = measured(tmp_path, "shift-errors", shift_error=shift_error, transverse_misread=0.01)
    for name in ("shift_over", "shift_under", "shift_over_by[direction=down]", "shift_under_by[track=0]"):
        assert agrees(found[name], shift_error / 2), found[name]
    assert found["shift_over"].n > 0.95 * 8 * 8 * 2 * 8 * 4096  # tracks, trips, ways, stride, rows
    assert found["check_misread"].value > 0


def test_the_margin_of_searches_is_that_of_the_chip_whatever_writes_and_shifts_do(tmp_path: Path) -> None:
    found = measured(tmp_path, "search-margin", sense_noise=0.15, write_error=0.05, shift_error=0.01)
    for name, truth in (("match_mean", 0), ("match_sd", 0.15), ("mismatch_mean", 1), ("mismatch_sd", 0.15)):
        assert agrees(found[name], truth), found[name]
    assert found["best_threshold"].value == pytest.approx(0.5, abs=0.01)
    assert found["margin"].value == pytest.approx(1 / 0.3, rel=0.02)
    assert agrees(found["false_miss[threshold=0.5]"], 4.29e-4)  # of a normal distribution, beyond 0.5 / 0.15
    assert agrees(found["false_match[threshold=0.5]"], 4.29e-4)


def test_a_threshold_sweep_is_refined_where_the_noise_is_small(tmp_path: Path) -> None:
    found = measured(tmp_path, "search-margin", sense_noise=0.01)
    assert agrees(found["match_sd"], 0.01), found["match_sd"]
    assert agrees(found["mismatch_sd"], 0.01), found["mismatch_sd"]


def test_errors_of_writes_and_reads_are_told_apart(tmp_path: Path) -> None:
    found = measured(tmp_path, "write-yield", write_error=2e-4, read_error=5e-4, settings={"seed": 5})
    assert agrees(found["write_error[way=loaded]"], 2e-4), found["write_error[way=loaded]"]
    assert agrees(found["write_error[way=tagged]"], 2e-4), found["write_error[way=tagged]"]
    assert agrees(found["read_error"], 5e-4), found["read_error"]
    assert found["yield"].value > 0.99999  # that no write fails twice of twice is 4e-8 of cells


def test_cells_that_wear_out_meanwhile_are_no_write_errors(tmp_path: Path) -> None:
    found = measured(tmp_path, "write-yield", lifetime=100.0)
    assert 0.9 < found["yield"].value < 0.99
    assert [found[f"write_error[way={way}]"].value for way in ("loaded", "tagged")] == [0, 0]


def test_the_rate_of_flips_is_that_of_the_chip_also_where_many_flip_back(tmp_path: Path) -> None:
    times = {"retention": {"times": ["1 ks", "100 ks", "1 Ms"]}}
    found = measured(tmp_path, "retention", retention_rate=4e-7, settings=times)
    assert agrees(found["flip_rate"], 4e-7), found["flip_rate"]
    assert agrees(found["flip_rate_by[stored=0]"], 4e-7)
    assert found["flipped[time=1 Ms]"].value == pytest.approx(0.275, abs=0.01)  # (1 - exp(-0.8)) / 2, not 0.4


def test_of_a_chip_without_faults_there_are_upper_bounds(tmp_path: Path) -> None:
    found = measured(tmp_path, "shift-errors", "search-margin", "write-yield", "retention")
    for name in ("shift_over", "check_misread", "write_error[way=tagged]", "read_error", "flip_rate"):
        assert (found[name].value, found[name].low) == (0, 0)
        assert 0 < found[name].high < 1e-4
    assert found["yield"].value == 1
    assert "best_threshold" not in found  # where a match line switches is between two thresholds


def test_a_run_that_is_stopped_keeps_what_was_measured_and_leaves_the_board_as_it_is_to_be(tmp_path: Path) -> None:
    def stop(step: Step) -> None:
        if step.phase == "search_margin" and step.progress == (3, 21):
            signal.raise_signal(signal.SIGINT)

    bench = write_associative_bench(tmp_path, **SMALL, shift_error=0.01)
    settings = {"sense_threshold": 0.4, "verify_every": 8, "out": tmp_path}
    with labctl.load_bench(bench) as live, live.array() as array:
        with pytest.raises(Interrupted) as stopped:
            labctl.run("associative_characterisation", array, progress=stop, **settings)
        (offsets,) = array.driver.perform(Check([0, 7]))
        assert not offsets.any()
        asked = array.driver.link.exchange(":SENSe:THReshold?;:POSition:VERify?")
    assert [float(each) for each in asked] == [0.4, 8]
    with labctl.open_run(stopped.value.run_path) as tree:  # type: ignore[attr-defined]
        found = {each.name for each in statistics(tree)}
    assert "shift_over" in found
    assert "match_mean" not in found


def test_strides_that_a_port_does_not_reach_are_refused_before_anything_is_sent(tmp_path: Path) -> None:
    bench = write_associative_bench(tmp_path, **SMALL)
    with labctl.load_bench(bench) as live, live.array() as array:
        before = array.driver.counters()
        with pytest.raises(SettingsError, match=r"shift_errors.stride: must be less than the 16 domains"):
            labctl.run("associative_characterisation", array, shift_errors={"stride": 16}, out=tmp_path)
        assert array.driver.counters() == before


def test_a_memory_array_is_refused(tmp_path: Path) -> None:
    with labctl.load_bench() as live, live.array() as array:
        assert Capability.ASSOCIATE not in array.capabilities
        with pytest.raises(CapabilityError, match="ASSOCIATE"):
            labctl.run("associative_characterisation", array, out=tmp_path)


def test_the_sense_threshold_is_back_after_a_whole_run(tmp_path: Path) -> None:
    bench = write_associative_bench(tmp_path, **SMALL)
    with labctl.load_bench(bench) as live, live.array() as array:
        array.driver.perform(Configure(0.3, 0))
        labctl.run("associative_characterisation", array, kinds=("search-margin",), out=tmp_path)
        assert float(array.driver.link.query(":SENSe:THReshold?")) == 0.5
