"""PyVISA resource managers, one a VISA library, closed when the last session of ours is.

PyVISA hands the same manager to everybody who names the same library, and closing it closes all their sessions; so
it is counted here who still needs it. Closing matters: it is when the in-process backend saves a simulated chip.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from labctl.errors import LinkClosedError, LinkError


class ResourceManagers:
    """Opens PyVISA resources and knows when a manager is no longer needed."""

    def __init__(self) -> None:
        self._managers: dict[str, Any] = {}
        self._sessions: Counter[str] = Counter()

    def open(self, visa_library: str, resource_name: str, timeout_s: float) -> Any:
        """An open PyVISA resource. Raises LinkError with one sentence."""
        import pyvisa

        try:
            manager = self._managers.get(visa_library) or pyvisa.ResourceManager(visa_library)
            self._managers[visa_library] = manager
            milliseconds = max(int(timeout_s * 1e3), 1)
            resource = manager.open_resource(resource_name, open_timeout=milliseconds, timeout=milliseconds)
        except pyvisa.errors.VisaIOError as problem:
            raise LinkClosedError(f"{resource_name}: could not be opened: {problem.description}") from None
        except (OSError, ValueError, pyvisa.errors.Error) as problem:
            raise LinkError(f"{resource_name}: could not be opened through {visa_library or 'VISA'}: {problem}") from None
        except Exception as problem:  # noqa: BLE001 -- pyvisa-py raises bare Exception where a host cannot be reached
            raise LinkClosedError(f"{resource_name}: could not be opened: {problem}") from None
        self._sessions[visa_library] += 1
        return resource

    def release(self, visa_library: str) -> None:
        """One session of ours on `visa_library` has been closed."""
        self._sessions[visa_library] -= 1
        if self._sessions[visa_library] <= 0:
            manager = self._managers.pop(visa_library, None)
            if manager is not None:
                manager.close()


def canonical_resource_name(resource_name: str) -> str:
    """`TCPIP::h::5025::SOCKET` as `TCPIP0::h::5025::SOCKET`. Raises ValueError with one sentence."""
    from pyvisa import rname

    try:
        return str(rname.to_canonical_name(resource_name))
    except rname.InvalidResourceName:
        raise ValueError(
            f"{resource_name!r} is not a VISA resource name: write one like 'TCPIP0::192.168.0.5::5025::SOCKET'"
        ) from None
