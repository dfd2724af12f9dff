"""Repeated reads: all that was asked for, on schedule, in bounded memory, and stopped when asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from arrays import ScriptedArray
from benches import write_bench

import labctl
from labctl.array import PulseBatch
from labctl.errors import RunError
from labctl.protocols.characterisation import read_noise as module
from labctl.protocols.characterisation.read_noise import ReadNoiseSettings, read_noise
from labctl.recording.layout import CLOCK
from labctl.steps import StopRequested

G = 20e-6


def unchanged(conductance: np.ndarray, batch: PulseBatch) -> np.ndarray:  # noqa: ARG001
    return conductance


def noisy(shown: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return shown * (1 + 0.05 * rng.standard_normal(shown.shape))


def settings(**chosen: Any) -> ReadNoiseSettings:
    return ReadNoiseSettings(form_pristine=False, **chosen)


def test_the_noise_of_the_cells_is_found_as_fast_as_the_board_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A spread of 500 samples is good to 3.2 %, the median of ten to 1.3 %; 6 % is more than four times that."""
    monkeypatch.setattr(module, "_MOST_READINGS", 1000)
    array = ScriptedArray(10, G, unchanged, noisy)
    generator = read_noise.steps(array, settings(samples=500), np.random.default_rng(0))
    assert [next(generator).values["samples"] for _ in range(5)] == [100, 200, 300, 400, 500]
    with pytest.raises(StopIteration) as end:
        next(generator)
    summary = end.value.value
    assert (summary["cells"], summary["samples"], summary["saturated"]) == (10, 500, 0)
    assert summary["relative_noise_median"] == pytest.approx(0.05, rel=0.06)
    assert summary["conductance_median_siemens"] == pytest.approx(G, rel=0.01)


def test_a_stop_ends_it_with_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_READINGS", 1000)
    generator = read_noise.steps(ScriptedArray(10, G, unchanged), settings(samples=500), np.random.default_rng(0))
    next(generator)
    with pytest.raises(StopIteration) as end:
        generator.throw(StopRequested())
    assert end.value.value["samples"] == 100


def test_samples_come_on_an_absolute_schedule(tmp_path: Path) -> None:
    with labctl.load_bench(write_bench(tmp_path)) as bench, bench.array() as array:
        result = labctl.run("read_noise", array, cells=20, samples=200, interval="5 ms")
    with labctl.open_run(result.path) as tree:
        operations = tree["operations"].to_dataset()
        operations = operations.isel(operation=operations["kind"].values != CLOCK)
        phase = tree["steps/phase"].values[operations["step"].values]
        start = operations["start"].values[phase == 2]
        assert set(operations["events"].values[phase == 2]) == {result.summary["cells"]}
    assert len(start) == 200
    late = (start - start[0]) / np.timedelta64(1, "ns") * 1e-9 - 5e-3 * np.arange(200)
    # a time since 1970 in float64 is good to 0.24 us, of which a start has three: no error grows with the samples
    assert np.abs(late).max() < 2e-6


def test_an_interval_shorter_than_a_sample_is_refused(tmp_path: Path) -> None:
    with (
        labctl.load_bench(write_bench(tmp_path)) as bench,
        bench.array() as array,
        pytest.raises(RunError, match=r"a sample of 20 cells takes the board 80 us, longer than the interval of 10 us"),
    ):
        labctl.run("read_noise", array, form_pristine=False, cells=20, interval="10 us")
