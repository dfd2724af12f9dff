"""Files that are there whole or not at all: written beside their name as `.part`, and renamed once all are written."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from labctl.errors import ExportError


@contextlib.contextmanager
def writing(paths: Sequence[Path], *, overwrite: bool) -> Iterator[list[Path]]:
    """Yields where to write what shall become `paths`, files or folders, in the same order.

    Raises ExportError where one exists and not `overwrite`, or the system refuses. A folder is only ever replaced by a
    folder that was made the same way.
    """
    if not overwrite:
        refuse_existing(paths)
    for path in paths:
        if not path.parent.is_dir():
            raise ExportError(f"{path}: there is no folder {path.parent}")
    parts = [path.with_name(f"{path.name}.part") for path in paths]
    try:
        for part in parts:
            _remove(part)
        yield parts
        for part, path in zip(parts, paths, strict=True):
            if path.is_dir() and part.is_dir():
                _remove(path)
            os.replace(part, path)
    except (OSError, RuntimeError) as problem:  # HDF5 says either
        raise ExportError(f"cannot write {paths[0]}: {_reason(problem)}") from problem
    finally:
        for part in parts:
            with contextlib.suppress(OSError):
                _remove(part)


def refuse_existing(paths: Sequence[Path]) -> None:
    """Raises ExportError for the first that is there."""
    for path in paths:
        if path.exists():
            raise ExportError(f"{path} exists already: choose another name, or say --force")


def _reason(problem: Exception) -> str:
    """What the system said, or the first line of what a library did."""
    code = getattr(problem, "errno", None)
    return os.strerror(code) if code else str(problem).partition("\n")[0]


def make_folder(path: Path) -> None:
    """The folder, where there is none. Raises ExportError where the system refuses."""
    try:
        path.mkdir(exist_ok=True)
    except OSError as problem:
        raise ExportError(f"cannot make the folder {path}: {problem.strerror or problem}") from problem


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
