"""What an associative array has done, counted where it is done."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class OperationCounters:
    """searches, writes: how many; searched_columns, written_columns: summed over them.

    matches: rows tagged by searches. written_bits: cells written by tagged writes. shifts: of a track by one domain.
    checks: of the positions of a track. realignments: shifts by one domain of some nanowires of a track.
    loaded_columns, read_columns: whole columns.
    """

    searches: int = 0
    searched_columns: int = 0
    matches: int = 0
    writes: int = 0
    written_columns: int = 0
    written_bits: int = 0
    shifts: int = 0
    checks: int = 0
    realignments: int = 0
    loaded_columns: int = 0
    read_columns: int = 0
