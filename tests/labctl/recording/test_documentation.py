"""The examples of `docs/run-file.md` run as they stand."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray

from labctl.array import PulseBatch, Readout
from labctl.recording import Outcome, RunWriter, open_run
from labctl.steps import Step

PAGE = Path(__file__).parents[3] / "docs" / "run-file.md"


def test_the_examples_run(
    start_run: Callable[..., RunWriter],
    exchange: Callable[..., tuple[PulseBatch, Readout]],
    killed_run: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batch, readout = exchange()
    with start_run(checkpoints=True) as writer:
        writer.intend([batch])
        writer.complete([readout])
        writer.record_read(Readout(readout.cells, np.full((2, 5), 4095, np.uint16), readout.scale, 1.7e9, 1e-6))
        twice = replace(readout.scale, step=2 * readout.scale.step)
        writer.record_read(Readout(readout.cells, readout.codes, twice, 1.7e9, 1e-6), 0.1)
        checkpoint = {"weights": np.arange(3.0)}
        writer.step(Step("form", checkpoint=checkpoint), time=1.7e9, generator=np.random.default_rng(1))
        writer.close(Outcome.FINISHED)
    monkeypatch.chdir(killed_run.parent)
    found: dict[str, Any] = {}
    for example in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        exec(example, found)
    with open_run("run.h5") as tree:
        np.testing.assert_allclose(found["conductance"], tree["events/reading"])
        np.testing.assert_array_equal(found["weights"], checkpoint["weights"])
        assert found["saturated"].tolist() == [False] * 5 + [True] * 10 + [False] * 5
        assert (tree["events/status"].values == found["saturated"]).all()
        decoded = tree["events/time"].values.astype("M8[us]").astype(float) / 1e6
        np.testing.assert_allclose(found["time"], decoded, rtol=0, atol=2e-6)
    with xarray.open_datatree("recovered.h5", engine="h5netcdf") as recovered:
        assert recovered.attrs["outcome"] == "killed"
