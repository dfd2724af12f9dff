"""The reading buffer of the 2400, and the sample buffer that FETCh? reads."""

from __future__ import annotations

from ..scpi import ScpiError
from .keithley import statistics

MOST_READINGS = 2500
Record = tuple[float, float, float, float, float]
"""One reading: V, A, Ohm, s, status word."""


class ReadingBuffer:
    """TRACe: readings are stored while `feeding`, which ends when as many are stored as it has points."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.records: list[Record] = []
        self._points = 100
        self._feeding = False
        self.feed = "SENS"
        self.timestamps = "ABS"

    @property
    def points(self) -> int:
        return self._points

    @points.setter
    def points(self, number: int) -> None:
        if self._feeding:
            raise ScpiError(800, "Illegal with storage active")
        self._points = number

    @property
    def control(self) -> str:
        """NEXT while readings are stored, NEV while not."""
        return "NEXT" if self._feeding else "NEV"

    @control.setter
    def control(self, word: str) -> None:
        self._feeding = word == "NEXT"
        if self._feeding:
            self.records = []

    @property
    def full(self) -> bool:
        return len(self.records) >= self._points

    def clear(self) -> None:
        self.records = []

    def offer(self, record: Record) -> bool:
        """Store a reading, if readings are stored. Whether it was the one that filled the buffer."""
        if not self._feeding:
            return False
        self.records.append(record)
        self._feeding = not self.full
        return self.full

    def timed(self) -> list[Record]:
        """The readings, with the time since the first one, or since the one before."""
        if not self.records:
            return []
        times = [record[3] for record in self.records]
        since = times[:1] * len(times) if self.timestamps == "ABS" else times[:1] + times[:-1]
        return [
            (volts, amps, ohms, time - before, status)
            for (volts, amps, ohms, time, status), before in zip(self.records, since, strict=True)
        ]

    def statistics(self, kind: str) -> list[float]:
        """V, A and Ohm."""
        return statistics(kind, [[record[column] for record in self.records] for column in range(3)])
