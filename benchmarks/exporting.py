"""How fast runs are exported, in how much memory, and what the usual one-liners take for the same table.

python benchmarks/exporting.py
python benchmarks/exporting.py --events 10000000 --format csv --json

Every figure is of a process of its own. `peak_MB` is of the whole process; `start_MB` of one that has imported and
opened as much, and exported a run of one pass over the array. The one-liners (pandas, xarray) hold the whole table in
memory, so they are compared on a smaller run; `times_as_fast` is against them, on that run. A MATLAB file holds 65
million events at most.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from big_run import programming, write

FORMATS = ("csv", "parquet", "netcdf", "zarr", "matlab")
NEEDS = {"parquet": "pyarrow", "zarr": "zarr"}
FEW = 1000
MOST_MATLAB = 20_000_000

_EXPORT = """
import json, resource, sys, time
from pathlib import Path
import labctl.recording.tree, pandas
from labctl.exchange.tables.exporting import export_tables
path, to, out = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
began = time.perf_counter()
export_tables([path], to, out, what=["events"], overwrite=True)
taken = time.perf_counter() - began
print(json.dumps([taken, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""
_ONE_LINER = """
import json, resource, sys, time
import labctl, labctl.recording.tree, pandas
path, to, out = sys.argv[1:]
began = time.perf_counter()
with labctl.open_run(path) as tree:
    events = tree["events"].to_dataset()
    {work}
taken = time.perf_counter() - began
print(json.dumps([taken, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""
ONE_LINERS = {
    "csv": "events.to_dataframe().to_csv(out, index=False)",
    "parquet": "events.to_dataframe().to_parquet(out, index=False)",
    "netcdf": "events.to_netcdf(out, engine='h5netcdf', encoding={n: {'zlib': True} for n in events})",
    "zarr": "events.drop_encoding().to_zarr(out)",
    "matlab": "from scipy.io import savemat; savemat(out, {'events': {n: events[n].values.astype('i8') "
    "if n == 'time' else events[n].values for n in events}}, do_compression=True)",
}


def timed(code: str, *arguments: object) -> tuple[float, float]:
    """Seconds and peak resident MB, in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)]
    taken, peak = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return taken, peak


def written_bytes(path: Path) -> int:
    return sum(each.stat().st_size for each in path.rglob("*")) if path.is_dir() else path.stat().st_size


def removed(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def figures(to: str, runs: dict[str, Path], counts: dict[str, int], folder: Path) -> dict[str, float]:
    """Of one format. runs: `few` events, as many as the `one_liner` gets, and `all`."""
    found: dict[str, float] = {}
    out = folder / f"out.{to}"
    for name, run in runs.items():
        taken, peak = timed(_EXPORT, run, to, out)
        if name == "few":
            found["start_MB"] = peak
        elif name == "one_liner":
            found["compared_events_per_s"] = counts[name] / taken
        else:
            found |= {"events": counts[name], "events_per_s": counts[name] / taken, "peak_MB": peak}
            found["bytes_per_event"] = written_bytes(out) / counts[name]
        removed(out)
    taken, peak = timed(_ONE_LINER.format(work=ONE_LINERS[to]), runs["one_liner"], to, out)
    found |= {"one_liner_events_per_s": counts["one_liner"] / taken, "one_liner_peak_MB": peak}
    found["times_as_fast"] = found["compared_events_per_s"] / found["one_liner_events_per_s"]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000_000)
    parser.add_argument("--compared", type=int, default=2_000_000, help="events that the one-liners get")
    parser.add_argument("--format", choices=FORMATS, action="append")
    parser.add_argument("--folder", type=Path, help="where there is room; default: that of temporary files")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        sizes = {"few": FEW, "one_liner": options.compared, "all": options.events}
        runs = {kind: folder / f"{kind}.h5" for kind in sizes}
        counts = {kind: write(runs[kind], programming(size))[1] for kind, size in sizes.items()}
        for to in options.format or FORMATS:
            if to in NEEDS and find_spec(NEEDS[to]) is None:
                print(f"{to}: skipped, {NEEDS[to]} is not installed", file=sys.stderr)
                continue
            results[to] = figures(to, *within_limit(to, runs, counts, folder), folder)
    if options.json:
        print(json.dumps(results))
        return 0
    for to, measured in results.items():
        print(to)
        for measure, figure in measured.items():
            print(f"  {measure:24} {figure:14,.4g}")
    return 0


def within_limit(
    to: str, runs: dict[str, Path], counts: dict[str, int], folder: Path
) -> tuple[dict[str, Path], dict[str, int]]:
    """For MATLAB a run that it can hold."""
    if to != "matlab" or counts["all"] <= MOST_MATLAB:
        return runs, counts
    smaller = folder / "smaller.h5"
    return {**runs, "all": smaller}, {**counts, "all": write(smaller, programming(MOST_MATLAB))[1]}


if __name__ == "__main__":
    sys.exit(main())
