"""`labctl associate cost`: what a ternary network takes on associative arrays, beside crossbars with converters."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import click
import numpy as np

from labctl.associative import AssociativeGeometry, Program
from labctl.cli.account_tables import print_account
from labctl.cli.associate.layers import NamedLayer, named_layers
from labctl.cli.associate.options import compiling
from labctl.cli.console import print_json, print_table
from labctl.compiler import Options, Statistics, compile_layer
from labctl.errors import SettingsError
from labctl.learning.accounts import (
    AssociativeLayer,
    Comparison,
    Figures,
    allowed_for_programs,
    arrays_for,
    compare_associative,
    movement_share,
    ratio_without_programs,
)
from labctl.learning.networks import Layer
from labctl.units import format_quantity

_TABLE = "associative"


@click.command("cost")
@click.argument("network")
@compiling
@click.option(
    "--figures",
    "table",
    default=_TABLE,
    show_default=True,
    metavar="NAME|FILE",
    help="associative, associative_access, associative_fefet, or a table of your own.",
)
@click.option("--set", "pairs", multiple=True, metavar="NAME=VALUE", help="Any figure, as in --set search_time=1ns.")
@click.option("--json", "as_json", is_flag=True, help="Print all of it as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
def cost(
    network: str,
    sparsity: float | None,
    seed: int,
    unroll: int,
    order: Literal["outputs", "inputs"],
    cse: bool,
    tracks: int,
    domains: int,
    ports: int,
    table: str,
    pairs: tuple[str, ...],
    as_json: bool,
    quiet: bool,
) -> None:
    """What a sample takes on associative arrays, and on crossbars with converters.

    NETWORK: resnet18, vgg11, ..., whose weights are drawn; fashion-mnist; or an .npz. Every layer is compiled; nothing
    is run. Energies are those of the table of figures: each has its source, and can be set.
    """
    figures = _figures(table, pairs)
    geometry = AssociativeGeometry(1, tracks, domains, ports)
    layers = named_layers(network, sparsity, seed)
    began = time.perf_counter()
    options = Options(unroll=unroll, order=order, cse=cse)
    compiled = [_compiled(layer, geometry, options) for layer in _told(layers, quiet)]
    seconds = time.perf_counter() - began
    counted = [counts for counts, _ in compiled]
    found = compare_associative(counted, figures, bits=layers[0].ternary.input_bits, task=network)
    values = _values(network, found, counted, [statistics for _, statistics in compiled], seconds)
    if as_json:
        print_json(values)
    else:
        _print(values)


def _figures(table: str, pairs: Iterable[str]) -> Figures:
    """A built-in table or a file, with what `--set` changes. Raises SettingsError."""
    figures = Figures.load(table) if table.endswith(".toml") or Path(table).exists() else Figures.named(table)
    given: dict[str, float | str] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise SettingsError(f"--set {pair}: write NAME=VALUE, like --set cell_write_energy=1pJ")
        try:
            given[name] = float(text)
        except ValueError:
            given[name] = text
    figures = figures.changed(given)
    figures.value("associative_rows", "1")  # a table of another system is told before anything is compiled
    return figures


def _told(layers: Sequence[NamedLayer], quiet: bool) -> Iterator[NamedLayer]:
    """`layers`, each told on a terminal before it is given."""
    shown = not quiet and sys.stderr.isatty()
    for number, layer in enumerate(layers, start=1):
        if shown:
            click.echo(f"\r\x1b[Kcompiling {layer.ternary.name}, {number} of {len(layers)}", err=True, nl=False)
        yield layer
    if shown:
        click.echo("\r\x1b[K", err=True, nl=False)


def _compiled(
    layer: NamedLayer, geometry: AssociativeGeometry, options: Options
) -> tuple[AssociativeLayer, Statistics]:
    """What one run of the layer's programs does; the programs, which may be large, are let go."""
    ternary, compiled = layer.ternary, compile_layer(layer.ternary, geometry, options)
    found = compiled.statistics
    counts = AssociativeLayer(
        layer=Layer(ternary.name, layer.inputs, ternary.outputs, layer.products),
        rows=layer.rows,
        tracks=geometry.tracks,
        searches=found.searches,
        searched_columns=found.searched_columns,
        writes=found.writes,
        written_columns=found.written_columns,
        cleared_columns=sum(cleared_columns(stage.program) for stage in compiled.stages),
        shifts=found.shifts,
        loaded_columns=found.loaded_columns,
        read_columns=found.read_columns,
        unfinished_columns=sum(len(stage.output_columns) for stage in compiled.stages if not stage.final),
        instructions=found.instructions,
    )
    return counts, found


