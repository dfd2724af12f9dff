"""One study of very many runs: in this process, in several, or on a dask.distributed cluster by its address."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeAlias

import numpy as np
import xarray as xr

from labctl.analysis.studies.learning import learning_curve, on_one_grid
from labctl.analysis.studies.many import OF_RUN, Runs, chosen_runs, of_run, opened, path_of, together
from labctl.errors import LabctlError, RecordingError, UsageError

ANSWERS_WITHIN = "10s"
"""How long a scheduler has to answer."""

Study: TypeAlias = "Callable[..., xr.Dataset]"


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What a study gave of one run, or why it gave nothing."""

    place: int
    found: xr.Dataset | None
    reason: str = ""


class _Submits(Protocol):
    def submit(self, function: Callable[..., Any], /, *args: Any) -> Any: ...


def campaign(runs: Runs, study: Study, *, workers: int = 1, scheduler: str | None = None, **options: Any) -> xr.Dataset:
    """`study(path, **options)` of every run, put together along `run`, in the order of the runs.

    study: one of `labctl.analysis`, or any function of a path (or opened run) that gives a Dataset; where other
    processes do the work, one that they can import. workers: processes on this machine; 1: this one. scheduler: address
    of a dask.distributed cluster, as in `tcp://127.0.0.1:8786` (needs the extra `dask`; its workers see the files under
    the same paths, and have labctl installed). Only paths go out, and only what the study found comes back.

    A run that the study cannot do is no reason to stop: it is left out, and named in `failed_path` (failed), with what
    was wrong in `failure` (failed). Raises RecordingError where no run could be done, UsageError for a scheduler that
    does not answer or options that contradict.
    """
    if scheduler is not None and workers != 1:
        raise UsageError("a campaign has `workers` here or a `scheduler` elsewhere, not both")
    if workers < 1:
        raise UsageError(f"a campaign needs a worker at least, not {workers}")
    chosen = chosen_runs(runs)
    paths = [str(path_of(each).absolute()) for each in (chosen if isinstance(chosen, list) else [chosen])]
    if scheduler is not None:
        with _cluster(scheduler) as submit:
            outcomes = list(submit(study, paths, options))
    elif workers > 1 and len(paths) > 1:
        outcomes = list(_in_processes(study, paths, options, workers))
    else:
        outcomes = [_done(place, study, path, options) for place, path in enumerate(paths)]
    return _put_together(sorted(outcomes, key=lambda each: each.place), paths, study)


def _done(place: int, study: Study, path: str, options: dict[str, Any]) -> _Outcome:
    """The study of one run, where a mistake in its file or in the study is one failure, not the campaign's end."""
    try:
        found = study(path, **options)
        if not set(OF_RUN) <= set(found.coords):
            with opened(path) as tree:
                found = found.assign_coords(of_run(tree.attrs, path_of(tree)))
        return _Outcome(place, found.load())
    except LabctlError as problem:
        return _Outcome(place, None, str(problem))
    except Exception as problem:  # noqa: BLE001 - a study is anybody's code, and files are thousands
        return _Outcome(place, None, f"{type(problem).__name__}: {problem}")


def _put_together(outcomes: list[_Outcome], paths: list[str], study: Study) -> xr.Dataset:
    found = [each.found for each in outcomes if each.found is not None]
    failed = [each for each in outcomes if each.found is None]
    if not found:
        raise RecordingError(f"none of {len(paths)} runs could be done; {paths[failed[0].place]}: {failed[0].reason}")
    joined = on_one_grid(found) if study is learning_curve else together(found)
    told = {
        "failed_path": [paths[each.place] for each in failed],
        "failure": [each.reason for each in failed],
    }
    return joined.assign({name: ("failed", np.array(values, "O")) for name, values in told.items()})


def _in_processes(study: Study, paths: list[str], options: dict[str, Any], workers: int) -> Iterator[_Outcome]:
    """Fresh processes, as a fork would share open HDF5 files and locks that are held."""
    with ProcessPoolExecutor(min(workers, len(paths)), multiprocessing.get_context("spawn")) as pool:
        yield from _collected(pool, study, paths, options, as_completed)


@contextmanager
def _cluster(scheduler: str) -> Iterator[Callable[[Study, list[str], dict[str, Any]], Iterator[_Outcome]]]:
    try:
        import distributed
    except ImportError:
        raise UsageError("a campaign on a cluster needs the extra `dask`: pip install 'labctl[dask]'") from None
    try:
        client: Any = distributed.Client(scheduler, timeout=ANSWERS_WITHIN, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as problem:
        raise UsageError(f"no dask scheduler answers at {scheduler}: {problem}") from None
    with client:
        completed = partial(distributed.as_completed, loop=client.loop)
        yield lambda study, paths, options: _collected(client, study, paths, options, completed)


def _collected(
    pool: _Submits,
    study: Study,
    paths: list[str],
    options: dict[str, Any],
    completed: Callable[[Iterable[Any]], Iterable[Future[_Outcome]]],
) -> Iterator[_Outcome]:
    """Outcomes as they come; a worker that died takes its own run with it only."""
    places = {pool.submit(_done, place, study, path, options): place for place, path in enumerate(paths)}
    for future in completed(list(places)):
        problem = future.exception()
        if problem is None:
            yield future.result()
        else:
            yield _Outcome(places[future], None, f"its worker failed: {type(problem).__name__}: {problem}")
