"""The figures of a run that a reader looks for first, each with its 95 % interval, by kind of measurement."""

from __future__ import annotations

from dataclasses import dataclass

from labctl.analysis.characterisation.statistic import Statistic
from labctl.analysis.report.content import Card, Table
from labctl.analysis.report.material import Run
from labctl.analysis.report.words import count, duration, interval_of, spoken, value_of, with_micro

_UNFOLDED = 14  # rows of statistics that are shown without being asked for


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Of the statistics called `name`, the last (over times and voltages) whose brackets hold `inside`."""

    label: str
    name: str
    inside: str = ""
    share: bool = False


_OF_KIND: dict[str, tuple[_Wanted, ...]] = {
    "programming": (
        _Wanted("in window, of targeted", "success", share=True),
        _Wanted("pulses a cell, mean", "pulses_mean"),
        _Wanted("error, standard deviation", "error_sd"),
        _Wanted("error, mean", "error_mean"),
    ),
    "forming": (
        _Wanted("formed, of the cells tried", "forming_yield", share=True),
        _Wanted("forming voltage, median", "forming_voltage_p50"),
        _Wanted("forming voltage, sd", "forming_voltage_sd"),
        _Wanted("conductance after, median", "formed_conductance_p50"),
    ),
    "forming-density": (
        _Wanted("density", "density", share=True),
        _Wanted("voltage of the one pulse", "chosen_voltage"),
        _Wanted("breakdown voltage, mean", "breakdown_mean"),
        _Wanted("conductance after, mean", "formed_conductance_mean"),
    ),
    "map": (
        _Wanted("conductance, median", "conductance_median"),
        _Wanted("robust spread", "conductance_spread"),
        _Wanted("sd between repeats", "repeat_sd_median"),
        _Wanted("pristine", "cells", "kind=pristine", share=True),
    ),
    "iv": (
        _Wanted("conductance, median", "conductance_median"),
        _Wanted("robust spread of cells", "conductance_spread"),
        _Wanted("nonlinearity, median", "nonlinearity_median"),
        _Wanted("offset current, median", "offset_current_median"),
    ),
    "pulse-response": (
        _Wanted("change by a SET pulse", "step_mean", "direction=set"),
        _Wanted("change by a RESET pulse", "step_mean", "direction=reset"),
        _Wanted("end of a SET train", "ramp_end", "direction=set"),
        _Wanted("from train to train, SET, sd", "cycle_sd", "direction=set"),
    ),
    "endurance": (
        _Wanted("failed", "failed", share=True),
        _Wanted("LRS, median", "conductance_median", "state=lrs"),
        _Wanted("HRS, median", "conductance_median", "state=hrs"),
        _Wanted("window, decades", "window_median"),
    ),
    "retention": (
        _Wanted("reached their target", "reached_target", share=True),
        _Wanted("changed by over 2.5 %", "escaped", share=True),
        _Wanted("change, sd", "change_sd"),
        _Wanted("change, mean", "change_mean"),
    ),
    "read-noise": (
        _Wanted("noise in a short window", "noise_short_median", share=True),
        _Wanted("noise over all of it", "noise_long_median", share=True),
        _Wanted("slope of the spectrum", "spectrum_slope_median"),
        _Wanted("jump between two levels", "telegraph_fraction", share=True),
    ),
    "pruning": (
        _Wanted("right on the board", "accuracy_board", share=True),
        _Wanted("right in software", "accuracy_software", share=True),
        _Wanted("area, precision and recall", "pr_auc_board"),
        _Wanted("right after rest, untouched", "accuracy_after", share=True),
        _Wanted("switches a cell, mean", "switches_mean"),
    ),
    "training": (
        _Wanted("right on the board", "accuracy_board", share=True),
        _Wanted("right in float32", "accuracy_baseline", "of=float", share=True),
        _Wanted("bits a character, on the board", "bits_per_char"),
        _Wanted("right after drift, compensated", "accuracy_compensated", share=True),
        _Wanted("SET pulses of updates, a device", "pulses_per_device"),
        _Wanted("weights without a pulse, a batch", "update_sparsity", share=True),
    ),
    "associative-characterisation": (
        _Wanted("a shift goes too far", "shift_over"),
        _Wanted("a shift stays short", "shift_under"),
        _Wanted("margin of a search, in sd", "margin"),
        _Wanted("cells that take both bits", "yield", share=True),
        _Wanted("flips of a cell", "flip_rate"),
    ),
    "associative-alignment": (
        _Wanted("nanowires astray before", "astray_before", share=True),
        _Wanted("nanowires astray after", "astray_after", share=True),
        _Wanted("tracks with some before", "tracks_astray_before"),
    ),
    "associative-selftest": (
        _Wanted("operations that came out wrong", "wrong", "", share=True),
        _Wanted("rows of truth tables that did", "table_wrong", share=True),
        _Wanted("sums of a layer that did", "layer_wrong", share=True),
        _Wanted("shifts of a track", "shifts"),
        _Wanted("searches", "searches"),
    ),
    "associative-inference": (
        _Wanted("right on the chip", "accuracy_chip", share=True),
        _Wanted("right, ternary in software", "accuracy_ternary", share=True),
        _Wanted("right, float in software", "accuracy_float", share=True),
        _Wanted("images with other logits", "differing", share=True),
        _Wanted("time of the board, an image", "seconds_per_image"),
    ),
}


def cards(run: Run) -> list[Card]:
    """A few of what was measured, then what the run took."""
    wanted = _of_steps(run) if run.kind == "step-size" else _OF_KIND.get(run.kind, ())
    found = []
    for each in wanted:
        chosen = run.all_of(each.name, *([each.inside] if each.inside else []))
        if chosen:
            found.append(_card(each, chosen[-1]))
    summary = run.summary
    took = summary.summary.get("elapsed_s")
    if run.recording.is_associative:
        recorded = f"{count(summary.events, 'pass', 'passes')} recorded"
        found.append(Card("actions", f"{summary.operations:,}", note=recorded))
    else:
        found.append(Card("pulses", f"{summary.pulses:,}", note=f"in {count(summary.operations, 'operation')}"))
    if isinstance(took, int | float):
        found.append(Card("time of the computer", duration(float(took))))
    return found


def _card(wanted: _Wanted, each: Statistic) -> Card:
    of = with_micro(each.name.partition("[")[2].rstrip("]"))
    inside = ", ".join(part for part in of.split(", ") if part and part != wanted.inside).replace("=", " ")
    note = "; ".join(part for part in (inside, f"n = {each.n:,}" if each.n else "") if part)
    return Card(wanted.label, value_of(each, wanted.share), interval_of(each, wanted.share), note)


def _of_steps(run: Run) -> tuple[_Wanted, ...]:
    """Cost and success of the shortest and of the longest step."""
    steps = [each.name.partition("[")[2].rstrip("]") for each in run.all_of("success")]
    found = []
    for step in dict.fromkeys([*steps[:1], *steps[-1:]]):
        found += [
            _Wanted("pulses a cell, mean", "pulses_mean", step),
            _Wanted("in window", "success", step, share=True),
        ]
    return tuple(
        _Wanted(f"{each.label} ({with_micro(each.inside).replace('=', ' ')})", each.name, each.inside, each.share)
        for each in found
    )


def statistics_table(run: Run) -> Table | None:
    """Every statistic; folded where there are many."""
    if not run.statistics:
        return None
    rows = []
    for each in run.statistics:
        name, _, of = each.name.rstrip("]").partition("[")
        rows.append(
            (
                spoken(name),
                with_micro(of).replace("=", " "),
                value_of(each),
                interval_of(each),
                f"{each.n:,}" if each.n else "",
                with_micro(each.note),
            )
        )
    many = len(rows) > _UNFOLDED
    title = f"All {len(rows)} statistics" if many else "Statistics"
    return Table(title, ("statistic", "of", "value", "95 % interval", "samples", "note"), rows, (2, 3, 4), folded=many)
