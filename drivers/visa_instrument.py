"""The half of a driver that is the same for every bench instrument on VISA."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from labctl.bench.settings import VisaSettings
from labctl.drivers.power_watch import PowerWatch
from labctl.drivers.wired import WiredDriver
from labctl.errors import InstrumentError
from labctl.links.dialects import Dialect, Scpi
from labctl.links.resources import ResourceManagers
from labctl.links.visa import VisaLink


class VisaInstrument(WiredDriver):
    """Connect it with `with`, or as a bench does. What a driver adds: `set_up`, `settings_now`, `safe_state`."""

    Settings: ClassVar[type[VisaSettings]] = VisaSettings
    dialect: ClassVar[Dialect] = Scpi()
    models: ClassVar[tuple[str, ...]] = ()
    """Beginnings, in capitals, of the models of the instruments that this driver is for."""

    def __init__(self, settings: Any, managers: ResourceManagers | None = None) -> None:
        super().__init__(settings)
        self.link: VisaLink = VisaLink(
            settings.resource_name,
            visa_library=settings.visa_library,
            timeout_s=settings.timeout,
            dialect=self.dialect,
            managers=managers,
            after_fault=lambda within_s: self._power.check(self.link, within_s),
        )
        self._power = PowerWatch("it")

    # -- what a driver adds ---------------------------------------------------------------------------------------

    @abstractmethod
    def set_up(self) -> None:
        """Put the instrument into a known state with its outputs off, events cleared. Raises as an exchange does."""

    @abstractmethod
    def settings_now(self) -> Mapping[str, Any]:
        """Every setting that counts, asked for in one exchange."""

    # -- life -----------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._power.begin()
        if self.models and not self.model.startswith(self.models):
            raise InstrumentError(
                f"{self.settings.resource_name}: {self.link.idn!r} answers, where the driver "
                f"{self.settings.driver!r} is for {' or '.join(self.models)}"
            )
        self.set_up()
        self._power.set_up()

    @property
    def model(self) -> str:
        """The second field of its identity, in capitals."""
        return self.link.idn.upper().partition(",")[2].partition(",")[0].strip()

    def snapshot(self) -> Mapping[str, Any]:
        return {"idn": self.link.idn, **self.settings_now(), **self._logged()}

    def answers(self, settings: tuple[str, ...]) -> dict[str, str]:
        """Header to answer of every one of the SCPI `settings`, in one exchange."""
        found = self.link.exchange(";".join(f"{header}?" for header in settings))
        if len(found) != len(settings):
            raise InstrumentError(
                f"{self.settings.resource_name}: {len(found)} answers to {len(settings)} settings asked for"
            )
        return {header.lstrip(":"): str(answer) for header, answer in zip(settings, found, strict=True)}
