"""What a run measured, as one labelled array a kind of measurement: from the events of its file alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from labctl.analysis.measurements import (
    arrays,
    associative,
    computed,
    cycling,
    drifting,
    noise,
    programmed,
    pruned,
    sweeps,
    trained,
)
from labctl.analysis.measurements.recording import Recording
from labctl.errors import RecordingError

if TYPE_CHECKING:
    import xarray as xr

_MAKERS: dict[str, Callable[[Recording], xr.Dataset]] = {
    "programming": programmed.programming,
    "step-size": programmed.step_size,
    "forming": arrays.forming,
    "forming-density": arrays.forming_density,
    "map": arrays.region,
    "iv": sweeps.current_voltage,
    "pulse-response": cycling.pulse_response,
    "endurance": cycling.endurance,
    "retention": drifting.retention,
    "read-noise": noise.read_noise,
    "pruning": pruned.pruning,
    "training": trained.training,
    "associative-characterisation": associative.characterisation,
    "associative-alignment": associative.alignment,
    "associative-selftest": computed.selftest,
    "associative-inference": computed.inference,
}
KINDS = tuple(_MAKERS)
"""The kinds of measurement there are, as a run file's attribute `measurement` names them."""


def a_run_of(kind: str) -> str:
    """`an endurance run`, `a programming run`: how messages speak of one of that kind."""
    return f"{'an' if kind[:1] in 'aeiou' else 'a'} {kind} run"


def measurement(tree: xr.DataTree) -> xr.Dataset:
    """What the run `tree` (as `labctl.open_run` gives it) measured, in S, V, A and s.

    Saturated readings are NaN and counted in the attribute `saturated`. Further attributes: `measurement` (the kind),
    `chip_serial`, `cell` (the kind of cells), `rows`, `cols`, and `temperature` (K) where the run's snapshot says it.
    The coordinate `cell` is the flat index. By kind:

    - programming: `target`, `reached`, `initial` (S), `pulses`, `success`, all (cell): cells with a target.
    - step-size: `step_voltage` (V), `pulses`, `success`, `target`, `reached`, all (cell).
    - forming: `forming_voltage` (V; NaN: did not form), `conductance`, `gate` (V), all (cell): cells tried.
    - forming-density: the same of the cells that were pristine, and `sample` (cell): in a row that told the voltage.
      Attributes `density_wanted`, `live` (cells that are not on a dead line), `formed` (of these), `chosen_voltage`,
      and `breakdown_mean`, `breakdown_sd` with `_low` and `_high` (V), NaN where the run does not say them.
    - map: `conductance`, `spread` (row, col): mean and standard deviation over repeats; NaN outside the region.
    - iv: `current` (A), `conductance` = current/voltage (cell, voltage).
    - pulse-response: `conductance` (cell, train, direction, pulse); pulse 0 stands before the train. Attributes
      `amplitude_set`, `amplitude_reset` (V) and `width` (s), NaN where they were not constant.
    - endurance: `conductance` (cell, state, cycle), states `lrs` and `hrs`.
    - retention: `conductance`, `elapsed` (s since the cell was programmed) (cell, time), `target` (cell). Column
      time = 0 is the verify reading after the cell's last pulse.
    - read-noise: `conductance` (cell, sample), `time` (sample), s since the first sample.
    - pruning: of the cells of a network `layer`, `kept` (whether the edge is; 255: its tile is not on the array),
      `formed`, `switches`, `conductance` (cell); `loss`, `accuracy_train`, `accuracy_software` (epoch); `edges_pruned`,
      `edges_reinstated`, `edges_held`, `switched` (cells), `pulses`, `failed`, `verifying` (synchronisation), the first
      one being that of the masks by chance; `switched_of_layer` (synchronisation, of_layer) unless tiles take turns;
      `layer_name` (of_layer). Of a run that ended well also `layer_inputs`, `layer_outputs`, `layer_edges`,
      `layer_kept`, `layer_cells`, `baseline_accuracy` (baseline), `accuracy_after` (rest) with `rest` in s, `confusion`
      (label, predicted), and of segmentation `pictures`, `truth`, `probability` (picture, y, x). Attributes are those
      of the run's summary.
    - training: of the devices of a network `layer`, `pulses_set`, `pulses_reset` (all it was given: to prepare,
      update and refresh it), `conductance` (cell);
      `accuracy_board`, `loss`, of text `bits_per_char` and of a GAN `gan_score` (epoch); `images` seen so far, and
      `stretch_loss`, `stretch_accuracy_train` (both means of the epoch so far), `stretch_rate`, `stretch_pulses`,
      `stretch_resets`, `stretch_refreshed`, `stretch_sparsity` of each part of training that is a step of the run
      (stretch);
      `layer_name` (of_layer). Of a run that ended well also `layer_inputs`, `layer_outputs`, `layer_weights`,
      `layer_cells`, `layer_pulses`, `layer_pulses_per_device`, `layer_resets`, `layer_granule` (weight),
      `layer_weight_per_siemens`, `chi_histogram` (of_layer, chi_bin) over parts of a granule, `conductance_histogram`
      (moment, of_layer, conductance_bin), moments `before` and `after` training, `baseline_accuracy` (baseline),
      `baseline_curve` (baseline, epoch), `accuracy_after` and `accuracy_compensated` (rest) with `rest` in s and
      `compensation` (rest, of_layer), `confusion` (label, predicted), of a GAN `samples` (sample, y, x) and
      `samples_float`. Attributes are those of the run's summary; `accuracy_board` is its accuracy.
    - associative-characterisation: `displaced` (track, direction, displacement), strides of nanowires by how many
      domains they went too far, `position_checks` and `position_misreads` (track), `stride`; `matching`,
      `false_misses`, `mismatching`, `false_matches` (sense_threshold); `cells` and `stuck` (column), `sound_writes` and
      `failed_writes` (way), `read_bits` (read: all, misread); `stored_bits` (stored) and `flipped_bits` (elapsed in s,
      stored); of those of its kinds that were measured.
    - associative-alignment: `before`, `after` (track, offset) nanowires by how far they were ahead of their heads.
    - associative-selftest: `operations`, `mismatches`, `passes`, `board_seconds` (s; kind), `kind` being the names of
      the word operations; of a run that ended well `wrong_bits` (kind, bit), -1 where a result has no such bit.
      `count` (counter): what the array did.
    - associative-inference: `samples` done so far, `differing`, `right_chip`, `right_ternary`, `right_float` (group);
      `layer_name`, `layer_sums`, `layer_sums_mismatched`, `layer_passes`, `layer_board_seconds` (s; of_layer), `count`
      (counter). Of a run that ended well also `layer_inputs`, `layer_outputs`, `layer_operations_without_cse`,
      `layer_operations`, `layer_columns`, and `confusion` (label, predicted).

    Raises RecordingError for a run that is no measurement, or lacks a part of one.
    """
    recording = Recording(tree)
    kind = str(tree.attrs.get("measurement", ""))
    if not kind:
        raise RecordingError(f"a run of `{tree.attrs.get('protocol', '?')}` is no measurement: it names no kind")
    if kind not in _MAKERS:
        raise RecordingError(f"`{kind}` is no kind of measurement known here: {', '.join(KINDS)}")
    made = _MAKERS[kind](recording)
    return made.assign_attrs(recording.attributes() | {"measurement": kind})
