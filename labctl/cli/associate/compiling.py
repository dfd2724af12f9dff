"""`labctl associate compile`: ternary layers to programs, what they take, and programs as text."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import click

from labctl.associative import AssociativeGeometry
from labctl.cli.associate.layers import NamedLayer, named_layers
from labctl.cli.associate.options import compiling
from labctl.cli.console import print_json, print_table
from labctl.compiler import CompiledLayer, Options, ProgramTextError, assemble, compile_layer, disassemble, expand
from labctl.errors import UsageError
from labctl.units import format_quantity

_ROWS = 65536


@click.command("compile")
@click.argument("network")
@click.option("--layer", help="This one only.")
@compiling
@click.option(
    "--text", type=click.Path(path_type=Path), help="Write the programs of the layer as text into this folder."
)
@click.option("--expand", "expanded", is_flag=True, help="Of a program: print every search, write and shift.")
@click.option("--json", "as_json", is_flag=True, help="Print what they take as JSON.")
def compile_(
    network: str,
    layer: str | None,
    sparsity: float | None,
    seed: int,
    unroll: int,
    order: Literal["outputs", "inputs"],
    cse: bool,
    tracks: int,
    domains: int,
    ports: int,
    text: Path | None,
    expanded: bool,
    as_json: bool,
) -> None:
    """Compile ternary layers to programs of searches and tagged writes, and say what they take.

    NETWORK: resnet18, vgg11, ..., whose weights are drawn; fashion-mnist; an .npz; or the text of a program, which is
    assembled. Nothing is run.
    """
    geometry = AssociativeGeometry(_ROWS, tracks, domains, ports)
    if (path := Path(network)).suffix != ".npz" and path.is_file():
        _assembled(path, geometry, expanded, as_json)
        return
    if expanded:
        raise UsageError("--expand is of one program: write them with --text, and compile one of those")
    chosen = named_layers(network, sparsity, seed)
    if layer is not None:
        chosen = [find_layer(chosen, layer, network)]
    began = time.perf_counter()
    options = Options(unroll=unroll, order=order, cse=cse)
    compiled = [compile_layer(each.ternary, geometry, options) for each in chosen]
    seconds = time.perf_counter() - began
    if text is not None:
        _write(compiled, text)
    if as_json:
        print_json(_values(network, chosen, compiled, seconds))
    else:
        _print(chosen, compiled, seconds)


def find_layer(layers: Sequence[NamedLayer], name: str, network: str) -> NamedLayer:
    """The layer called `name`. Raises UsageError that lists what there is."""
    for each in layers:
        if each.ternary.name == name:
            return each
    known = ", ".join(each.ternary.name for each in layers)
    raise UsageError(f"{network} has no layer {name!r}; there are: {known}")


def _assembled(path: Path, geometry: AssociativeGeometry, expanded: bool, as_json: bool) -> None:
    """What the program whose text is at `path` takes, or what it does, search by search. Raises UsageError."""
    try:
        program = assemble(_read(path))
    except ProgramTextError as problem:
        raise UsageError(f"{path}: {problem}") from None
    if expanded:
        click.echo(expand(program, geometry), nl=False)
        return
    values = {
        "program": program.name or path.stem,
        "digest": program.digest,
        "tables": len(program.tables),
        "instructions": len(program.instructions),
        "passes": program.passes,
    }
    if as_json:
        print_json(values)
    else:
        print_table([(name, f"{value:,}" if isinstance(value, int) else value) for name, value in values.items()])


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        reason = getattr(problem, "strerror", None) or "not a text file"
        raise UsageError(f"{path}: cannot be read as the text of a program: {reason}") from None


def _write(compiled: Sequence[CompiledLayer], folder: Path) -> None:
    """A file a stage of each layer."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for layer in compiled:
            for number, stage in enumerate(layer.stages, start=1):
                path = folder / f"{quote(layer.layer.name, safe='')}-{number}.txt"
                path.write_text(disassemble(stage.program), "utf-8")
    except OSError as problem:
        raise UsageError(f"{folder}: no programs can be written there: {problem.strerror or problem}") from None


def _values(
    network: str, layers: Sequence[NamedLayer], compiled: Sequence[CompiledLayer], seconds: float
) -> dict[str, Any]:
    found = [
        {
            "name": layer.ternary.name,
            "inputs": layer.ternary.inputs,
            "outputs": layer.ternary.outputs,
            "rows": layer.rows,
            **{name: int(getattr(done.statistics, name)) for name in _TOLD},
        }
        for layer, done in zip(layers, compiled, strict=True)
    ]
    summed = ("operations_without_cse", "operations", "passes")
    totals = {name: sum(int(getattr(done.statistics, name)) for done in compiled) for name in summed}
    return {"network": network, **totals, "compile_seconds": seconds, "layers": found}


_TOLD = (
    *("operations_without_cse", "operations", "columns", "stages", "instructions", "passes", "cycles", "searches"),
    *("searched_columns", "writes", "written_columns", "shifts", "loaded_columns", "read_columns"),
)
"""Of a layer's statistics."""


def _print(layers: Sequence[NamedLayer], compiled: Sequence[CompiledLayer], seconds: float) -> None:
    rows = [
        (
            layer.ternary.name,
            f"{layer.ternary.inputs:,} to {layer.ternary.outputs:,}",
            *(f"{getattr(done.statistics, name):,}" for name in _SHOWN),
        )
        for layer, done in zip(layers, compiled, strict=True)
    ]
    totals = [sum(getattr(done.statistics, name) for done in compiled) for name in _SHOWN]
    totals[_SHOWN.index("columns")] = max(done.statistics.columns for done in compiled)
    if len(rows) > 1:
        rows.append(("all", "", *(f"{each:,}" for each in totals)))
    print_table(rows, ("layer", "values", "additions", "shared", "columns", "stages", "passes", "cycles", "shifts"))
    click.echo(f"compiled in {format_quantity(seconds, 's', digits=3)}", err=True)


_SHOWN = ("operations_without_cse", "operations", "columns", "stages", "passes", "cycles", "shifts")
