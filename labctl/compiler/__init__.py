"""Ternary layers to programs of an associative array. Pure: nothing here touches hardware, and nothing is fitted."""

from labctl.compiler.compiling import compile_layer
from labctl.compiler.golden import GoldenArray
from labctl.compiler.layers import CompiledLayer, CompileError, Options, Stage, Statistics, TernaryLayer, Words
from labctl.compiler.running import LayerResult, reference, run_layer
from labctl.compiler.tables import NUMBER, TABLES
from labctl.compiler.text import ProgramTextError, assemble, disassemble, expand
from labctl.compiler.truth import after
from labctl.compiler.words import OPERATIONS, Word, emit, program_of

__all__ = [
    "NUMBER",
    "OPERATIONS",
    "TABLES",
    "CompileError",
    "CompiledLayer",
    "GoldenArray",
    "LayerResult",
    "Options",
    "ProgramTextError",
    "Stage",
    "Statistics",
    "TernaryLayer",
    "Word",
    "Words",
    "after",
    "assemble",
    "compile_layer",
    "disassemble",
    "emit",
    "expand",
    "program_of",
    "reference",
    "run_layer",
]
