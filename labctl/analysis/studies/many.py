"""One run or many: what a study is given, opened one after another, and what it gives put together along `run`."""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import glob
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, TypeAlias, runtime_checkable

import numpy as np
import xarray as xr

from labctl.errors import NoRunError
from labctl.recording.reader import open_run

P = ParamSpec("P")
OF_RUN = ("chip_serial", "started", "path")
"""Coordinates that say which run it was."""

_WILD = frozenset("*?[")


@runtime_checkable
class HasPath(Protocol):
    """Anything that knows its run's file, as an entry of the catalogue does."""

    @property
    def path(self) -> Path: ...


Run: TypeAlias = "xr.DataTree | str | os.PathLike[str] | HasPath"
Runs: TypeAlias = "Run | Iterable[Run]"


def of_runs(study: Callable[Concatenate[xr.DataTree, P], xr.Dataset]) -> Callable[Concatenate[Runs, P], xr.Dataset]:
    """A study of one opened run, as one of whatever `Runs` are: several become one Dataset along `run`."""

    @functools.wraps(study)
    def of_one_or_many(runs: Runs, /, *args: P.args, **kwargs: P.kwargs) -> xr.Dataset:
        chosen = chosen_runs(runs)
        if isinstance(chosen, list):
            return together([_of_one(study, each, *args, **kwargs) for each in chosen])
        return _of_one(study, chosen, *args, **kwargs)

    return of_one_or_many


def chosen_runs(runs: Runs) -> Run | list[Run]:
    """The run that is meant, or the list of them: a pattern as `runs/*.h5` always means a list.

    Raises NoRunError where there is none.
    """
    if isinstance(runs, xr.DataTree | HasPath):
        return runs
    if isinstance(runs, str | os.PathLike):
        name = os.fspath(runs)
        if not _WILD & set(name) or os.path.exists(name):
            return name
        found = sorted(glob.glob(name, recursive=True))
        if not found:
            raise NoRunError(f"no file is called like {name}")
        return list(found)
    chosen: list[Run] = []
    for each in runs:
        one = chosen_runs(each)
        chosen += one if isinstance(one, list) else [one]
    if not chosen:
        raise NoRunError("of no run there is nothing to tell")
    return chosen


def path_of(run: Run) -> Path:
    """Where the run's file is."""
    if isinstance(run, xr.DataTree):
        return Path(run.encoding["source"])
    return Path(run if isinstance(run, str | os.PathLike) else run.path)


@contextlib.contextmanager
def opened(run: Run) -> Iterator[xr.DataTree]:
    """The run as a tree, which is closed again unless it was given open."""
    if isinstance(run, xr.DataTree):
        yield run
        return
    with open_run(path_of(run)) as tree:
        yield tree


def of_run(attributes: Mapping[Any, Any], path: Path) -> dict[str, Any]:
    """The coordinates that say which run it is, from the attributes of its file."""
    moment = dt.datetime.fromisoformat(str(attributes.get("wall_time_start") or attributes["started"]))
    started = moment.astimezone(dt.UTC).replace(tzinfo=None)
    return {
        "chip_serial": str(attributes.get("chip_serial", "")),
        "started": np.datetime64(started, "ns"),
        "path": str(path),
    }


def together(found: Sequence[xr.Dataset]) -> xr.Dataset:
    """Datasets of one run each along `run`; what one of them lacks is NaN."""
    joined = xr.concat(
        [each.drop_vars(OF_RUN, errors="ignore") for each in found],
        "run",
        data_vars="all",
        coords="minimal",
        compat="override",
        join="outer",
        combine_attrs="drop_conflicts",
    )
    places = {name: ("run", [each.coords[name].item() for each in found]) for name in OF_RUN if name != "started"}
    started = np.array([each.coords["started"].values for each in found], "M8[ns]")
    return joined.assign_coords(places | {"started": ("run", started)})


def _of_one(
    study: Callable[Concatenate[xr.DataTree, P], xr.Dataset], run: Run, *args: P.args, **kwargs: P.kwargs
) -> xr.Dataset:
    with opened(run) as tree:
        return study(tree, *args, **kwargs).assign_coords(of_run(tree.attrs, path_of(tree)))
