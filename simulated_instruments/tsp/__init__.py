"""Instruments that are programmed in scripts: everything between the bytes on a wire and a firmware's tables."""

from .instrument import TspInstrument
from .tables import Attribute, Function, Table

__all__ = ["Attribute", "Function", "Table", "TspInstrument"]
