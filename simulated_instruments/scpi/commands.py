"""What a firmware declares: commands with typed parameters and the handlers that carry them out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from .errors import ScpiError
from .formatting import Answer, Format
from .headers import Path, Tree
from .lexer import Element, begun
from .parameters import Keyword, Numeric, Parameter


@dataclass(frozen=True, slots=True)
class Command:
    """One command, its query, or both.

    header: the pattern, as in `[:SOURce<1:2>]:PULSe:WIDTh` (see `headers`), or a common command as in `*TRG`.
    set: called with the pattern's numeric suffixes and then the converted `parameters`, all positionally.
    query: called likewise with `query_parameters`; what it may return is told by `Response.add`.
    indefinite: the answer is arbitrary text without a type, so nothing can follow it in one message (-440).

    Handlers run one at a time under the instrument's lock and raise ScpiError to refuse. Any other
    exception is a defect of the firmware: it leaves the engine ready for the next message and reaches
    whoever wrote the bytes.
    """

    header: str
    set: Callable[..., None] | None = None
    query: Callable[..., Answer] | None = None
    parameters: Sequence[Parameter] = ()
    query_parameters: Sequence[Parameter] = ()
    indefinite: bool = False

    def __post_init__(self) -> None:
        if self.set is None and self.query is None:
            raise ValueError(f"{self.header!r} does nothing")
        for parameters in (self.parameters, self.query_parameters):
            if any(parameter.repeat for parameter in parameters[:-1]):
                raise ValueError(f"{self.header!r}: only the last parameter can be repeated")
            optional = [parameter.optional for parameter in parameters]
            if optional != sorted(optional):
                raise ValueError(f"{self.header!r}: a parameter that must be sent stands behind an optional one")


class KnownUnit(NamedTuple):
    """What a unit is that begins with a text that came before.

    path: where the next header starts. arguments: suffixes, and the first `converted` elements as the handler takes
    them. parameters: of those that follow.
    """

    command: Command
    path: Path[Command]
    is_query: bool
    arguments: tuple[Any, ...]
    converted: int
    parameters: Sequence[Parameter]


def known_unit(tree: Tree[Command], text: bytes, *, forgiving: bool) -> KnownUnit | None:
    """Of a unit that begins with `text`; None where that depends on anything else, or is wrong."""
    if not text.startswith(b":"):
        return None
    header, is_query, elements = begun(text, forgiving)
    try:
        command, suffixes, path = tree.resolve(tree.root, header)
        parameters = command.query_parameters if is_query else command.parameters
        first = parameters[: len(elements)]
        is_there = command.query if is_query else command.set
        is_simple = all(each.is_fixed and not each.repeat for each in first)
        if is_there is None or len(first) < len(elements) or not is_simple:
            return None
        arguments = convert(first, elements, Format())
    except ScpiError:
        return None
    return KnownUnit(command, path, is_query, (*suffixes, *arguments), len(first), parameters[len(first) :])


def convert(parameters: Sequence[Parameter], elements: Sequence[Element], settings: Format) -> list[Any]:
    """The handler's arguments. Raises ScpiError: -108, -109, or what a parameter finds wrong."""
    missing = len(parameters) - len(elements)
    if missing > 0:
        if not parameters[len(elements)].optional:
            raise ScpiError(-109)
    elif missing < 0:
        if not (parameters and parameters[-1].repeat):
            raise ScpiError(-108)
        parameters = [*parameters, *[parameters[-1]] * -missing]
    return [parameter.convert(element, settings) for parameter, element in zip(parameters, elements, strict=False)]


def setting(header: str, parameter: Parameter, owner: object, attribute: str) -> Command:
    """The command and query of a value that is stored as `owner.attribute`.

    A Numeric with a minimum, maximum or default also answers `HEADer? MINimum` and so on. A setting that
    depends on others is a property of `owner` whose setter raises ScpiError -221.
    """

    def store(value: Any) -> None:
        setattr(owner, attribute, value)

    def recall(bound: str | None = None) -> Answer:
        if bound is None:
            answer: Answer = getattr(owner, attribute)
            return answer
        value = parameter.bound(bound) if isinstance(parameter, Numeric) else None
        if value is None:
            raise ScpiError(-224, bound)
        return value

    bounds = (Keyword("MINimum", "MAXimum", "DEFault", optional=True),) if isinstance(parameter, Numeric) else ()
    return Command(header, set=store, query=recall, parameters=(parameter,), query_parameters=bounds)
