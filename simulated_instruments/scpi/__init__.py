"""An IEEE 488.2 / SCPI-1999 engine: everything between the bytes on a wire and a firmware's handlers.

instrument = Instrument(
    ("Maker", "Model", "serial", "1.0"),
    [
        setting("PULSe:WIDTh", Numeric(unit="S", minimum=1e-8, maximum=1.0, default=1e-7), settings, "width"),
        Command("PULSe:VERify", query=pulse_and_verify,
                query_parameters=(Numeric(integer=True), Block(dtype=np.uint32), Block(dtype=np.uint16))),
    ],
    on_reset=settings.reset,
)
exchange = instrument.connect()
exchange.write(b"PULS:WIDT 100 NS; WIDT?", end=True)
exchange.read(1024)
"""

from .commands import Command, setting
from .errors import ScpiError
from .exchange import Exchange
from .formatting import Answer, ArrayFormat, Format, quoted
from .instrument import Instrument
from .parameters import Block, Boolean, ChannelList, Keyword, Numeric, Parameter, Text
from .status import Register, StandardEvent, Status, StatusByte

__all__ = [
    "Answer",
    "ArrayFormat",
    "Block",
    "Boolean",
    "ChannelList",
    "Command",
    "Exchange",
    "Format",
    "Instrument",
    "Keyword",
    "Numeric",
    "Parameter",
    "Register",
    "ScpiError",
    "StandardEvent",
    "Status",
    "StatusByte",
    "Text",
    "quoted",
    "setting",
]
