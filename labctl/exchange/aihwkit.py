"""A device as a noise model of IBM's Analog Hardware Acceleration Kit (aihwkit 1.1).

Its PCM-like model has a programming error that is normal, with a standard deviation that is a polynomial of the target;
a drift exponent per device, G = G0 (t/t0)^-nu, normal by level; and 1/f read noise. The exported module sets all three.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from labctl.errors import ExportError
from labctl.exchange.devices import ByLevel, Device, Floats, Relaxation
from labctl.exchange.modules import DIGITS, heading, literal, write_files

_T_READ = 250e-9
_REFERENCE_TIME = 1.0
"""s: the drift counts from the measured time nearest to this."""
_SMALLEST = 0.02
"""Of its level: no more of a conductance than all but this is lost on average."""
_LIMITS = (
    "Programming errors are normal here: tails beyond three standard deviations are not kept.",
    "Drift is a power law of one exponent a device: a change that comes and goes with time is not kept.",
    "Read noise is the model's own, 0.0088 (g/g_max)^-0.65 sqrt(log((t + t_read)/(2 t_read))), scaled to the measured.",
    "The programming error has no mean: a mean change is 0 at t_0 and right at the last measured time.",
    "Programming error, drift and read noise are independent of each other; their spreads add up to those measured.",
)

_MODULE = '''
from numpy import interp
from torch import Tensor, from_numpy, randn_like

from aihwkit.inference.converter.conductance import SinglePairConductanceConverter
from aihwkit.inference.noise.pcm import CustomDriftPCMLikeNoiseModel

{numbers}


class MeasuredNoiseModel(CustomDriftPCMLikeNoiseModel):
    """aihwkit's model with the measured coefficients, in which conductances may rise as well as fall."""

    def generate_drift_coefficients(self, g_target: Tensor) -> Tensor:
        """Drift exponents, (same shape); negative ones are those of devices whose conductance rises."""
        table = self.custom_drift_model
        target = g_target.detach().cpu().numpy()
        mean, spread = (
            from_numpy(interp(target, table["g_lst"], table[name])).type_as(g_target)
            for name in ("nu_mean_lst", "nu_std_lst")
        )
        return (mean + spread * randn_like(g_target)) * self.drift_scale


def noise_model(**changes):
    """The noise model, for `InferenceRPUConfig(noise_model=noise_model())`."""
    settings = {{
        "custom_drift_model": {{"g_lst": DRIFT_LEVELS, "nu_mean_lst": DRIFT_MEAN, "nu_std_lst": DRIFT_SPREAD}},
        "prog_coeff": PROGRAMMING,
        "g_converter": SinglePairConductanceConverter(g_max=G_MAX),
        "t_0": T_0,
        "t_read": T_READ,
        "read_noise_scale": READ_NOISE_SCALE,
    }}
    return MeasuredNoiseModel(**(settings | changes))
