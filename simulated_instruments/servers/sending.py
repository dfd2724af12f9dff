"""Bytes on a socket: many pieces sent in few calls, arrays from the memory they were made in."""

from __future__ import annotations

import socket

from ..scpi.formatting import Segment

_SMALL = 8 * 1024
_MOST_PIECES = 512  # of one sendmsg call; systems allow 1024 at least
_CAN_GATHER = hasattr(socket.socket, "sendmsg")  # not on Windows


def send(connection: socket.socket, segments: list[Segment]) -> bool:
    """Send every piece; False where the client has left."""
    pieces = _joined(segments)
    try:
        if len(pieces) > 1 and _CAN_GATHER:
            _send_gathered(connection, pieces)
        else:
            for piece in pieces:
                connection.sendall(piece)
    except OSError:
        return False
    return True


def receive(connection: socket.socket, memory: memoryview) -> int:
    """Bytes received; 0 where the client has left, however it did that."""
    try:
        return connection.recv_into(memory)
    except OSError:
        return 0


def _joined(segments: list[Segment]) -> list[Segment]:
    """The same bytes with small neighbours made one: copying those costs less than a packet each."""
    pieces: list[Segment] = []
    small: list[Segment] = []
    for segment in segments:
        if len(segment) <= _SMALL:
            small.append(segment)
            continue
        if small:
            pieces.append(b"".join(small))
            small = []
        pieces.append(segment)
    if small:
        pieces.append(b"".join(small))
    return pieces


def _send_gathered(connection: socket.socket, pieces: list[Segment]) -> None:
    """One call, and so one packet, for a header and the beginning of its block."""
    first = 0
    while first < len(pieces):
        sent = connection.sendmsg(pieces[first : first + _MOST_PIECES])
        while first < len(pieces) and sent >= len(pieces[first]):
            sent -= len(pieces[first])
            first += 1
        if sent:
            pieces[first] = memoryview(pieces[first])[sent:]
