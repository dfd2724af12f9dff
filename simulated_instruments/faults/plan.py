"""A plan of faults as a TOML file: read, typed and checked, with errors that name the path."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from .kinds import AnyFault, Fault


class PlanError(ValueError):
    """A plan of faults is missing or wrong; the text names the file and the path in it."""


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """What is to go wrong. seed: of all that is left to chance. log: where to write what was done, as a plan."""

    faults: tuple[Fault, ...]
    seed: int = 0
    log: Path | None = None


class _Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    faults: list[dict[str, Any]] = []
    seed: int = 0
    log: str | None = None


def read_plan(path: Path) -> FaultPlan:
    """The plan in the file at `path`, from whose folder its `log` starts. Raises PlanError with one sentence."""
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as problem:
        reason = getattr(problem, "strerror", None) or "not a text file"
        raise PlanError(f"{path}: cannot be read as a plan of faults: {reason}") from None
    except tomllib.TOMLDecodeError as problem:
        raise PlanError(f"{path.name}: {problem}") from None
    return parse_plan(document, path.name, path.resolve().parent)


def parse_plan(document: dict[str, Any], source: str, folder: Path) -> FaultPlan:
    """The plan that `document` describes. `source`: what errors call it. Raises PlanError."""
    top = _converted(document, _Document, source, "$")
    faults = tuple(_fault(table, source, f"$.faults[{index}]") for index, table in enumerate(top.faults))
    return FaultPlan(faults, top.seed, folder / top.log if top.log else None)


def _fault(table: dict[str, Any], source: str, at: str) -> Fault:
    kinds = {str(kind.__struct_config__.tag): kind for kind in AnyFault.__args__}
    kind = table.get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        raise PlanError(f"{source}: {at}.kind: expected one of {', '.join(kinds)}, not {kind!r}")
    fault: Fault = _converted(table, kinds[kind], source, at)
    return fault


def _converted(value: Any, to: Any, source: str, at: str) -> Any:
    try:
        return msgspec.convert(value, to)
    except msgspec.ValidationError as problem:
        text, _, path = str(problem).partition(" - at `$")
        known = ""
        if text.startswith("Object contains unknown field"):
            known = f"; there are: {', '.join(to.__struct_fields__)}"
        raise PlanError(f"{source}: {at}{path.rstrip('`')}: {text[0].lower()}{text[1:]}{known}") from None
