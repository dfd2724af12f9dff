"""Viewers that follow the NeXus rules find what to plot in a run file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import pytest
from whole_runs import write_whole_run

from labctl.recording import Outcome, RunWriter


def default_plot(file: h5py.File) -> h5py.Group:
    """By the rule of 2018: `default` of a group names one in it, and so on, until that is an NXdata."""
    assert file.attrs["NX_class"] == "NXroot"
    group = file
    while group.attrs["NX_class"] != "NXdata":
        group = group[group.attrs["default"]]
    return group


def check_plot(data: h5py.Group) -> h5py.Dataset:
    """NXdata: the signal is a field of it, and each of its dimensions has an axis, a field of that length, or `.`."""
    signal = data[data.attrs["signal"]]
    axes = list(data.attrs["axes"])
    assert len(axes) == signal.ndim
    for length, name in zip(signal.shape, axes, strict=True):
        assert name == "." or data[name].shape == (length,)
    return signal


def test_a_viewer_opens_on_the_first_map_with_rows_and_columns(tmp_path: Path) -> None:
    with h5py.File(write_whole_run(tmp_path / "run.h5")) as file:
        data = default_plot(file)
        signal = check_plot(data)
        assert signal.name == "/maps/target"
        assert (data.attrs["axes"] == ["row", "col"]).all()
        assert data.attrs["title"] == "Program, verify"
        assert signal.attrs["units"] == "S"
        classes = {name: group.attrs["NX_class"] for name, group in file.items()}
    assert [name for name, kind in classes.items() if kind == "NXdata"] == ["maps"]
    assert set(classes.values()) == {"NXdata", "NXcollection"}


@pytest.mark.parametrize("reads", [0, 2])
def test_without_maps_it_opens_on_the_readings(
    start_run: Callable[..., RunWriter], exchange: Callable[..., tuple], reads: int
) -> None:
    with start_run(variables=()) as writer:
        for _ in range(reads):
            writer.record_read(exchange()[1])
        writer.close(Outcome.FINISHED)
    with h5py.File(writer.path) as file:
        data = default_plot(file)
        assert check_plot(data).name == "/events/reading"
        assert data.attrs["title"] == "Program and verify"
