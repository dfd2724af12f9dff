"""What a run must say about itself: the source it came from and the settings it had."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray


def source_state() -> dict[str, Any]:
    """`labctl_commit` and `labctl_dirty` where labctl runs from a git checkout; else an empty commit."""
    folder = Path(__file__).resolve().parent.parent
    git = shutil.which("git")
    if git is None or not (folder / ".git").exists():
        return {"labctl_commit": "", "labctl_dirty": False}
    commit = _git(git, folder, "rev-parse", "HEAD")
    changed = _git(git, folder, "status", "--porcelain", "--untracked-files=no")
    return {"labctl_commit": commit, "labctl_dirty": bool(changed)}


def describe_settings(settings: msgspec.Struct) -> Any:
    """`settings` as plain JSON values, arrays as their shape, type and SHA-256."""
    return msgspec.to_builtins(settings, enc_hook=_describe)


def array_settings(settings: msgspec.Struct, within: str = "") -> dict[str, NDArray[Any]]:
    """The arrays among `settings`, by their paths, as `describe_settings` leaves them out."""
    found: dict[str, NDArray[Any]] = {}
    for name in settings.__struct_fields__:
        value = getattr(settings, name)
        if isinstance(value, msgspec.Struct):
            found |= array_settings(value, f"{within}{name}.")
        elif isinstance(value, np.ndarray):
            found[f"{within}{name}"] = value
    return found


def _describe(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        digest = hashlib.sha256(np.ascontiguousarray(value).data).hexdigest()
        return {"shape": list(value.shape), "dtype": str(value.dtype), "sha256": digest}
    if isinstance(value, float):
        return float(value)
    raise NotImplementedError(f"no plain form of {type(value).__name__}")


def _git(git: str, folder: Path, *arguments: str) -> str:
    found = subprocess.run(
        [git, "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=False
    )
    return found.stdout.strip()
