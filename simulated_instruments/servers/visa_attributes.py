"""VISA attributes of a session to a simulated instrument: which there are, their values, which can be set."""

from __future__ import annotations

from itertools import chain
from typing import Any

from pyvisa import attributes, constants, rname
from pyvisa.constants import ResourceAttribute, StatusCode

MANUFACTURER = "labctl"
DEFAULT_TIMEOUT_MS = 2000
_SPECIFICATION = 0x00500800  # VISA 5.8


class SessionAttributes:
    """PyVISA's own table of a resource's attributes says which exist and what they are at first."""

    def __init__(self, parsed: rname.ResourceName, manager: int) -> None:
        kind = (parsed.interface_type_const, parsed.resource_class)
        classes = chain(
            attributes.AttributesPerResource[kind],
            attributes.AttributesPerResource[attributes.AllSessionTypes],
        )
        self._classes = {one.attribute_id: one for one in classes}
        given = {number: one.default for number, one in self._classes.items()} | _of_resource(parsed, manager)
        nothing = ("N/A", attributes.NotAvailable)
        self._values = {number: value for number, value in given.items() if value not in nothing}

    def __getitem__(self, number: int) -> Any:
        """Raises KeyError where a resource of this kind has no such attribute, or it has no value."""
        return self._values[number]

    def set(self, number: int, value: Any) -> StatusCode:
        attribute = self._classes.get(number)
        if attribute is None:
            return StatusCode.error_nonsupported_attribute
        if not attribute.write:
            return StatusCode.error_attribute_read_only
        self._values[number] = value
        return StatusCode.success


def _of_resource(parsed: rname.ResourceName, manager: int) -> dict[int, Any]:
    """What the resource's name and this library determine."""
    values: dict[int, Any] = {
        ResourceAttribute.interface_type: parsed.interface_type_const,
        ResourceAttribute.resource_class: parsed.resource_class,
        ResourceAttribute.resource_name: str(parsed),
        ResourceAttribute.resource_manager_session: manager,
        ResourceAttribute.resource_manufacturer_name: MANUFACTURER,
        ResourceAttribute.resource_manufacturer_id: 0xFFF,
        ResourceAttribute.resource_impl_version: _SPECIFICATION,
        ResourceAttribute.resource_spec_version: _SPECIFICATION,
        ResourceAttribute.timeout_value: DEFAULT_TIMEOUT_MS,
    }
    board = getattr(parsed, "board", "")
    if board.isdigit():
        values[ResourceAttribute.interface_number] = int(board)
    if isinstance(parsed, (rname.TCPIPInstr, rname.TCPIPSocket)):
        values[ResourceAttribute.tcpip_address] = parsed.host_address
        values[ResourceAttribute.tcpip_hostname] = parsed.host_address
    if isinstance(parsed, rname.TCPIPSocket):
        values[ResourceAttribute.tcpip_port] = int(parsed.port)
        values[ResourceAttribute.suppress_end_enabled] = constants.VI_TRUE  # a socket has no END to heed
    return values
