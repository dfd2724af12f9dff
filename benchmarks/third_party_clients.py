"""What other people's clients are asked to do, in their own environment: (what, whether it went well), as JSON.

    python third_party_clients.py CLIENT ADDRESS PORT

Run by `third_party.py`; nothing of labctl is imported here.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

COUNT = 4001
IDENTITY = "Rohde&Schwarz,NRX,1424.7005k02/101234,02.70"


def socketscpi_client(address: str, port: int) -> Iterator[tuple[str, bool]]:
    """Queries, commands, blocks both ways and its error check."""
    import numpy as np
    import socketscpi

    instrument = socketscpi.SocketInstrument(address, port=port, timeout=10, globalErrCheck=True)
    yield "identity", instrument.instId == IDENTITY
    instrument.write("FREQ 2.5 GHz")
    yield "number", float(instrument.query("FREQ?")) == 2.5e9
    instrument.write('TEXT "one; two"')
    yield "text", instrument.query("TEXT?") == '"one; two"'
    instrument.write("FORM REAL,32;FORM:BORD SWAP")
    trace = np.sin(np.arange(COUNT)).astype(np.float32)
    instrument.write_binary_values("TRAC ", trace)
    yield "block out and in", bool(np.array_equal(instrument.query_binary_values("TRAC?", datatype="f"), trace))
    try:
        instrument.write("NONSENSE 1")
    except socketscpi.SockInstError as problem:
        yield "error query", "113" in str(problem)
    else:
        yield "error query", False
    yield "no error left", instrument.query("SYST:ERR?").startswith(("0,", "+0,"))
    instrument.close()


def rsinstrument_client(address: str, port: int) -> Iterator[tuple[str, bool]]:
    """Its ways to wait, to check the status and to move data, over a raw socket and pyvisa-py."""
    yield from _rsinstrument(f"TCPIP::{address}::{port}::SOCKET")


def rsinstrument_hislip_client(address: str, port: int) -> Iterator[tuple[str, bool]]:
    """The same over HiSLIP."""
    yield from _rsinstrument(f"TCPIP::{address}::hislip0,{port}::INSTR")


def _rsinstrument(resource_name: str) -> Iterator[tuple[str, bool]]:
    from RsInstrument import BinFloatFormat, RsInstrument, StatusException

    instrument: Any = RsInstrument(resource_name, True, True, "SelectVisa='@py'")
    yield "identity", instrument.idn_string == IDENTITY
    told = (instrument.instrument_model_name, instrument.instrument_serial_number, instrument.instrument_options)
    yield "model, serial number, options", told == ("NRX", "1424.7005k02/101234", ["K0"])
    instrument.write_float("FREQ", 1.5e9)
    yield "number", instrument.query_float("FREQ?") == 1.5e9
    instrument.write('TEXT "a,b"')
    yield "text", instrument.query_str("TEXT?") == '"a,b"'
    instrument.write_with_opc("FREQ 2 GHz")
    yield "with OPC", instrument.query_float_with_opc("FREQ?") == 2e9
    yield "OPC", bool(instrument.query_opc())
    instrument.write("FORM REAL,32;FORM:BORD SWAP")
    values = [index / 8 for index in range(COUNT)]
    instrument.write_bin_block("TRAC ", _float32(values))
    instrument.bin_float_numbers_format = BinFloatFormat.Single_4bytes
    yield "block out and in", instrument.query_bin_or_ascii_float_list("TRAC?") == values
    yield "bytes", instrument.query_bin_block("TRAC?") == _float32(values)
    instrument.write("FORM ASC")
    yield "ASCII list", len(instrument.query_bin_or_ascii_float_list("TRAC?")) == COUNT
    try:
        instrument.write("NONSENSE 1")
    except StatusException as problem:
        yield "status check", "-113" in str(problem)
    else:
        yield "status check", False
    yield "no error left", not instrument.query_all_errors()
    instrument.reset()
    yield "reset", instrument.query_float("FREQ?") == 2e9  # this one has no settings that a reset touches
    yield "self-test", instrument.self_test() == (0, None)
    instrument.close()


def _float32(values: list[float]) -> bytes:
    import struct

    return struct.pack(f"<{len(values)}f", *values)


def pyvisa_hislip_client(address: str, port: int) -> Iterator[tuple[str, bool]]:
    """PyVISA and pyvisa-py's HiSLIP: messages, blocks, status byte, device clear, message size."""
    import pyvisa

    instrument: Any = pyvisa.ResourceManager("@py").open_resource(f"TCPIP::{address}::hislip0,{port}::INSTR")
    instrument.read_termination = instrument.write_termination = "\n"
    yield "identity", instrument.query("*IDN?") == IDENTITY
    values = [index / 8 for index in range(COUNT * 64)]
    instrument.write("FORM REAL,32;FORM:BORD SWAP")
    instrument.write_binary_values("TRAC ", values)
    yield "block out and in", instrument.query_binary_values("TRAC?") == values
    instrument.set_visa_attribute(pyvisa.constants.ResourceAttribute.tcpip_hislip_max_message_kb, 4)
    yield "block in small messages", instrument.query_binary_values("TRAC?", chunk_size=1000) == values
    instrument.write("*IDN?")
    while not instrument.read_stb() & 16:
        pass
    yield "message available", instrument.read() == IDENTITY
    yield "and read", not instrument.read_stb() & 16
    instrument.write_raw(b"TRAC #9")
    instrument.clear()
    yield "device clear", instrument.query("*CLS;*OPC?") == "1"
    instrument.write("*TRG")
    until = time.monotonic() + 5  # the status byte does not wait for messages to be carried out
    while not (byte := instrument.read_stb()) & 4 and time.monotonic() < until:
        pass
    yield "error in the status byte", bool(byte & 4)
    instrument.close()


CLIENTS: dict[str, Callable[[str, int], Iterator[tuple[str, bool]]]] = {
    "socketscpi": socketscpi_client,
    "rsinstrument": rsinstrument_client,
    "rsinstrument_hislip": rsinstrument_hislip_client,
    "pyvisa_hislip": pyvisa_hislip_client,
}


if __name__ == "__main__":
    sys.stdout, told = sys.stderr, sys.stdout  # some clients print
    print(json.dumps(list(CLIENTS[sys.argv[1]](sys.argv[2], int(sys.argv[3])))), file=told)
