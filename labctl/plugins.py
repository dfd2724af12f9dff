"""Drivers, protocols, simulators and servers, found through entry points: ours and a stranger's by the same door.

A plug-in that cannot be imported is listed with its reason, never fatal to the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, cast

from labctl.errors import UsageError

if TYPE_CHECKING:
    from labctl.steps import Procedure

GROUPS = ("labctl.drivers", "labctl.protocols", "labctl.simulators", "labctl.servers")


@dataclass(frozen=True, slots=True)
class Plugin:
    """One entry point: `problem` is empty when it loads."""

    group: str
    name: str
    target: str
    distribution: str
    problem: str


def list_plugins() -> list[Plugin]:
    """Every plug-in of every group, loaded to see whether it can be."""
    found = []
    for group in GROUPS:
        for point in sorted(entry_points(group=group), key=lambda each: each.name):
            problem = ""
            try:
                point.load()
            except Exception as error:  # noqa: BLE001 -- a stranger's module may raise anything at import
                problem = f"{type(error).__name__}: {error}"
            owner = point.dist.name if point.dist is not None else ""
            found.append(Plugin(group, point.name, point.value, owner, problem))
    return found


def load_plugin(group: str, name: str) -> Any:
    """The object behind `name`. Raises UsageError that lists what there is, also where two packages share a name."""
    points = entry_points(group=group)
    named: dict[str, EntryPoint] = {point.value: point for point in points if point.name == name}
    kind = group.rpartition(".")[2].removesuffix("s")
    if not named:
        known = ", ".join(sorted({point.name for point in points})) or "none"
        raise UsageError(f"no {kind} called {name!r}; there are: {known}")
    if len(named) > 1:
        raise UsageError(f"there are {len(named)} {kind}s called {name!r}: {', '.join(sorted(named))}; uninstall one")
    (chosen,) = named.values()
    try:
        return chosen.load()
    except Exception as error:
        raise UsageError(f"the {kind} {name!r} ({chosen.value}) cannot be loaded: {error}") from error


def load_protocol(name: str) -> Procedure:
    return cast("Procedure", load_plugin("labctl.protocols", name))
