"""What gets programmed: a file of conductances or weights, as target conductances of an array's cells.

    load_target(file) -> Target -> place(target, geometry) -> cells and their conductances

Inside, conductances are float32 in siemens. Every refusal is a TargetError of one sentence that says where.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from tokenize import TokenError
from typing import Any, Literal, NamedTuple, get_args
from zipfile import BadZipFile

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labctl.array import Cells, Geometry, Scale
from labctl.errors import TargetError
from labctl.units import format_quantity, parse_quantity

Conductance = NDArray[np.float32]
Kind = Literal["single", "differential"]

_ROUNDING = 1e-6  # relative: a weight beyond the limit by no more than float32 rounds is at the limit

# What np.load raises for a file that is damaged, encrypted, of another kind, or holds Python objects.
_NOT_NUMPY = (OSError, EOFError, ValueError, RuntimeError, TokenError, BadZipFile, zlib.error)


@dataclass(frozen=True, slots=True)
class WeightMapping:
    """How a matrix of weights stands in conductances, both ways.

    kind: `differential` holds weight j of a row in the adjacent columns 2j (G+) and 2j + 1 (G-), one of them
    at `g_min`: w = (G+ - G-) / scale. `single` holds it in one cell: w = (G - (g_min + g_max) / 2) / scale.
    g_min, g_max: the range used, S. scale: S per unit of weight; None: whatever takes the largest |w| to the
    end of the range, which `fitted` works out.
    """

    kind: Kind
    g_min: float
    g_max: float
    scale: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise TargetError(f"a mapping is 'single' or 'differential', not {self.kind!r}")
        if not 0 <= self.g_min < self.g_max < math.inf:
            raise TargetError(
                f"a mapping needs 0 <= g_min < g_max, in S, not g_min {self.g_min:g} and g_max {self.g_max:g}"
            )
        if self.scale is not None and not 0 < self.scale < math.inf:
            raise TargetError(f"a mapping's scale is positive, in S per unit of weight, not {self.scale:g}")

    def fitted(self, weights: ArrayLike) -> WeightMapping:
        """This mapping with its scale known: its own, or the one that `weights` (rows, n) set.

        Raises TargetError where they cannot set one.
        """
        return replace(self, scale=self._scale_for(_matrix(weights)))

    def conductance(self, weights: ArrayLike) -> Conductance:
        """S, (rows, n) for `single` and (rows, 2 n) for `differential`, of `weights` (rows, n).

        Raises TargetError, saying where, for a weight that is not finite or is too large for the scale.
        """
        matrix = _matrix(weights)
        scale = self._scale_for(matrix)
        change = matrix * scale
        beyond = np.abs(change) > self._reach * (1 + _ROUNDING)
        _refuse(beyond, matrix, f": this mapping's scale reaches weights of {self._reach / scale:g}")
        if self.kind == "single":
            return self._in_range((self.g_min + self.g_max) / 2 + change)
        pairs = np.stack((np.maximum(change, 0), np.maximum(-change, 0)), axis=-1)
        return self._in_range(self.g_min + pairs.reshape(len(matrix), -1))

    def weights(self, conductance: ArrayLike) -> NDArray[np.float32]:
        """The inverse of `conductance`, for analysis: the weights that conductances stand for.

        conductance: (rows, cols) S as read back, so anywhere, NaN too. Returns (rows, cols) for `single`,
        (rows, cols / 2) for `differential`.
        """
        if self.scale is None:
            raise TargetError("the mapping has no scale yet: use the mapping of the target it made")
        held = np.asarray(conductance, np.float32)
        scale = np.float32(self.scale)
        if self.kind == "single":
            return (held - np.float32((self.g_min + self.g_max) / 2)) / scale
        if held.shape[-1] % 2:
            raise TargetError(f"differential pairs need an even number of columns, not {held.shape[-1]}")
        return (held[..., 0::2] - held[..., 1::2]) / scale

    def _scale_for(self, matrix: NDArray[np.float64]) -> float:
        if self.scale is not None:
            return self.scale
        largest = float(np.abs(matrix).max())
        if largest == 0:
            raise TargetError("every weight is zero and sets no scale: give one, in S per unit of weight")
        return self._reach / largest

    @property
    def _reach(self) -> float:
        """The change of conductance, S, that the largest weight may take."""
        span = self.g_max - self.g_min
        return span / 2 if self.kind == "single" else span

    def _in_range(self, conductance: NDArray[np.float64]) -> Conductance:
        return np.clip(conductance, self.g_min, self.g_max).astype(np.float32)


DEFAULT_MAPPING = WeightMapping("differential", g_min=2e-6, g_max=40e-6)


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """Conductances to program.

    conductance: (rows, cols) S, read-only float32, finite and not negative everywhere. mapping: how weights
    stand in it, with its scale; None where it was given as conductances.
    """

    conductance: Conductance
    name: str
    description: str = ""
    mapping: WeightMapping | None = None

    def __post_init__(self) -> None:
        matrix = _matrix(self.conductance, "S")
        _refuse(matrix < 0, matrix, ": a conductance cannot be negative", "S")
        conductance = matrix.astype(np.float32)
        conductance.flags.writeable = False
        object.__setattr__(self, "conductance", conductance)


class Placement(NamedTuple):
    """A target on an array. cells: (n,) u32 flat indices, ascending. conductance: (n,) float32, S."""

    cells: Cells
    conductance: Conductance


def readable_range(adc: Scale) -> tuple[float, float]:
    """The lowest and highest conductance, S, that `adc` reads without saturating."""
    return adc.offset, adc.offset + adc.step * (adc.top - 1)


def place(
    target: Target, geometry: Geometry, *, within: tuple[float, float], at: tuple[int, int] = (0, 0)
) -> Placement:
    """`target` with its first cell on row and column `at` of an array.

    within: the lowest and highest conductance, S, that the array can hold and verify (`readable_range`).
    Raises TargetError where the target does not fit, or where a conductance is out of that range (the row and
    column it names are the target's own).
    """
    rows, cols = target.conductance.shape
    top, left = at
    with _naming(target.name):
        if top < 0 or left < 0 or top + rows > geometry.rows or left + cols > geometry.cols:
            raise TargetError(
                f"{rows} x {cols} cells from row {top}, column {left} do not fit an array of "
                f"{geometry.rows} x {geometry.cols}: {_what_fits(rows, cols, geometry)}"
            )
        low, high = np.asarray(within, np.float32)
        outside = (target.conductance < low) | (target.conductance > high)
        limits = f"{format_quantity(low, 'S')} to {format_quantity(high, 'S')}"
        _refuse(outside, target.conductance, f": the array takes {limits}", "S")
    cells = np.arange(top, top + rows)[:, np.newaxis] * geometry.cols + np.arange(left, left + cols)
    return Placement(cells.ravel().astype(np.uint32), target.conductance.ravel())


def _what_fits(rows: int, cols: int, geometry: Geometry) -> str:
    """What to change in a target of that shape, or in where it is put."""
    down, right = geometry.rows - rows, geometry.cols - cols
    if down < 0 or right < 0:
        turned = ", as this one transposed" if rows <= geometry.cols and cols <= geometry.rows else ""
        return f"give a target of at most {geometry.rows} x {geometry.cols}{turned}"
    return f"its first cell can be `at` 0,0 to {down},{right}"


def default_target(mapping: WeightMapping = DEFAULT_MAPPING) -> Target:
    """The first layer of a network trained on MNIST, 512 inputs x 256 hidden units.

    As differential pairs it fills an array of 512 x 512.
    """
    shipped = files("labctl.data") / "targets" / "mnist_layer.npz"
    with shipped.open("rb") as stream, np.load(stream) as layer:
        weights = layer["weights"] * layer["weight_scale"]
        return _from_weights(weights, mapping, "mnist_layer", str(layer["description"]))


def load_target(
    path: str | Path,
    *,
    unit: str | None = None,
    mapping: WeightMapping | None = None,
    dataset: str | None = None,
) -> Target:
    """The target in a .npy, .npz, .csv, .h5 or .hdf5 file: conductances in a unit, or weights with a mapping.

    unit: of the conductances, as in `uS`; not needed where the file says it (`units` or `unit`: an attribute
    in HDF5, an array of one text in .npz). mapping: says that the numbers are weights. dataset: which array
    of a file that can hold several; may also follow the path, as in `layers.npz:weights`; not needed where
    only one has two dimensions. A .csv has a row a line, its numbers apart by comma, semicolon or tab; lines
    that begin with # are notes. Raises TargetError.
    """
    file, dataset = _split(path) if dataset is None else (Path(path), dataset)
    name = f"{file.name}:{dataset}" if dataset else file.name
    with _naming(name):
        found = _read(file, dataset)
        if mapping is None:
            return _from_conductances(found, unit, name)
        if unit is not None or found.unit not in (None, "", "1"):
            raise TargetError(f"has a unit ({unit or found.unit}) and a mapping: weights take no unit")
        return _from_weights(found.values, mapping, name, "weights")


class _Found(NamedTuple):
    """What a file holds: values of any shape and type, and the unit it says they are in."""

    values: NDArray[Any]
    unit: str | None


def _from_conductances(found: _Found, unit: str | None, name: str) -> Target:
    said = unit or found.unit
    if not said:
        raise TargetError("has no unit: add one for conductances, as in --unit uS, or a mapping for weights")
    factor = _siemens(said)
    if found.unit and _siemens(found.unit) != factor:
        raise TargetError(f"says that it is in {found.unit}, not {unit}: leave --unit out")
    conductance = (_matrix(found.values) * factor).astype(np.float32)
    return Target(conductance, name, f"conductances in {said}")


def _from_weights(weights: NDArray[Any], mapping: WeightMapping, name: str, description: str) -> Target:
    fitted = mapping.fitted(weights)
    return Target(fitted.conductance(weights), name, description, fitted)


def _siemens(unit: str) -> float:
    """How many S one `unit` is."""
    try:
        return parse_quantity(f"1 {unit}", "S")
    except ValueError:
        raise TargetError(f"{unit!r} is not a unit of conductance: write S, mS, uS or nS") from None


def _split(path: str | Path) -> tuple[Path, str | None]:
    """`layers.npz:weights` as file and array; any other colon belongs to the path, as in `C:/a.npy`."""
    head, separator, dataset = str(path).rpartition(":")
    if separator and Path(head).suffix.lower() in (".npz", ".h5", ".hdf5"):
        return Path(head), dataset
    return Path(path), None


def _read(file: Path, dataset: str | None) -> _Found:
    readers = {
        ".npy": _read_numpy,
        ".npz": _read_numpy,
        ".csv": _read_csv,
        ".h5": _read_hdf5,
        ".hdf5": _read_hdf5,
    }
    reader = readers.get(file.suffix.lower())
    if reader is None:
        raise TargetError(f"a target file ends in {', '.join(readers)}, not {file.suffix!r}")
    if not file.is_file():
        raise TargetError(f"no such file in {file.absolute().parent}")
    return reader(file, dataset)


def _read_numpy(file: Path, dataset: str | None) -> _Found:
    try:
        with file.open("rb") as stream:
            loaded = np.load(stream)
            if isinstance(loaded, np.ndarray):
                _refuse_dataset(dataset)
                return _Found(loaded, None)
            arrays = {name: loaded[name] for name in loaded.files}
    except _NOT_NUMPY as problem:
        raise TargetError("is not a NumPy file of plain numbers") from problem
    chosen = _choose({name: array.shape for name, array in arrays.items()}, dataset)
    return _Found(arrays[chosen], _said_unit(arrays))


def _read_hdf5(file: Path, dataset: str | None) -> _Found:
    import h5py

    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            shapes[name] = item.shape

    try:
        with h5py.File(file) as root:
            root.visititems(note)
            found = root[_choose(shapes, dataset and dataset.strip("/"))]
            return _Found(_unpacked(np.asarray(found), found.attrs), _said_unit(found.attrs))
    except OSError as problem:
        raise TargetError("is not an HDF5 file that can be read") from problem


def _unpacked(stored: NDArray[Any], attributes: Mapping[str, Any]) -> NDArray[Any]:
    """Values of a variable packed as CF has it: offset + scale x code, NaN where the code is its fill."""
    if stored.dtype.kind not in "iuf":
        return stored
    codes = np.where(stored == attributes.get("_FillValue"), np.nan, stored)
    values: NDArray[np.float64] = codes * attributes.get("scale_factor", 1.0) + attributes.get("add_offset", 0.0)
    return values


def _read_csv(file: Path, dataset: str | None) -> _Found:
    _refuse_dataset(dataset)
    try:
        lines = file.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as problem:
        raise TargetError("is not a text file that can be read") from problem
    told = {number: line for number, line in enumerate(lines, 1) if line.strip() and line.lstrip()[0] != "#"}
    if not told:
        raise TargetError("is empty")
    first = next(iter(told))
    separator = next((mark for mark in "\t;" if mark in told[first]), ",")
    rows = {number: _numbers(line.split(separator), number) for number, line in told.items()}
    width = len(rows[first])
    for number, row in rows.items():
        if len(row) != width:
            raise TargetError(f"line {number} has {len(row)} numbers where line {first} has {width}")
    return _Found(np.array(list(rows.values())), None)


def _numbers(fields: list[str], line: int) -> list[float]:
    return [_number(field, line, position) for position, field in enumerate(fields, 1)]


def _number(field: str, line: int, position: int) -> float:
    try:
        return float(field)
    except ValueError:
        raise TargetError(f"line {line}, field {position}: {field.strip()!r} is not a number") from None


def _choose(shapes: Mapping[str, tuple[int, ...]], dataset: str | None) -> str:
    """The name of the array asked for, or of the only one with two dimensions."""
    if dataset is not None:
        if dataset not in shapes:
            raise TargetError(f"has no array {dataset!r}: it holds {_listed(shapes)}")
        return dataset
    matrices = {name: shape for name, shape in shapes.items() if len(shape) == 2}
    if not matrices:
        raise TargetError(f"has no array of two dimensions: it holds {_listed(shapes)}")
    first = next(iter(matrices))
    if len(matrices) > 1:
        raise TargetError(f"holds {_listed(matrices)}: name one after a colon, as in FILE:{first}")
    return first


def _listed(shapes: Mapping[str, tuple[int, ...]], most: int = 8) -> str:
    shown = [f"{name} {shape}" for name, shape in list(shapes.items())[:most]]
    more = [f"{len(shapes) - most} more"] if len(shapes) > most else []
    return ", ".join(shown + more) or "nothing"


def _said_unit(entries: Mapping[str, Any]) -> str | None:
    """The text of `units` or `unit` among the attributes or arrays of a file."""
    said = next((entries[key] for key in ("units", "unit") if key in entries), None)
    if said is None:
        return None
    text = np.asarray(said).ravel()[0]
    return text.decode() if isinstance(text, bytes) else str(text)


def _refuse_dataset(dataset: str | None) -> None:
    if dataset is not None:
        raise TargetError(f"holds one array only, so {dataset!r} cannot be chosen from it")


def _matrix(values: ArrayLike, unit: str = "") -> NDArray[np.float64]:
    """`values` as a new matrix (rows, cols), every number finite, in float32 too. Raises TargetError."""
    array = np.asarray(values)
    if array.dtype.kind not in "iuf":
        raise TargetError(f"holds {array.dtype}, not real numbers")
    if array.ndim != 2:
        raise TargetError(f"has the shape {array.shape}: a target has two dimensions, rows and columns")
    if array.size == 0:
        raise TargetError("is empty")
    matrix = array.astype(np.float64)
    finite = np.abs(matrix) <= np.finfo(np.float32).max
    _refuse(~finite, matrix, ": every place needs a finite number", unit)
    return matrix


def _refuse(bad: NDArray[np.bool_], values: NDArray[Any], why: str, unit: str = "") -> None:
    """Raise TargetError for the first place of a matrix that is `bad`, with its value there."""
    if not bad.any():
        return
    row, col = (int(index) for index in np.unravel_index(bad.argmax(), bad.shape))
    value = float(values[row, col])
    shown = format_quantity(value, unit) if unit else f"{value:g}"
    raise TargetError(f"row {row}, column {col} (counting from 0) is {shown}{why}")


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Begin the sentence of any TargetError raised inside with `name`."""
    try:
        yield
    except TargetError as problem:
        raise TargetError(f"{name}: {problem}") from problem.__cause__
