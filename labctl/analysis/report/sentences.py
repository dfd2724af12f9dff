"""What came of a run, in the one sentence that an engineer would write at the top of a page."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from labctl.analysis.characterisation.arrays import DEFECTS
from labctl.analysis.characterisation.statistic import Statistic
from labctl.analysis.characterisation.training import what_is_right
from labctl.analysis.report.material import Run, flags_of, wrote
from labctl.analysis.report.words import count, duration, number, percent, quantity, spoken, value_of
from labctl.recording.layout import Outcome

_NOT_TARGETED = ("not_targeted", "excluded", "not_written")


def sentence(run: Run) -> str:
    """How the run ended, where not well, and what it found; of one that found nothing, what it did."""
    ending = _ending(run)
    body = _OF_KIND[run.kind](run) if run.measured is not None and run.kind in _OF_KIND else ""
    body = body or _so_far(run) or _done(run)
    return f"{ending}{body}" if ending else body[0].upper() + body[1:]


def _ending(run: Run) -> str:
    said = f" ({run.summary.message})" if run.summary.message else ""
    return {
        Outcome.INTERRUPTED: f"Interrupted{said}: ",
        Outcome.FAILED: f"Failed{said}: ",
        Outcome.KILLED: "Killed while it ran: ",
        Outcome.LIVE: "Still going on: ",
    }.get(run.summary.outcome, "")


def _done(run: Run) -> str:
    summary = run.summary
    if run.recording.is_associative:
        done = count(summary.operations, "action")
    else:
        done = f"{count(summary.pulses, 'pulse')} and {count(_readings(run), 'reading')}"
    told = f"{done} in {count(summary.steps, 'step')}"
    return f"{told}{'; not enough of it to evaluate' if run.kind and run.measured is None else ''}."


def _readings(run: Run) -> int:
    return int(np.count_nonzero(np.isfinite(run.group("events")["reading"].values)))


def _so_far(run: Run) -> str:
    """Of programming that has not ended: how many cells are in window by its last step that says so."""
    steps = run.group("steps")
    if "in_window" not in steps:
        return ""
    inside = steps["in_window"].values.astype(np.float64)
    known = np.flatnonzero(np.isfinite(inside))
    if not len(known):
        return ""
    active = steps["active"].values.astype(np.float64)[known[-1]] if "active" in steps else math.nan
    left = f", {active:,.0f} were still being programmed" if math.isfinite(active) else ""
    told = f"{inside[known[-1]]:,.0f} cells were in their window at the last step that says so{left}"
    return f"{told}; {count(run.summary.pulses, 'pulse')} so far."


def _programming(run: Run) -> str:
    ended = _outcomes(run)
    if not ended:
        return ""  # it ended before it said so
    targeted = sum(ended.values())
    never = ended.pop("never_formed", 0)
    formed = targeted - never
    if not formed:
        return f"none of {count(targeted, 'targeted cell')} was formed."
    inside = ended.pop("in_window", 0)
    others = [
        f"{percent(many / formed)} {spoken(name)}"
        for name, many in sorted(ended.items(), key=lambda each: -each[1])
        if many
    ]
    parts = [
        f"{percent(inside / formed)} of {count(formed, 'formed cell')} {_goal(run)}",
        ", ".join(others),
        f"{_pulses(run)} pulses a cell",
    ]
    if never:
        parts.append(f"{count(never, 'cell')} never formed")
    return "; ".join(each for each in parts if each) + "."


def _outcomes(run: Run) -> dict[str, int]:
    """How many targeted cells ended in which way."""
    outcome = run.group("maps")["outcome"]
    if not wrote(outcome):
        return {}
    names = {code: name for code, name in flags_of(outcome).items() if name not in _NOT_TARGETED}
    return {name: int(np.count_nonzero(outcome.values == code)) for code, name in names.items()}


def _goal(run: Run) -> str:
    """What `in window` means: a distance, where it was one for all cells."""
    tolerance = run.settings.get("tolerance")
    own = any(run.settings.get(name) is not None for name in ("tolerances", "window_low", "window_high"))
    if isinstance(tolerance, int | float) and not own:
        return f"within {quantity(float(tolerance), 'S')} of their targets"
    return "in their windows"


def _pulses(run: Run) -> str:
    """Mean over cells that could be programmed."""
    outcome, pulses = run.group("maps")["outcome"], run.map("pulses_per_cell")
    names = {name: code for code, name in flags_of(outcome).items()}
    left_out = [names[name] for name in (*_NOT_TARGETED, "never_formed") if name in names]
    if pulses is None:
        return "–"
    return number(float(np.nanmean(np.where(np.isin(outcome.values, left_out), np.nan, pulses))), 3)


def _forming(run: Run) -> str:
    parts = []
    for share in run.all_of("forming_yield"):
        gate = share.name.partition("gate=")[2].rstrip("]")
        gated = (f"gate={gate}",) if gate else ()
        at_gate = f" at a gate of {gate}" if gate else ""
        if not share.value:
            parts.append(f"none of {count(share.n, 'cell')} tried formed{at_gate}")
            continue
        low, middle, high = (
            next((value_of(each) for each in run.all_of(f"forming_voltage_p{part}", *gated)), "–")
            for part in (5, 50, 95)
        )
        after = next((value_of(each) for each in run.all_of("formed_conductance_p50", *gated)), "–")
        told = f"{percent(share.value)} of {count(share.n, 'cell')} tried formed"
        at = f"{middle} ({low} to {high} for 90\u00a0% of them)"
        parts.append(f"{told}{at_gate}: at {at}, to {after}")
    return "; ".join(parts) + "." if parts else ""


def _forming_density(run: Run) -> str:
    density, wanted = run.find("density"), run.find("density_wanted")
    if density is None or wanted is None:
        return ""
    told = f"{percent(density.value)} of {count(density.n, 'cell')} conduct, where {percent(wanted.value)} were wanted"
    volts, mean, sd = (run.find(name) for name in ("chosen_voltage", "breakdown_mean", "breakdown_sd"))
    after, spread = run.find("formed_conductance_mean"), run.find("formed_conductance_sd")
    parts = [told]
    if volts is not None:
        parts.append(f"one pulse of {value_of(volts)}")
    if mean is not None and sd is not None:
        parts.append(f"cells break down at {value_of(mean)} with a standard deviation of {value_of(sd)}")
    if after is not None and spread is not None and math.isfinite(after.value):
        parts.append(f"formed ones conduct {value_of(after)} on average, standard deviation {value_of(spread)}")
    return "; ".join(parts) + "."


def _map(run: Run) -> str:
    shares = {each.name.partition("kind=")[2].rstrip("]"): each for each in run.all_of("cells")}
    middle, spread = run.find("conductance_median"), run.find("conductance_spread")
    read = next(iter(shares.values())).n if shares else 0
    if middle is None or spread is None:
        return f"none of {count(read, 'cell')} read is formed."
    odd = [
        f"{percent(each.value)} {name}"
        for name, each in shares.items()
        if name not in ("good",) and each.value and name in DEFECTS
    ]
    formed = f"{value_of(middle)} in the median of {count(middle.n, 'formed cell')}"
    told = f"{formed} of {count(read, 'cell')} read, robust spread {value_of(spread)}"
    return f"{told}{'; ' + ', '.join(odd) if odd else ''}."


def _iv(run: Run) -> str:
    found = run.all_of("conductance_median")
    if not found:
        return ""
    at = found[0].name.partition("voltage=")[2].rstrip("]")
    told = f"{value_of(found[0])} in the median of {count(found[0].n, 'cell')} at {at}"
    bent = run.find("nonlinearity_median")
    return f"{told}; the current is that of G V (1 + a V²) with a = {value_of(bent)}." if bent else f"{told}."


def _pulse_response(run: Run) -> str:
    parts = []
    for direction in ("set", "reset"):
        inside = f"direction={direction}"
        step, start, end = (_first(run.all_of(name, inside)) for name in ("step_mean", "ramp_start", "ramp_end"))
        if step and start and end:
            way = f"{value_of(start)} to {value_of(end)}"
            parts.append(
                f"a {direction.upper()} pulse changes a cell by {value_of(step)} on average (trains from {way})"
            )
    cells = run.measured.sizes["cell"] if run.measured is not None else 0
    return f"{', '.join(parts)}; {count(cells, 'cell')}." if parts else ""


def _endurance(run: Run) -> str:
    lrs, hrs = (_first(run.all_of("conductance_median", f"state={name}")) for name in ("lrs", "hrs"))
    window, failed = run.find("window_median"), run.all_of("failed")
    if not (lrs and hrs and window and failed) or run.measured is None:
        return ""
    cycles = int(run.measured["cycle"].values.max())
    share = f"{percent(failed[-1].value)} of {count(failed[-1].n, 'cell')} had failed after {count(cycles, 'cycle')}"
    apart = f"{window.value:.2g} decades apart in the median"
    return f"{share}; {value_of(lrs)} and {value_of(hrs)} in the two states, {apart}."


def _retention(run: Run) -> str:
    escaped, spread, scale = run.all_of("escaped"), run.all_of("change_spread"), run.find("full_scale")
    if not escaped or not spread or scale is None:
        return ""
    after = escaped[-1].name.partition("time=")[2].rstrip("]")
    told = (
        f"{percent(escaped[-1].value)} of {count(escaped[-1].n, 'cell')} had changed by over 2.5 % of {value_of(scale)}"
    )
    return f"{told} after {after}; robust spread of the change {value_of(spread[-1])}."


def _read_noise(run: Run) -> str:
    short, jumping = run.all_of("noise_short_median"), run.find("telegraph_fraction")
    if not short:
        return ""
    window = short[0].name.partition("window=")[2].rstrip("]")
    told = (
        f"read noise of {percent(short[0].value)} of the reading within {window}, median of {count(short[0].n, 'cell')}"
    )
    return f"{told}; {percent(jumping.value)} of them jump between two levels." if jumping else f"{told}."


def _step_size(run: Run) -> str:
    success, pulses = run.all_of("success"), run.all_of("pulses_mean")
    if not success or len(success) != len(pulses):
        return ""
    steps = [each.name.partition("step=")[2].rstrip("]") for each in success]
    cheapest = int(np.argmin([each.value for each in pulses]))
    first, last, least = (number(pulses[place].value, 3) for place in (0, -1, cheapest))
    told = f"steps of {steps[0]} to {steps[-1]} took {first} to {last} pulses a cell"
    inside = percent(success[cheapest].value)
    best = f"fewest at {steps[cheapest]}: {least}, with {inside} in window"
    return f"{told}; {best}."


def _pruning(run: Run) -> str:
    board, software = run.find("accuracy_board"), run.find("accuracy_software")
    switches, areas = run.find("switches_mean"), run.find("pr_auc_board")
    if software is None:
        return _so_far_pruned(run)
    parts = [f"{percent(software.value)} right in software"]
    if board is not None:
        of = f"{count(board.n, 'test sample')} right" if board.value and not areas else "the pixels right"
        parts.insert(0, f"{percent(board.value)} of {of} on the board")
    if areas is not None:
        parts.append(f"an area of {number(areas.value)} under precision and recall")
    rested, verified = run.all_of("accuracy_after"), run.find("accuracy_verified")
    if rested and run.measured is not None:
        told = f"{percent(rested[-1].value)} after {duration(float(run.measured['rest'].values[-1]))} of rest"
        parts.append(f"{told}, {percent(verified.value)} once verified" if verified else told)
    if switches is not None:
        parts.append(f"{number(switches.value, 3)} switches a cell")
    return "; ".join(parts) + "."


def _so_far_pruned(run: Run) -> str:
    """Of one that has not ended: as far as training has come."""
    measured = run.measured
    if measured is None or not measured.sizes["epoch"]:
        return "the network stands on the array; no epoch of training has ended."
    accuracy = percent(float(measured["accuracy_software"].values[-1]))
    done = count(int(measured["epoch"].values[-1]), "epoch")
    return f"{accuracy} of the test samples right in software after {done}."


def _training(run: Run) -> str:
    board, measured = run.find("accuracy_board"), run.measured
    if board is None or measured is None or not run.recording.summary:
        return _so_far_trained(run)
    of = f"{board.n:,}" if board.n else "the"
    parts = [f"{percent(board.value)} of {of} {what_is_right(measured)} on the board"]
    if (in_float := run.find("accuracy_baseline[of=float]")) is not None:
        parts.append(f"{percent(in_float.value)} in float32")
    bits = [run.find(name) for name in ("bits_per_char", "bits_per_char_float")]
    if bits[0] is not None:
        beside = f", {bits[1].value:.3f} in float32" if bits[1] is not None else ""
        parts.append(f"{bits[0].value:.3f} bits a character{beside}")
    plain, compensated = (run.all_of(f"accuracy_{name}") for name in ("after", "compensated"))
    if plain and compensated:
        told = f"{percent(plain[-1].value)} after {duration(float(measured['rest'].values[-1]))} of drift"
        parts.append(f"{told}, {percent(compensated[-1].value)} with drift compensated")
    if (pulses := run.find("pulses_per_device")) is not None:
        parts.append(f"{number(pulses.value, 3)} SET pulses a device")
    return "; ".join(parts) + "."


def _so_far_trained(run: Run) -> str:
    """Of one that has not ended: as far as training has come."""
    measured = run.measured
    if measured is None or not measured.sizes["stretch"]:
        return "the network stands on the array; it has learnt nothing yet."
    seen = f"{int(measured['images'].values[-1]):,} training samples seen"
    epochs = count(measured.sizes["epoch"], "epoch")
    board = run.find("accuracy_board")
    return f"{percent(board.value)} right on the board after {epochs}; {seen}." if board else f"{seen}."


def _associative(run: Run) -> str:
    """Of the kinds that were measured."""
    parts = []
    over, under, margin = (run.find(name) for name in ("shift_over", "shift_under", "margin"))
    if over is not None and under is not None:
        parts.append(f"of shifts by one domain {number(over.value, 3)} too far and {number(under.value, 3)} short")
    if margin is not None:
        parts.append(f"searches {number(margin.value, 3)} sd from either error")
    if (taken := run.find("yield")) is not None:
        parts.append(f"{percent(taken.value)} of {count(taken.n, 'cell')} take both bits")
    if (rate := run.find("flip_rate")) is not None:
        value = rate.value if rate.value or rate.high is None else rate.high
        parts.append(f"{'' if rate.value else 'less than '}{number(value, 3)} flips of a cell a second")
    return "; ".join(parts) + "." if parts else ""


def _alignment(run: Run) -> str:
    before, after = run.find("astray_before"), run.find("astray_after")
    if before is None or after is None:
        return ""
    was, left = (round(each.value * each.n) for each in (before, after))
    return f"{was:,} of {count(before.n, 'nanowire')} were astray, {left:,} are."


def _selftest(run: Run) -> str:
    wrong, tables, layer = (run.find(name) for name in ("wrong", "table_wrong", "layer_wrong"))
    parts = []
    if wrong is not None and run.measured is not None:
        bits = int(run.measured.attrs["bits"])
        parts.append(f"{_mismatches(wrong)} of {count(wrong.n, 'operation')} on words of {bits} bits")
    if layer is not None:
        parts.append(f"{_mismatches(layer)} of {count(layer.n, 'sum')} of a layer")
    if tables is not None:
        parts.append(f"{_mismatches(tables)} of {count(tables.n, 'row')} of truth tables")
    return "; ".join(parts) + "." if parts else ""


def _inference(run: Run) -> str:
    wrong, chip, ternary = run.find("wrong"), run.find("accuracy_chip"), run.find("accuracy_ternary")
    if wrong is None:
        return ""
    sums = f"{_mismatches(wrong)} of {count(wrong.n, 'sum')}"
    if chip is None or ternary is None:
        return f"{sums}."
    right = f"{percent(chip.value)} of {count(chip.n, 'test image')} right on the chip"
    return f"{right}, {percent(ternary.value)} by the same network in software; {sums}."


def _mismatches(share: Statistic) -> str:
    """How many a share is of its samples."""
    return f"{count(round(share.value * share.n), 'mismatch', 'mismatches')}"


def _first(found: list[Statistic]) -> Statistic | None:
    return found[0] if found else None


_OF_KIND: dict[str, Callable[[Run], str]] = {
    "programming": _programming,
    "forming": _forming,
    "forming-density": _forming_density,
    "map": _map,
    "iv": _iv,
    "pulse-response": _pulse_response,
    "endurance": _endurance,
    "retention": _retention,
    "read-noise": _read_noise,
    "step-size": _step_size,
    "pruning": _pruning,
    "training": _training,
    "associative-characterisation": _associative,
    "associative-alignment": _alignment,
    "associative-selftest": _selftest,
    "associative-inference": _inference,
}
