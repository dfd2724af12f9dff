"""Whether an instrument was switched off since its driver set it up: it has lost its settings then."""

from __future__ import annotations

from labctl.errors import LinkError
from labctl.links.visa import VisaLink

_POWER_ON = 0x80  # of the standard event status: switched on since it was last asked


class PowerWatch:
    """The notice that instruments keep of having been switched on, asked for after each fault.

    `begin` before they are set up, `set_up` once that is done and has cleared the notice.
    """

    def __init__(self, who: str) -> None:
        self._who = who
        self.begin()

    def begin(self) -> None:
        self._watching = self._was_off = False

    def set_up(self) -> None:
        self._watching = True

    def check(self, link: VisaLink, within_s: float) -> None:
        """Raises LinkError where it was off, now and from now on; InstrumentError, LinkError as asking does."""
        if self._watching and not self._was_off:
            events = link.query("*ESR?", timeout_s=within_s)
            self._was_off = bool(int(float(events)) & _POWER_ON)
        if self._was_off:
            raise LinkError(
                f"{link.resource_name}: {self._who} has been restarted, its settings are lost: connect anew"
            )
