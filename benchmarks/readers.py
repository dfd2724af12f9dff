"""Whether other programs read a run file and what is exported of it, and find the same numbers.

python benchmarks/readers.py
python benchmarks/readers.py --run runs/RUN.h5 --json
python benchmarks/readers.py --python nexus/bin/python        # one that has silx and nexusformat

Makes a run on the embedded board where none is named. Each reader gets the file alone, and is asked for the sum of the
readings and for the unit it finds; `labctl.open_run` says what they should be. Readers that are not installed are named
and skipped.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import labctl
from labctl.exchange.tables.exporting import FORMATS, export_tables

_PYTHON = {
    "h5py": ("run", "import h5py, numpy\nwith h5py.File(path) as f:\n r = f['events/reading']\n c = r[:]\n"
     " v = c * r.attrs['scale_factor'] + r.attrs['add_offset']\n v[c == r.attrs['_FillValue']] = numpy.nan\n"
     " k = f['operations/reading_factor'][:].repeat(f['operations/events'][:])\n"
     " total, unit = numpy.nansum(v * k), r.attrs['units']"),
    "xarray": ("run", "import xarray\nwith xarray.open_dataset(path, group='events', engine='h5netcdf') as d:\n"
     " total, unit = float(d['reading'].sum()), d['reading'].attrs['units']"),
    "xarray, swmr": ("run", "import xarray\nwith xarray.open_dataset(path, group='events', engine='h5netcdf', "
     "driver_kwds={'swmr': True}) as d:\n total, unit = float(d['reading'].sum()), d['reading'].attrs['units']"),
    "xarray tree": ("run", "import xarray\nwith xarray.open_datatree(path, engine='h5netcdf') as d:\n"
     " total, unit = float(d['events/reading'].sum()), d['events/reading'].attrs['units']"),
    "netCDF4": ("netcdf", "import netCDF4\nwith netCDF4.Dataset(path) as d:\n r = d['events/reading']\n"
     " total, unit = float(numpy.nansum(numpy.ma.filled(r[:], numpy.nan))), r.units"),
    "xarray, netcdf": ("netcdf", "import xarray\nwith xarray.open_datatree(path, engine='h5netcdf') as d:\n"
     " total, unit = float(d['events/reading'].sum()), d['events/reading'].attrs['units']"),
    "xarray, zarr": ("zarr", "import xarray, zarr\nwith xarray.open_datatree(path, engine='zarr') as d:\n"
     " total, unit = float(d['events/reading'].sum()), d['events/reading'].attrs['units']"),
    "zarr": ("zarr", "import zarr\nr = zarr.open_group(path, mode='r')['events/reading']\n"
     "total, unit = numpy.nansum(r[:]), r.attrs['units']"),
    "pandas, csv": ("csv", "import pandas\nd = pandas.read_csv(path + '/events.csv')\n"
     "(name,) = [c for c in d if c.startswith('reading (')]\ntotal, unit = d[name].sum(), name[9:-1]"),
    "pandas, parquet": ("parquet", "import pandas\nd = pandas.read_parquet(path + '/events.parquet')\n"
     "total, unit = d['reading'].sum(), d.attrs['units']['reading']"),
    "pyarrow": ("parquet", "import pyarrow.parquet as p, pyarrow.compute as c\n"
     "t = p.read_table(path + '/events.parquet')\n"
     "total, unit = c.sum(t['reading']).as_py(), t.field('reading').metadata[b'units'].decode()"),
    "duckdb": ("parquet", "import duckdb\nq = duckdb.sql(f\"select sum(reading) from '{path}/events.parquet'\")\n"
     "total, unit = q.fetchone()[0], 'S'"),
    "scipy.io.loadmat": ("matlab", "from scipy.io import loadmat\nd = loadmat(path, simplify_cells=True)\n"
     "total, unit = numpy.nansum(d['events']['reading']), d['columns']['events']['reading']['unit']"),
}  # fmt: skip
"""Reader: what it reads, and code that sets `total` (S) and `unit` from `path`."""

_PLOTS = {
    "silx": "import silx.io\nfrom silx.io.nxdata import get_default\nwith silx.io.open(path) as f:\n"
    " d = get_default(f)\n"
    " title, axes, total = d.title, d.axes_dataset_names, float(numpy.nansum(d.signal[()].astype(float)))",
    "nexusformat": "from nexusformat.nexus import nxload\nd = nxload(path).get_default()\ntitle = d.attrs['title']\n"
    "axes, total = [a.nxname for a in d.nxaxes], float(numpy.nansum(d.nxsignal.nxdata.astype(float)))",
}
"""NeXus viewers: code that sets `title`, `axes` and `total` of the default plot."""

_TOOLS = {"ncdump": ["ncdump", "-h"], "h5dump": ["h5dump", "-H"]}
_TOTAL = "import json, sys, numpy\npath = sys.argv[1]\n{code}\nprint(json.dumps([float(total), unit]))"
_PLOT = "import json, sys, numpy\npath = sys.argv[1]\n{code}\nprint(json.dumps([float(total), title, list(axes)]))"


@dataclass(frozen=True, slots=True)
class Reading:
    """What one reader made of one file. ok: None where it is not installed."""

    reader: str
    file: str
    ok: bool | None
    seconds: float
    said: str


def asked(name: str, file: str, command: list[str], right: Callable[[str], str]) -> Reading:
    """right: what is wrong with the answer, "" where nothing is."""
    began = time.perf_counter()
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return Reading(name, file, None, 0.0, "not installed")
    taken = time.perf_counter() - began
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [""])[-1]
        return Reading(name, file, None if "ModuleNotFoundError" in last else False, taken, last)
    wrong = right(done.stdout)
    return Reading(name, file, not wrong, taken, wrong or "the same")


def same(total: float, expected: list[object]) -> Callable[[str], str]:
    def wrong(text: str) -> str:
        found, *rest = json.loads(text.splitlines()[-1])
        is_same = math.isclose(found, total, rel_tol=1e-9, abs_tol=1e-12) and rest == expected
        return "" if is_same else f"{found:g} and {rest}, not {total:g} and {expected}"

    return wrong


def make_run(folder: Path) -> Path:
    with labctl.load_bench() as bench, bench.array() as array:
        result = labctl.run("read_noise", array, cells=64, samples=256, out=folder)
    return Path(result.path)


def readings(run: Path, folder: Path, python: str) -> list[Reading]:
    with labctl.open_run(run) as tree:
        total, maps = float(tree["events/reading"].sum()), tree["maps"]
        plot = [tree.attrs["title"], ["row", "col"]]
        shown = float(maps[maps.attrs["signal"]].astype(float).sum())
    files = {"run": run}
    for to in FORMATS:
        try:
            paths = export_tables([run], to, folder / f"export_{to}").paths
        except labctl.errors.ExportError as problem:
            print(f"{to}: skipped, {problem}", file=sys.stderr)
            continue
        files[to] = paths[0].parent if len(paths) > 1 else paths[0]
    found = []
    for name, (file, code) in _PYTHON.items():
        if file in files:
            command = [sys.executable, "-c", _TOTAL.format(code=code), str(files[file])]
            found.append(asked(name, file, command, same(total, ["S"])))
    for name, code in _PLOTS.items():
        command = [python, "-c", _PLOT.format(code=code), str(run)]
        found.append(asked(name, "run", command, same(shown, plot)))
    for tool, command in _TOOLS.items():
        for file in ("run", "netcdf"):
            found.append(
                asked(tool, file, [*command, str(files[file])], lambda text: "" if "reading" in text else text)
            )
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="a finished run with readings at one voltage")
    parser.add_argument("--python", default=sys.executable, help="a Python that has silx and nexusformat")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = shutil.copy(options.run, folder) if options.run else make_run(folder)
        found = readings(Path(run), folder, options.python)
    if options.json:
        print(json.dumps([asdict(each) for each in found]))
    else:
        for each in found:
            state = {True: "ok", False: "WRONG", None: "skipped"}[each.ok]
            print(f"{each.reader:18} {each.file:8} {state:8} {each.seconds:5.2f} s  {each.said}")
    return 1 if any(each.ok is False for each in found) else 0


if __name__ == "__main__":
    sys.exit(main())
