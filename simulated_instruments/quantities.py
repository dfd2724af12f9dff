"""Numbers with a unit, as people write them in the files that describe simulated instruments."""

from __future__ import annotations

_SPELLINGS = {
    "Ohm": ("Ohm", "ohm", "OHM", "Ohms", "ohms", "\N{GREEK CAPITAL LETTER OMEGA}", "\N{OHM SIGN}"),
    "s": ("s",),
}


def quantity(written: str, unit: str, like: str) -> float:
    """Text such as `like` as a number in `unit`: `Ohm` or `s`. Raises ValueError with one sentence."""
    from quantiphy import InvalidNumber, Quantity  # here: only who writes a unit waits for it

    try:
        parsed = Quantity(written)
    except InvalidNumber:
        raise ValueError(f"expected a number with a unit, as in {like!r}, not {written!r}") from None
    if parsed.units and parsed.units not in _SPELLINGS[unit]:
        raise ValueError(f"expected a number in {unit}, as in {like!r}, not {written!r}")
    return float(parsed)
