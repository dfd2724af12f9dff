"""A plan of faults as a TOML file: read, typed and checked, with errors that name the path."""

from __future__ import annotations

import tomllib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec

from ..quantities import quantity
from .kinds import AnyFault, Fault

_TIMES = ("seconds", "jitter", "times")


class PlanError(ValueError):
    """A plan of faults is missing or wrong; the text names the file and the path in it."""


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """What is to go wrong. seed: of all that is left to chance. log: where to write what was done, as a plan.

    source: what errors call it.
    """

    faults: tuple[Fault, ...]
    seed: int = 0
    log: Path | None = None
    source: str = "the plan"


class _Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    faults: list[dict[str, Any]] = []
    seed: int = 0
    log: str | None = None


def read_plan(path: Path, instruments: Collection[str] | None = None) -> FaultPlan:
    """The plan in the file at `path`, from whose folder its `log` starts.

    instruments: the names of those it is for, where that is known. Raises PlanError with one sentence, for a plan of no
    faults and one whose `log` cannot be written too.
    """
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as problem:
        reason = getattr(problem, "strerror", None) or "not a text file"
        raise PlanError(f"{path}: cannot be read as a plan of faults: {reason}") from None
    except tomllib.TOMLDecodeError as problem:
        raise PlanError(f"{path.name}: {problem}") from None
    plan = parse_plan(document, path.name, path.resolve().parent)
    if not plan.faults:
        raise PlanError(f"{path.name}: $.faults: nothing is to go wrong: say what in [[faults]] tables")
    if instruments is not None:
        _check_instruments(plan, instruments)
    if plan.log is not None:
        _check_log(plan.log, path)
    return plan


def parse_plan(document: dict[str, Any], source: str, folder: Path) -> FaultPlan:
    """The plan that `document` describes. `source`: what errors call it. Raises PlanError."""
    top = _converted(document, _Document, source, "$")
    faults = tuple(_fault(table, source, f"$.faults[{index}]") for index, table in enumerate(top.faults))
    return FaultPlan(faults, top.seed, folder / top.log if top.log else None, source)


def _check_instruments(plan: FaultPlan, there: Collection[str]) -> None:
    for index, fault in enumerate(plan.faults):
        for place, name in enumerate(fault.instruments):
            if name not in there:
                raise PlanError(
                    f"{plan.source}: $.faults[{index}].instruments[{place}]: there is no {name!r} with this plan; "
                    f"there are: {', '.join(there)}"
                )


def _check_log(log: Path, path: Path) -> None:
    if log.resolve() == path.resolve():
        raise PlanError(f"{path.name}: $.log: must be another file than the plan itself")
    try:
        log.open("a").close()
    except OSError as problem:
        raise PlanError(f"{path.name}: $.log: {log} cannot be written: {problem.strerror or problem}") from None


def _fault(table: dict[str, Any], source: str, at: str) -> Fault:
    kinds = {str(kind.__struct_config__.tag): kind for kind in AnyFault.__args__}
    kind = table.get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        raise PlanError(f"{source}: {at}.kind: expected one of {', '.join(kinds)}, not {kind!r}")
    fault: Fault = _converted(_in_seconds(table, source, at), kinds[kind], source, at)
    return fault


def _in_seconds(table: dict[str, Any], source: str, at: str) -> dict[str, Any]:
    """`table` with its times as numbers."""
    found = dict(table)
    for key in _TIMES:
        value = table.get(key)
        try:
            if isinstance(value, list):
                found[key] = [quantity(each, "s", "10 ms") if isinstance(each, str) else each for each in value]
            elif isinstance(value, str):
                found[key] = quantity(value, "s", "10 ms")
        except ValueError as problem:
            raise PlanError(f"{source}: {at}.{key}: {problem}") from None
    return found


def _converted(value: Any, to: Any, source: str, at: str) -> Any:
    try:
        return msgspec.convert(value, to)
    except msgspec.ValidationError as problem:
        text, _, path = str(problem).partition(" - at `$")
        known = ""
        if text.startswith("Object contains unknown field"):
            known = f"; there are: {', '.join(to.__struct_fields__)}"
        elif text.startswith("Invalid enum value"):
            known = f"; there are: {', '.join(get_args(get_type_hints(to)[path.strip('.`')]))}"
        raise PlanError(f"{source}: {at}{path.rstrip('`')}: {text[0].lower()}{text[1:]}{known}") from None