'''


class Coefficients(NamedTuple):
    """What the model takes. g_max, levels in uS; programming: (3,) uS; t_0 in s."""

    g_max: float
    programming: Floats
    levels: Floats
    drift_mean: Floats
    drift_spread: Floats
    t_0: float
    read_noise_scale: float


def export(device: Device, path: Path, *, overwrite: bool = False) -> list[Path]:
    """Write the module at `path`. Raises ExportError where the device tells neither programming error nor change, or
    where `path` exists already and is not to be overwritten.
    """
    if device.relaxation is None and device.programming is None:
        raise ExportError(f"{device.name}: aihwkit's model needs the programming error or the change after programming")
    found = coefficients(device)
    numbers = [
        f"G_MAX = {found.g_max:.{DIGITS}g}  # uS",
        "",
        "# Standard deviation of the programming error in uS: sum of c_i (g/G_MAX)^i.",
        literal("PROGRAMMING", found.programming),
        "",
        "# Drift exponents by level in uS: G = G(t_0) (t/t_0)^-nu, t counting from t_0 after programming.",
        literal("DRIFT_LEVELS", found.levels),
        literal("DRIFT_MEAN", found.drift_mean),
        literal("DRIFT_SPREAD", found.drift_spread),
        f"T_0 = {found.t_0:.6g}  # s",
        "",
        f"T_READ = {_T_READ:g}  # s",
        f"READ_NOISE_SCALE = {found.read_noise_scale:.4g}",
    ]
    title = f"Noise model of {device.name} for aihwkit."
    text = heading(title, device.sources, (*device.notes, *_LIMITS)) + _MODULE.format(numbers="\n".join(numbers))
    return write_files({path: text}, overwrite=overwrite)


def coefficients(device: Device) -> Coefficients:
    """The coefficients of aihwkit's model nearest to the device."""
    g_max = float(f"{device.g_max * 1e6:.{DIGITS}g}")  # as written: aihwkit refuses a range beyond the drift's levels
    errors, t_0 = _error_at_reference(device)
    scale = _read_noise_scale(device.noise, device.g_max, t_0)
    noise = scale * _model_noise(errors.levels, device.g_max, _last_time(device.relaxation))
    mean, spread = _drift(device.relaxation, errors, _own_error(device, errors.levels), noise, t_0)
    inner = np.clip(errors.levels * 1e6, 0, g_max)
    ends = np.concatenate([[0.0], inner, [g_max]])
    kept = np.concatenate([[True], np.diff(ends) > 1e-9 * g_max])
    drift_mean, drift_spread = (np.concatenate([each[:1], each, each[-1:]])[kept] for each in (mean, spread))
    return Coefficients(g_max, _polynomial(errors, device.g_max), ends[kept], drift_mean, drift_spread, t_0, scale)


def _error_at_reference(device: Device) -> tuple[ByLevel, float]:
    """The error at the time that drift counts from: of programming, and of what changed until then."""
    programming, relaxation = device.programming, device.relaxation
    if relaxation is None:
        assert programming is not None
        return programming, _REFERENCE_TIME
    column = _reference(relaxation)
    changed = relaxation.at(column)
    if programming is None:
        return changed, float(relaxation.times[column])
    spread = np.hypot(_own_error(device, changed.levels), changed.spread)
    return ByLevel(changed.levels, changed.mean, spread), float(relaxation.times[column])


def _own_error(device: Device, levels: Floats) -> Floats:
    """(n,) S: standard deviation of programming itself at the levels; 0 where it was not measured."""
    if device.programming is None:
        return np.zeros(len(levels))
    found: Floats = np.interp(levels, device.programming.levels, device.programming.spread)
    return found


def _reference(relaxation: Relaxation) -> int:
    return int(np.abs(np.log(relaxation.times / _REFERENCE_TIME)).argmin())


def _drift(
    relaxation: Relaxation | None, errors: ByLevel, own: Floats, noise: Floats, t_0: float
) -> tuple[Floats, Floats]:
    """Mean and standard deviation of nu at the levels; both 0 where nothing was measured after t_0.

    They take the mean and the spread of the last measured time, on top of the other parts (noise: (n,), relative, at
    that time), which are independent of drift in the model. The measured change does not hold the error of programming
    itself (own: (n,) S), which the spread about the target does: it counts on both sides. With L = log(t/t_0),
    G0 exp(-nu L) is lognormal: sd/mean = sqrt(exp(L^2 sd(nu)^2) - 1), mean/G0 = exp(L^2 sd(nu)^2/2 - L mean(nu)).
    """
    if relaxation is None or relaxation.times[-1] <= t_0:
        return np.zeros(len(errors.levels)), np.zeros(len(errors.levels))
    logs = float(np.log(relaxation.times[-1] / t_0))
    last = relaxation.at(-1)
    mean = np.maximum(last.levels + last.mean, _SMALLEST * last.levels)
    others = (errors.spread * mean / last.levels) ** 2 + (noise * mean) ** 2
    relative = np.maximum(last.spread**2 + own**2 - others, 0) / mean**2
    spread = np.sqrt(np.log1p(relative)) / logs
    return logs * spread**2 / 2 - np.log(mean / last.levels) / logs, spread


def _polynomial(errors: ByLevel, g_max: float) -> Floats:
    """(3,) uS: least squares of the standard deviation; of a lower degree where a parabola would go below 0."""
    place, spread = errors.levels / g_max, errors.spread * 1e6
    for degree in range(min(2, len(place) - 1), -1, -1):
        found = np.polynomial.polynomial.polyfit(place, spread, degree)
        if np.polynomial.polynomial.polyval(np.linspace(0, 1, 101), found).min() >= 0:
            break
    return np.concatenate([found, np.zeros(2 - degree)])


def _read_noise_scale(noise: ByLevel | None, g_max: float, t_0: float) -> float:
    """What scales the model's read noise at t_0 to the measured one, least squares over levels; 0: not measured."""
    if noise is None:
        return 0.0
    own = _model_noise(noise.levels, g_max, t_0) * noise.levels
    return float((own @ noise.spread) / (own @ own))


def _model_noise(levels: Floats, g_max: float, time: float) -> Floats:
    """(n,) relative standard deviation that the model's own formula gives reads at so many s."""
    strength = np.minimum(0.0088 / np.maximum((levels / g_max) ** 0.65, 1e-3), 0.2)
    found: Floats = strength * np.sqrt(np.log((time + _T_READ) / (2 * _T_READ)))
    return found


def _last_time(relaxation: Relaxation | None) -> float:
    return _REFERENCE_TIME if relaxation is None else float(relaxation.times[-1])
