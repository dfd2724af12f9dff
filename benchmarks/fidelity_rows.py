"""Rows of the fidelity table: a measured and a simulated figure, the limit between them, and whether it holds."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

FILE = "file"
"""A figure computed from the reference file."""

NI = "NI-RRAM-Python"
"""A figure computed from https://github.com/akashlevy/NI-RRAM-Python (MIT), whose raw data the file does not hold."""


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison. measured: from, to (the same where it is one figure). compared: as `limit` counts, 1 or 0 inside.

    simulated: None where it could not be had; `note` says why.
    """

    bullet: str
    what: str
    unit: str
    measured: tuple[float, float]
    source: str
    simulated: float | None
    compared: str
    limit: str
    ok: bool
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON: NaN, which it does not know, as None."""
        known = {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in asdict(self).items()
        }
        low, high = self.measured
        known["measured"] = low if low == high else [low, high]
        return known


@dataclass(frozen=True, slots=True)
class Expected:
    """What was measured: one figure, or a range between chips or studies."""

    low: float
    high: float
    source: str = FILE

    @classmethod
    def one(cls, figure: float, source: str = FILE) -> Expected:
        return cls(float(figure), float(figure), source)

    def nearest(self, figure: float) -> float:
        return min(max(figure, self.low), self.high)


@dataclass(frozen=True, slots=True)
class Bullet:
    """Makes the rows of one bullet."""

    name: str

    def ratio(self, what: str, unit: str, expected: Expected, simulated: float, limit: float) -> Row:
        """Holds where simulated is within a fraction `limit` of the measured figure or of the range's nearer end."""
        near = expected.nearest(simulated)
        ratio = simulated / near if near else math.nan
        ok = abs(ratio - 1) <= limit
        return self._row(what, unit, expected, simulated, f"{ratio:.2f}x", f"+-{limit:.0%}", ok)

    def difference(
        self, what: str, unit: str, expected: Expected, simulated: float, limit: float, why: str = ""
    ) -> Row:
        """Holds where simulated is within `limit` of the measured figure or of the range's nearer end."""
        apart = simulated - expected.nearest(simulated)
        told = f"+-{limit:.3g}{' (' + why + ')' if why else ''}"
        return self._row(what, unit, expected, simulated, f"{apart:+.3g}", told, abs(apart) <= limit)

    def between(self, what: str, unit: str, expected: Expected, simulated: float, low: float, high: float) -> Row:
        """Holds where simulated is within a range given for its own sake."""
        ok = low <= simulated <= high
        limit = f">= {low:.3g}" if math.isinf(high) else f"{low:.3g} .. {high:.3g}"
        return self._row(what, unit, expected, simulated, "", limit, ok)

    def missing(self, what: str, why: str) -> Row:
        nothing = Expected.one(math.nan)
        return Row(self.name, what, "", (nothing.low, nothing.high), "", None, "", "", False, why)

    def _row(
        self, what: str, unit: str, expected: Expected, simulated: float, compared: str, limit: str, ok: bool
    ) -> Row:
        measured = (expected.low, expected.high)
        return Row(self.name, what, unit, measured, expected.source, float(simulated), compared, limit, bool(ok))


def print_table(rows: Iterable[Row]) -> None:
    """The rows, bullet by bullet, and what misses at the end."""
    listed = list(rows)
    heading = ("what", "measured", "simulated", "", "limit")
    print(f"{heading[0]:<52} {heading[1]:>15} {heading[2]:>10} {'unit':<6} {heading[3]:>8}  {heading[4]:<26} ok?")
    bullet = ""
    for row in listed:
        if row.bullet != bullet:
            bullet = row.bullet
            print(f"\n{bullet}")
        print(_line(row))
    misses = [row for row in listed if not row.ok]
    print(f"\n{len(listed) - len(misses)} of {len(listed)} hold. * stated by {NI} (MIT), not in the reference file.")
    print(f"\nMissing: {len(misses)}" if misses else "\nNothing is missing.")
    for row in misses:
        print(
            f"  {row.bullet}: {row.what}: "
            + (row.note or f"{_figure(row.simulated)} {row.unit}, {row.compared or row.limit}")
        )


def _line(row: Row) -> str:
    low, high = row.measured
    measured = "" if math.isnan(low) else _figure(low) if low == high else f"{_figure(low)} .. {_figure(high)}"
    measured += "*" if row.source == NI else " "
    simulated = "missing" if row.simulated is None else _figure(row.simulated)
    verdict = "yes" if row.ok else "MISSES"
    return (
        f"  {row.what:<50} {measured:>15} {simulated:>10} {row.unit:<6} {row.compared:>8}  {row.limit:<26} {verdict}"
        + (f" ({row.note})" if row.note else "")
    )


def _figure(value: float | None) -> str:
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
