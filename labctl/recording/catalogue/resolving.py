"""From what a person calls a run to its file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from labctl.errors import NoRunError

LAST = "last"

_SHOWN = 3


def resolve_run(text: str | Path, folder: Path | Callable[[], Path]) -> Path:
    """The file of the run that a person calls `text`: a path, or what `Catalogue.resolve` takes, in `folder`.

    A path that exists is returned at once; `folder` is only asked for, and looked into, for what is none. Raises
    NoRunError where there is no such run, or more than one.
    """
    from labctl.recording.catalogue.folder import Catalogue

    path = Path(text)
    if path.exists():
        return path
    where = folder if isinstance(folder, Path) else folder()
    if not where.is_dir():
        raise NoRunError(f"there is no file {text}, and no folder {where} of runs to look for it in")
    return Catalogue(where).resolve(str(text))


def resolve_name(name: str, paths: Sequence[Path], folder: Path) -> Path:
    """Which of the `paths` in `folder` is meant: by a path, a file name, its stem, or the beginning of only one."""
    for path in (Path(name), folder / name, folder / f"{name}.h5"):
        if path.is_file():
            return path
    wholly = [path for path in paths if name in (path.name, path.stem)]
    found = wholly or [path for path in paths if path.name.startswith(name)]
    if len(found) == 1:
        return found[0]
    if not found or not name:
        raise NoRunError(f"there is no file {name}, and no run in {folder} whose name begins so")
    shown = ", ".join(str(path.relative_to(folder)) for path in sorted(found)[:_SHOWN])
    more = ", ..." if len(found) > _SHOWN else ""
    raise NoRunError(f"{len(found)} runs in {folder} begin with {name}: {shown}{more}; write more of its name")
