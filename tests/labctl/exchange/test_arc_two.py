"""Files of ArC TWO control."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from labctl.errors import MappingError

SERIES = [("current", "<f4"), ("voltage", "<f4"), ("pulse_width", "<f4"), ("read_voltage", "<f4"), ("op_type", "<u4")]
RETENTION = [("read_voltage", "<f4"), ("current", "<f4"), ("tstamp_s", "<u8"), ("tstamp_us", "<u8")]
MAPPING: dict[str, Any] = {"conductance": {"at": "conductance"}}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A 4 x 4 crossbar of which two crosspoints were pulsed and kept, laid out as version 0.2 does."""
    path = tmp_path / "store.h5"
    with h5py.File(path, "w") as file:
        file.attrs.update({"words": 4, "bits": 4, "H5DS_VERSION_MAJOR": 0, "H5DS_VERSION_MINOR": 2})
        for name, value in (("current", 2e-6), ("voltage", 0.2)):
            file.create_dataset(f"crossbar/{name}", (4, 4), "f4")[3, 1] = value
        for word, bit in ((1, 3), (2, 0)):
            point = file.create_group(f"crosspoints/W{word:02d}B{bit:02d}")
            series = point.create_dataset("timeseries", (10,), SERIES, maxshape=(None,))
            series[:3] = np.array(
                [(1e-6, 0.2, 0, 0.2, 1), (2e-6 * word, 1.5, 1e-7, 0.2, 3), (1e-6 * word, -1.2, 1e-7, 0.2, 3)], SERIES
            )
            series.attrs["NROWS"] = 3
            rows = np.zeros(3, RETENTION)
            rows["read_voltage"], rows["current"] = 0.2, word * np.array([4e-6, 3e-6, 2e-6])
            rows["tstamp_s"], rows["tstamp_us"] = 1_700_000_000 + np.array([0, 1, 2]), [900_000, 100_000, 900_000]
            table = point.create_dataset("experiments/RET_1700000000000000000", data=rows, maxshape=(None,))
            table.attrs["NROWS"] = 0
    return path


def test_retention_of_each_crosspoint_has_its_times(imported: Any, store: Path) -> None:
    tables = MAPPING | {"file": {"format": "arc2", "table": "RET"}, "time": {"at": "time"}}
    found = imported(store, measurement="retention", **tables)
    assert found.cell.values.tolist() == [1 * 4 + 3, 2 * 4]
    assert found.time.values == pytest.approx([0, 0.2, 2])
    assert found["conductance"].values[1] == pytest.approx([4e-5, 3e-5, 2e-5])
    assert (found.attrs["rows"], found.attrs["cols"]) == (4, 4)


def test_the_crossbar_is_a_map_by_word_and_bit(imported: Any, store: Path) -> None:
    found = imported(store, measurement="map", **MAPPING, file={"format": "arc2", "table": "crossbar"})
    assert found["conductance"].values[1, 3] == pytest.approx(1e-5)
    assert np.isfinite(found["conductance"].values).sum() == 1


def test_pulses_are_told_apart_by_their_sign(imported: Any, store: Path) -> None:
    found = imported(
        store,
        measurement="pulse-response",
        first_pulse=1,
        file={"format": "arc2", "table": "timeseries"},
        set={"at": "conductance", "where": {"op_type": 3, "voltage": ">0"}},
        reset={"at": "conductance", "where": {"op_type": 3, "voltage": "<0"}},
    )
    assert found["conductance"].values[:, 0, 0, 1] == pytest.approx([1e-5, 2e-5])
    assert found["conductance"].values[:, 0, 1, 1] == pytest.approx([5e-6, 1e-5])


def test_a_table_that_is_not_there_is_refused_with_those_that_are(imported: Any, store: Path) -> None:
    with pytest.raises(MappingError, match=r"no table 'CT'; there are: crossbar, RET, timeseries"):
        imported(store, measurement="map", **MAPPING, file={"format": "arc2", "table": "CT"})
    with h5py.File(store, "a") as file:
        del file["crosspoints"]
    with pytest.raises(MappingError, match="is not a file of ArC TWO control"):
        imported(store, measurement="map", **MAPPING, file={"format": "arc2", "table": "RET"})


_THEIRS = """
import importlib.util, sys
found = importlib.util.find_spec("arc2control")
spec = importlib.util.spec_from_file_location("h5utils", found.submodule_search_locations[0] + "/h5utils.py")
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
store = module.H5DataStore(sys.argv[1], mode=module.H5Mode.WRITE, shape=(8, 8))
for word, bit in ((0, 5), (7, 2)):
    store.update_status(word, bit, 1e-6 * (word + 1), 0.2, 0.0, 0.2)
store.close()
"""


def test_a_file_that_arc_two_control_itself_wrote_is_read(imported: Any, tmp_path: Path) -> None:
    """In a process of its own: it is under the GPL."""
    if find_spec("arc2control") is None:
        pytest.skip("arc2control is not installed")
    path = tmp_path / "theirs.h5"
    subprocess.run([sys.executable, "-c", _THEIRS, str(path)], check=True, timeout=120)
    for table in ("crossbar", "timeseries"):
        found = imported(path, measurement="map", **MAPPING, file={"format": "arc2", "table": table})
        assert found["conductance"].values[0, 5] == pytest.approx(5e-6)
        assert found["conductance"].values[7, 2] == pytest.approx(4e-5)