def cleared_columns(program: Program) -> int:
    """Columns that the program writes without a search before, in every row."""
    each = [
        sum(len(one.then) - one.then.count("-") for one in table.passes if not set(one.key) - {"-"})
        for table in program.tables
    ]
    return int((np.array(each, np.int64)[program.instructions["table"]] * program.instructions["bits"]).sum())


def _values(
    network: str,
    found: Comparison,
    counted: Sequence[AssociativeLayer],
    statistics: Sequence[Statistics],
    seconds: float,
) -> dict[str, Any]:
    account, (crossbar, _) = found.account, found.references
    arrays = arrays_for(counted, found.figures)
    return {
        "network": network,
        "operations": sum(each.operations for each in statistics),
        "operations_without_cse": sum(each.operations_without_cse for each in statistics),
        "energy_joules": account.energy,
        "crossbar_energy_joules": crossbar.energy,
        "energy_ratio": account.ratio(crossbar),
        "seconds": account.latency,
        "crossbar_seconds": crossbar.latency,
        "cycles": sum(each.cycles for each in statistics),
        "columns": max(each.columns for each in statistics),
        "arrays": arrays.associative,
        "crossbar_arrays": arrays.crossbars,
        "movement_share": movement_share(account),
        "published_movement_share": found.figures.value("published_movement", "1"),
        "limits": [
            {
                "reference": reference.name,
                "ratio_without_programs": ratio_without_programs(account, reference),
                "programs_for_published_ratio": [
                    {"ratio": each.ratio, "factor": allowed_for_programs(account, reference, each.ratio)}
                    for each in found.published
                ],
            }
            for reference in found.references
        ],
        "compile_seconds": seconds,
        "layers": _layers(found, counted, statistics),
        "account": found.as_values(),
    }


def _layers(
    found: Comparison, counted: Sequence[AssociativeLayer], statistics: Sequence[Statistics]
) -> list[dict[str, Any]]:
    here, there = found.account.layers, found.references[0].layers
    return [
        {
            "name": layer.name,
            "inputs": layer.layer.inputs,
            "outputs": layer.layer.outputs,
            "rows": layer.rows,
            "operations_without_cse": done.operations_without_cse,
            "operations": done.operations,
            "columns": done.columns,
            "passes": done.passes,
            "cycles": done.cycles,
            "shifts": layer.shifts,
            "instructions": layer.instructions,
            "loaded_columns": layer.loaded_columns,
            "read_columns": layer.read_columns,
            "energy_joules": here[layer.name][0],
            "seconds": here[layer.name][1],
            "crossbar_energy_joules": there[layer.name][0],
        }
        for layer, done in zip(counted, statistics, strict=True)
    ]


def _print(values: dict[str, Any]) -> None:
    rows = [
        (
            each["name"],
            f"{each['inputs']:,} to {each['outputs']:,}",
            f"{each['rows']:,}",
            f"{each['operations_without_cse']:,}",
            f"{each['operations']:,}",
            f"{each['columns']:,}",
            f"{each['cycles']:,}",
            format_quantity(each["energy_joules"], "J", digits=3),
            format_quantity(each["crossbar_energy_joules"], "J", digits=3),
        )
        for each in values["layers"]
    ]
    header = ("layer", "values", "rows", "additions", "shared", "columns", "cycles", "energy", "on crossbars")
    total = ("all", "", "", f"{values['operations_without_cse']:,}", f"{values['operations']:,}")
    energies = (format_quantity(values[f"{where}energy_joules"], "J", digits=3) for where in ("", "crossbar_"))
    print_table([*rows, (*total, f"{values['columns']:,}", f"{values['cycles']:,}", *energies)], header)
    click.echo()
    print_account(values["account"])
    click.echo()
    print_table(_further(values))


def _further(values: dict[str, Any]) -> list[tuple[str, str]]:
    share, published = values["movement_share"], values["published_movement_share"]
    return [
        ("moving activations", f"{share:.2%} of the energy; published: about {published:.0%}"),
        ("arrays", f"{values['arrays']:,} at once, as layers take turns; {values['crossbar_arrays']:,} crossbars"),
        *(("were programs free", _limit(each)) for each in values["limits"]),
        ("compiled in", format_quantity(values["compile_seconds"], "s", digits=3)),
    ]


def _limit(each: dict[str, Any]) -> str:
    found = [f"{each['ratio_without_programs']:.3g} times, beside {each['reference']}"]
    for published in each["programs_for_published_ratio"]:
        factor, ratio = published["factor"], published["ratio"]
        if factor is not None:
            found.append(f"{ratio:g} times if they took {factor:.2g} of what they do")
    return "; ".join(found)
