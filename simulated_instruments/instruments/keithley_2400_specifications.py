"""What the data sheet and the manual of the 2400 state as numbers: ranges, noise, status bits."""

from __future__ import annotations

import enum

from .source_measure import Range, Ratings

AUTO_DELAY = 1e-3
"""s from a new level to its measurement, while the delay is automatic."""
LARGEST = {"voltage": 210.0, "current": 1.05}
"""V and A that can be sourced or measured at all."""


def _range(full_scale: float, resolution: float) -> Range:
    return Range(full_scale, 5 * resolution, resolution, resolution / 2)


RATINGS = Ratings(
    voltage=tuple(_range(full, full * 5e-6) for full in (0.2, 2.0, 20.0, 200.0)),
    current=tuple(_range(full, full * 1e-5) for full in (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0)),
    source_reach=1.05,
    sense_reach=1.055,
    corners=((21.0, 1.05), (210.0, 0.105)),
    hum=5e-6 / 3,
    overhead=0.314e-3,
    first_ranges={"voltage": 20.0, "current": 1e-4},
    first_limits={"voltage": 21.0, "current": 1.05e-4},
)
"""2400 SourceMeter specifications, SPEC-2400 Rev. H (2004): steps of the source of 5 uV on 200 mV to 5 mV on 200 V and
50 pA on 1 uA to 50 uA on 1 A; resolution at 1 PLC of 1 uV to 1 mV and 10 pA to 10 uA. "For 0.1 PLC add 0.005 % of range
to the offset, for 0.01 PLC 0.05 %": three standard deviations, as hum. The noise at 1 PLC, for which there is no
figure, is half of the last digit. With the overhead, 0.01 PLC of 60 Hz without autozero are 2,081 readings/s."""


class Word(enum.IntFlag):
    """Bits of a reading's status word (manual, FORMat:ELEMents)."""

    OVERFLOW = 1 << 0
    FILTER = 1 << 1
    FRONT = 1 << 2
    COMPLIANCE = 1 << 3
    AUTO_OHMS = 1 << 10
    VOLTS = 1 << 11
    AMPS = 1 << 12
    OHMS = 1 << 13
    SOURCE_VOLTAGE = 1 << 14
    SOURCE_CURRENT = 1 << 15
    RANGE_COMPLIANCE = 1 << 16
    REMOTE_SENSE = 1 << 22


class Measurement(enum.IntFlag):
    """Bits of STATus:MEASurement."""

    READING_AVAILABLE = 1 << 6
    READING_OVERFLOW = 1 << 7
    BUFFER_AVAILABLE = 1 << 8
    BUFFER_FULL = 1 << 9
    COMPLIANCE = 1 << 14


class Operation(enum.IntFlag):
    """Bits of STATus:OPERation."""

    WAITING_FOR_TRIGGER = 1 << 5
    WAITING_FOR_ARM = 1 << 6
    IDLE = 1 << 10
