"""A run as its report needs it: opened once, measured once, its provenance decoded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from labctl.analysis.characterisation import Statistic, statistics_of
from labctl.analysis.measurements import measurement
from labctl.analysis.measurements.recording import Recording
from labctl.errors import RecordingError
from labctl.recording.reader import RunSummary, open_run, read_summary

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True, slots=True)
class Run:
    """One run. measured: what it measured, or None where it is no measurement or ended before; `why` says which.

    settings, bench, snapshot_before, snapshot_after, packages, resumptions: its provenance; empty where the file has
    none.
    """

    path: Path
    tree: xr.DataTree
    summary: RunSummary
    recording: Recording
    measured: xr.Dataset | None
    why: str
    statistics: list[Statistic]
    settings: Mapping[str, Any]
    bench: Mapping[str, Any]
    snapshot_before: Mapping[str, Any]
    snapshot_after: Mapping[str, Any]
    packages: Mapping[str, Any]
    resumptions: list[Mapping[str, Any]]

    @property
    def kind(self) -> str:
        """Which kind of measurement, or nothing."""
        return str(self.summary.attributes.get("measurement", ""))

    def attribute(self, name: str) -> str:
        """Of the file, as text; nothing where it lacks it."""
        return str(self.summary.attributes.get(name, ""))

    def group(self, name: str) -> xr.Dataset:
        return self.tree.children[name].to_dataset()

    def find(self, name: str) -> Statistic | None:
        """The statistic of this name, brackets included."""
        return next((each for each in self.statistics if each.name == name), None)

    def all_of(self, name: str, *inside: str) -> list[Statistic]:
        """Statistics of this name whose brackets hold all these, and of no level where none is named."""
        found = [each for each in self.statistics if each.name.partition("[")[0] == name]
        levelled = any(each.startswith("level=") for each in inside)
        return [
            each
            for each in found
            if all(part in each.name for part in inside) and (levelled or "level=" not in each.name)
        ]

    def map(self, name: str) -> NDArray[Any] | None:
        """(rows, cols) values of a map the run wrote something into, else None."""
        maps = self.group("maps")
        if name not in maps or not wrote(maps[name]):
            return None
        values: NDArray[Any] = maps[name].values
        return values


def wrote(values: xr.DataArray) -> bool:
    """Whether a map holds anything but the filling it began with."""
    flags = flags_of(values)
    if flags:
        unwritten = [code for code, name in flags.items() if name == "not_written"]
        return bool(np.any(~np.isin(values.values, unwritten)))
    if values.dtype.kind == "M":
        return bool(np.any(~np.isnat(values.values)))
    return values.dtype.kind in "fiu" and bool(np.isfinite(values.values).any())


def flags_of(values: xr.DataArray) -> dict[int, str]:
    """Code to name of a column of flags; nothing of any other."""
    if "flag_meanings" not in values.attrs:
        return {}
    codes = np.atleast_1d(values.attrs["flag_values"]).astype(int)
    return dict(zip(codes.tolist(), str(values.attrs["flag_meanings"]).split(), strict=False))


@contextmanager
def opened_run(path: Path) -> Iterator[Run]:
    """The run at `path`, finished or not. Raises RecordingError for what is no run file."""
    summary = read_summary(path)
    with open_run(path) as tree:
        recording = Recording(tree)
        measured, why, found = _measured(tree)
        provenance = tree.children["provenance"]
        nested = {name: _decoded(provenance.attrs.get(name)) for name in _NESTED}
        after = _decoded(provenance.to_dataset()["snapshot_after"].item()) if "snapshot_after" in provenance else {}
        yield Run(
            path=path,
            tree=tree,
            summary=summary,
            recording=recording,
            measured=measured,
            why=why,
            statistics=found,
            snapshot_after=_table(after),
            resumptions=_tables(nested["resumptions"]),
            **{name: _table(nested[name]) for name in _NESTED if name != "resumptions"},
        )


_NESTED = ("settings", "bench", "snapshot_before", "packages", "resumptions")


def _measured(tree: xr.DataTree) -> tuple[xr.Dataset | None, str, list[Statistic]]:
    try:
        measured = measurement(tree)
        return measured, "", statistics_of(measured)
    except RecordingError as problem:
        return None, str(problem), []


def _decoded(text: Any) -> Any:
    """JSON text decoded; nothing where there is none, or what is none."""
    try:
        return msgspec.json.decode(text) if text else {}
    except (msgspec.DecodeError, TypeError):
        return {}


def _table(content: Any) -> Mapping[str, Any]:
    return content if isinstance(content, dict) else {}


def _tables(content: Any) -> list[Mapping[str, Any]]:
    return [each for each in content if isinstance(each, dict)] if isinstance(content, list) else []
