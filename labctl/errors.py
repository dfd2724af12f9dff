"""Everything labctl raises on purpose, in one tree; each class carries the exit code a command ends with.

Exit codes: 1 the run failed, 2 usage, 3 link or instrument, 4 limit or interlock, 130 interrupted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class LabctlError(Exception):
    """The root. Its text is one sentence a person can act on: what was wrong, where, what would be right."""

    exit_code: ClassVar[int] = 1


class UsageError(LabctlError):
    """What was asked for cannot be right, whatever the hardware says."""

    exit_code = 2


class BenchError(UsageError):
    """A bench file is missing, malformed, or names something that does not exist."""


class SettingsError(UsageError):
    """A protocol's settings do not fit; the text names the path, as in `$.tolerance`."""


class TargetError(UsageError):
    """A target file or array has the wrong shape, unit or values."""


class MappingError(UsageError):
    """A mapping of a foreign file does not fit it or cannot be read; the text names the path, as in `$.time.unit`."""


class ExportError(UsageError):
    """What was asked to be exported is neither a run nor a chip file, or holds nothing the simulator can use."""


class NoWireLogError(UsageError):
    """What was named as a wire log is not there, or is none."""


class LinkError(LabctlError):
    """The wire failed: who waited, for what, on which resource, how long, after which traffic."""

    exit_code = 3


class LinkTimeoutError(LinkError):
    """The other side did not answer in time."""


class LinkClosedError(LinkError):
    """The other side closed the connection, or it could not be opened."""


class LeaseError(LinkError):
    """Another process holds the instrument."""


class ReplayError(LabctlError):
    """What was sent is not what had been recorded; a note of several lines shows both, aligned."""

    exit_code = 3


class InstrumentError(LabctlError):
    """The instrument refused.

    Attributes:
        command: what was sent, shortened.
        errors: the drained error queue, oldest first, as (number, message); bounded.
        given: of the batches of pulses, or the actions of an associative array, that were asked for, how many of the
            first ones were given, and no other; None where that is not known, or it was about none.
    """

    exit_code = 3

    def __init__(
        self, message: str, *, command: str = "", errors: Sequence[tuple[int, str]] = (), given: int | None = None
    ) -> None:
        super().__init__(message)
        self.command = command
        self.errors = tuple(errors)
        self.given = given


class SafeStateError(LabctlError):
    """Instruments were let go of that are not in safe state: their outputs may be on."""

    exit_code = 3


class CapabilityError(InstrumentError):
    """The array cannot do what the protocol needs; said before the run starts."""


class LimitError(LabctlError):
    """An instrument, bench or cell limit would be exceeded; nothing was sent."""

    exit_code = 4


class RunError(LabctlError):
    """A run could not start or could not go on."""


class ResumeError(RunError):
    """A run cannot be resumed, or not on this array; nothing was pulsed, and the file is as it was."""

    exit_code = 2


class RecordingError(RunError):
    """A run file cannot be written or read."""


class NoRunError(RecordingError):
    """What was named as a run file is not there, or is none."""

    exit_code = 2


class Interrupted(LabctlError):
    """The run was stopped by a signal, in safe state."""

    exit_code = 130
