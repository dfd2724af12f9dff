"""HiSLIP's messages (IVI-6.1) as bytes: a header of 16, then a payload of the length that it says."""

from __future__ import annotations

import enum
import struct
from typing import NamedTuple

_HEADER = struct.Struct("!2sBBIQ")
_PROLOGUE = b"HS"
HEADER_SIZE = _HEADER.size


class Kind(enum.IntEnum):
    """Message types. Those of secure connections are not among them."""

    INITIALIZE = 0
    INITIALIZE_RESPONSE = 1
    FATAL_ERROR = 2
    ERROR = 3
    ASYNC_LOCK = 4
    ASYNC_LOCK_RESPONSE = 5
    DATA = 6
    DATA_END = 7
    DEVICE_CLEAR_COMPLETE = 8
    DEVICE_CLEAR_ACKNOWLEDGE = 9
    ASYNC_REMOTE_LOCAL_CONTROL = 10
    ASYNC_REMOTE_LOCAL_RESPONSE = 11
    TRIGGER = 12
    INTERRUPTED = 13
    ASYNC_INTERRUPTED = 14
    ASYNC_MAX_MESSAGE_SIZE = 15
    ASYNC_MAX_MESSAGE_SIZE_RESPONSE = 16
    ASYNC_INITIALIZE = 17
    ASYNC_INITIALIZE_RESPONSE = 18
    ASYNC_DEVICE_CLEAR = 19
    ASYNC_SERVICE_REQUEST = 20
    ASYNC_STATUS_QUERY = 21
    ASYNC_STATUS_RESPONSE = 22
    ASYNC_DEVICE_CLEAR_ACKNOWLEDGE = 23
    ASYNC_LOCK_INFO = 24
    ASYNC_LOCK_INFO_RESPONSE = 25


FIRST_OF_VENDORS = 128


class Fatal(enum.IntEnum):
    """Control codes of FatalError, behind which both channels are closed."""

    BAD_HEADER = 1
    CHANNELS_MISSING = 2
    BAD_INITIALIZATION = 3
    TOO_MANY_CLIENTS = 4


class Refused(enum.IntEnum):
    """Control codes of Error, behind which everything goes on."""

    MESSAGE_TYPE = 1
    VENDOR_MESSAGE = 3
    TOO_LARGE = 4


class Header(NamedTuple):
    """`kind` may be none of `Kind`. length: bytes of payload that follow."""

    kind: int
    control: int
    parameter: int
    length: int

    def pack(self) -> bytes:
        return _HEADER.pack(_PROLOGUE, *self)


def unpack(header: bytes | bytearray | memoryview) -> Header | None:
    """What 16 bytes say; None where they are no header."""
    prologue, *fields = _HEADER.unpack(header)
    return Header(*fields) if prologue == _PROLOGUE else None


def message(kind: Kind, control: int = 0, parameter: int = 0, payload: bytes = b"") -> bytes:
    return Header(kind, control, parameter, len(payload)).pack() + payload
