"""Every mapping that the document shows is one, and imports a file of the layout that it describes."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

import labctl
from labctl.analysis.measurements import measurement
from labctl.exchange.importing import import_file
from labctl.exchange.mapping import mapping_from

DOCUMENT = Path(__file__).parents[3] / "docs" / "importing.md"
MAPPINGS = re.findall(r"^```toml\n(.*?)^```", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def _relaxation(folder: Path) -> Path:
    with h5py.File(folder / "a.h5", "w") as file:
        file["relaxation/addr"], file["relaxation/time"] = np.arange(20), np.array([0, 1, 10])
        file["relaxation/conductance"] = np.full((20, 3), 5.0)
    return folder / "a.h5"


def _arrays(**arrays: np.ndarray) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        np.savez(folder / "a.npz", **arrays)
        return folder / "a.npz"

    return write


def _table(text: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / "a.csv").write_text(text)
        return folder / "a.csv"

    return write


def _store(folder: Path) -> Path:
    series = [("current", "f4"), ("voltage", "f4"), ("pulse_width", "f4"), ("read_voltage", "f4"), ("op_type", "u4")]
    kept = [("read_voltage", "f4"), ("current", "f4"), ("tstamp_s", "u8"), ("tstamp_us", "u8")]
    with h5py.File(folder / "a.h5", "w") as file:
        file.attrs.update({"words": 2, "bits": 2})
        file.create_group("crossbar")
        point = file.create_group("crosspoints/W01B00")
        point["timeseries"] = np.array([(1e-6, 1.0, 1e-7, 0.2, 3), (1e-6, -1.0, 1e-7, 0.2, 3)], series)
        point["timeseries"].attrs["NROWS"] = 2
        point["experiments/RET_1"] = np.array([(0.2, 1e-6, 5, 0), (0.2, 1e-6, 6, 0)], kept)
    return folder / "a.h5"


CELLS = np.arange(65536.0)
FILES: list[tuple[Callable[[Path], Path], int]] = [
    (_relaxation, 60),
    (_arrays(addr=np.arange(80000, 80016), before=np.full(16, 20.0), after=np.full(16, 25.0)), 32),
    (_table("row,col,seconds,microsiemens\n1,2,0,5\n1,2,1,6\n3,4,0,7\n"), 3),
    (_table("address;level;G_0s;G_1s;G_1000s\n5;10;9,5;9;8\n7;20;19,5;19;\n"), 5),
    (_arrays(**{f"range{level}": np.full(9, 1e-5) for level in (0, 8, 16, 24, 31)}), 45),
    (_arrays(formed=CELLS + 1e4), 65536),
    (_arrays(fresh=CELLS + 1e6, formed=CELLS + 1e4), 131072),
    (_arrays(set=np.full((3, 5), 1e-3), reset=np.full((2, 4), 1e-3)), 23),
    (_arrays(up=np.linspace(-1, 1, 7), down=np.linspace(1, -1, 6)), 13),
    (_arrays(addr=np.array([3, 3, 5]), current=np.full(3, 1e-6), voltage=np.array([0.1, 0.2, 0.1])), 3),
    (_arrays(current=np.full((2, 9), 1e-6), voltage=np.full((2, 9), 0.3) + np.arange(9) / 10), 4),
    (_table("cell,cycle,state,ohms\n1,1,LRS,5000\n1,1,HRS,90000\n1,2,LRS,5100\n"), 3),
    (_table("cell,target,reached,pulses\n1,10,10.4,5\n2,20,14,200\n"), 2),
    (_store, 2),
    (_store, 2),
]


@pytest.mark.parametrize(("text", "file"), list(zip(MAPPINGS, FILES, strict=True)))
def test_a_mapping_of_the_document_imports_its_file(
    text: str, file: tuple[Callable[[Path], Path], int], tmp_path: Path
) -> None:
    write, readings = file
    mapping = mapping_from(tomllib.loads(text))
    done = import_file(write(tmp_path), mapping, tmp_path / "runs")
    assert done.readings == readings
    with labctl.open_run(done.path) as tree:
        assert measurement(tree).attrs["measurement"] == mapping.measurement
