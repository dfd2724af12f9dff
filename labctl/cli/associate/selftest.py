"""`labctl associate selftest`: arithmetic on every row of the array, compared with numpy's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from labctl.cli.associate.compiling import find_layer
from labctl.cli.associate.layers import named_layers
from labctl.cli.procedures import carry_out, common, flat, print_rows, with_bench
from labctl.errors import UsageError
from labctl.proportions import wilson_interval
from labctl.runner import RunResult
from labctl.units import format_quantity


@click.command("selftest")
@click.option("--operations", type=int, help="Random operations at least.  [default: 1000000]")
@click.option("--bits", type=int, help="Of a word, 2 to 24.  [default: 8]")
@click.option("--kinds", help="Some of add,subtract,negate,relu,compare,max, ...  [default: all]")
@click.option("--network", help="Run a layer of this one, too: resnet18, vgg11, ..., fashion-mnist, or an .npz.")
@click.option("--layer", help="Which layer of the network.")
@click.option("--sparsity", type=click.FloatRange(0, 1), help="Share of zeros among drawn weights.  [default: 0.42]")
@click.option("--unroll", type=click.IntRange(1), default=1, show_default=True, help="Of the layer: see `compile`.")
@click.option("--cse/--no-cse", default=True, show_default=True, help="Of the layer: share common subexpressions.")
@common
def selftest(**options: Any) -> None:
    """Do arithmetic on every row of the array, and compare it with numpy's.

    First the truth tables that programs are made of, in all states of their columns; then random words, on columns
    chosen by chance, until so many operations are done; and, where one is named, a ternary layer as a whole, on random
    inputs. What does not agree is counted: it is what is measured.
    """
    given = {name: options.pop(name) for name in ("operations", "bits", "kinds")}
    settings = {name: value for name, value in given.items() if value is not None}
    if "kinds" in settings:
        settings["kinds"] = tuple(each.strip() for each in settings["kinds"].split(",") if each.strip())
    settings |= _layer(options)
    carry_out("associative_selftest", lambda _: settings, print_tested, flat, **with_bench(options, "racetrack-ideal"))


def _layer(options: dict[str, Any]) -> dict[str, Any]:
    """The layer that the `options` name, which are taken out of them, as settings. Raises UsageError."""
    network, name = options.pop("network"), options.pop("layer")
    sparsity, unroll, cse = (options.pop(each) for each in ("sparsity", "unroll", "cse"))
    if network is None and name is None:
        return {}
    if network is None or name is None:
        raise UsageError("--network and --layer go together: a layer of which network?")
    found = find_layer(named_layers(network, sparsity, options["seed"]), name, network).ternary
    told = ("name", "weights", "input_bits", "signed_inputs", "pool", "channel")
    return {"layer": {**{each: getattr(found, each) for each in told}, "unroll": unroll, "cse": cse}}


def print_tested(result: RunResult) -> int:
    """What the self-test found; gives the width of the first column."""
    return print_rows(_rows(result.summary), result)


def _rows(found: Mapping[str, Any]) -> list[tuple[str, Any]]:
    if "operations" not in found:  # stopped before there was anything to tell
        return []
    wrong = found["table_mismatches"]
    return [
        ("truth tables", f"{found['tables']} in {found['table_states']:,} states: {_told(wrong)}"),
        *_of_words(found),
        *_of_layer(found.get("layer")),
        *counted(found),
    ]


def counted(found: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Rows of what the array did: its passes, counters and time."""
    counters = found["counters"]
    return [
        ("passes", f"{found['passes']:,}; {format_quantity(found['board_seconds'], 's')} of the board"),
        ("searches", f"{counters['searches']:,} of {counters['searched_columns']:,} columns in all"),
        ("tagged writes", f"{counters['writes']:,} of {counters['written_columns']:,} columns in all"),
        ("shifts", f"{counters['shifts']:,}{_verified(counters)}"),
        ("to and from", f"{counters['loaded_columns']:,} columns loaded, {counters['read_columns']:,} read"),
    ]


def _of_words(found: Mapping[str, Any]) -> list[tuple[str, Any]]:
    if not found["operations"]:
        return []
    return [
        ("words", f"{found['bits']} bits, on {found['rows']:,} rows at once"),
        *((f"  {kind.replace('_', ' ')}", _counted(each)) for kind, each in found["kinds"].items()),
        ("all operations", _counted(found)),
    ]


def _of_layer(found: Mapping[str, Any] | None) -> list[tuple[str, Any]]:
    if found is None:
        return []
    sums = _counted({"operations": found["sums"], "mismatches": found["mismatches"]})
    took = f"{found['passes']:,} passes, {format_quantity(found['board_seconds'], 's')} of the board"
    return [("layer", f"{found['name']}, {found['inputs']:,} to {found['outputs']:,}: {took}"), ("  its sums", sums)]


def _verified(counters: Mapping[str, int]) -> str:
    if not counters["checks"]:
        return ""
    return f"; {counters['checks']:,} position checks, {counters['realignments']:,} realignments"


def _told(wrong: int) -> str:
    return f"{wrong:,} mismatches" if wrong else "as they should be"


def _counted(found: Mapping[str, Any]) -> str:
    done, wrong = found["operations"], found["mismatches"]
    if not wrong:
        return f"{done:,}, no mismatch"
    low, high = wilson_interval(wrong, done)
    return f"{done:,}, {wrong:,} mismatches: {wrong / done:.3%} (95 %: {low:.3%} to {high:.3%})"
