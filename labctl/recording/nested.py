"""Nested values of a run file: read from their JSON, and laid flat under the paths that lead to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import h5py
import msgspec

from labctl.recording.reader import text


def read_nested(file: h5py.File) -> dict[str, Any]:
    """What an open run file says in JSON of how it was made: `settings`, `bench`, `packages`, `snapshot_before`, ..."""
    attributes = file["provenance"].attrs
    return {name: msgspec.json.decode(text(attributes[name])) for name in attributes if name != "NX_class"}


def flat(nested: Mapping[str, Any]) -> dict[str, Any]:
    """The values of `nested` by path: `set.stop`, and `verifies.0.left` in a list of tables."""
    return dict(_leaves(nested, ""))


def plain(item: Any) -> Any:
    """`item` as JSON has it: numpy's scalars and arrays as Python's."""
    return item.tolist() if hasattr(item, "tolist") else item


def _leaves(item: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(item, Mapping):
        branches = [(str(name), branch) for name, branch in item.items()]
    elif isinstance(item, list | tuple) and any(isinstance(each, Mapping | list | tuple) for each in item):
        branches = [(str(number), branch) for number, branch in enumerate(item)]
    else:
        yield path, item
        return
    for name, branch in branches:
        yield from _leaves(branch, f"{path}.{name}" if path else name)
