"""Typed configurations: dataclasses checked by pydantic, whose errors are one line that names key and remedy."""

import dataclasses
import difflib
import functools
import types
import typing
from collections.abc import Iterable, Iterator
from dataclasses import field
from typing import Annotated, Any, TypeVar

import pydantic.dataclasses
from annotated_types import BaseMetadata, Ge, GroupedMetadata, Le
from pydantic import ConfigDict, Field, Strict, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from utils.text import one_line

Config = TypeVar("Config")

STRICT = ConfigDict(extra="forbid", strict=True)
"""For pydantic dataclasses: unknown keys and other types than the declared ones are refused."""
BelowOne = Annotated[float, Field(ge=0, lt=1)]
"""A number in [0, 1)."""


@dataclasses.dataclass(frozen=True)
class Within(GroupedMetadata):
    """Mark an annotated number as strictly typed and within [low, high]."""

    low: float
    high: float

    def __iter__(self) -> Iterator[BaseMetadata]:
        yield from (Strict(), Ge(self.low), Le(self.high))

    def __repr__(self) -> str:  # `train.py --help` prints it
        return f"{self.low}..{self.high}"


@typing.dataclass_transform(field_specifiers=(field, Field))
def configuration(cls: type[Config]) -> type[Config]:
    """Make a class a pydantic dataclass that refuses unknown keys; decorates the class.

    Its constructor, and so `dataclasses.replace`, raises a ValueError of one line for a bad value.
    """
    made: Any = pydantic.dataclasses.dataclass(config=ConfigDict(extra="forbid"))(cls)
    validated, name = made.__init__, made.__name__.removesuffix("Config").lower()

    @functools.wraps(validated)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            validated(self, *args, **kwargs)
        except ValidationError as error:
            raise ValueError(explained(error, made, name)) from None

    made.__init__ = __init__
    return made


def from_dict(cls: type[Config], values: Any, where: str = "configuration") -> Config:
    """Build a configuration from what `dataclasses.asdict` gave; lists count as tuples.

    Args:
        cls: a class decorated with `configuration`.
        values: named values, which may be untrusted.
        where: what to call them in an error.

    Raises:
        ValueError: an unknown key or a bad value; one line names it and says what it must be.
    """
    try:
        return TypeAdapter(cls).validate_python(values)
    except ValidationError as error:
        raise ValueError(explained(error, cls, where)) from None


def explained(error: ValidationError, cls: type, where: str = "") -> str:
    """Return one line for the first three problems of an error.

    Args:
        error: pydantic's.
        cls: the dataclass that was to be made.
        where: what to call the values; empty: keys are named alone.
    """
    return "; ".join(_problem(each, cls, where) for each in error.errors(include_url=False)[:3])


def _problem(error: ErrorDetails, cls: type, where: str) -> str:
    names = [each.name for each in dataclasses.fields(cls)]
    keys = [names[key] if place == 0 and isinstance(key, int) else key for place, key in enumerate(error["loc"])]
    if error["type"] == "unexpected_keyword_argument":
        *path, unknown = keys
        for key in path:
            cls = _without_none(typing.get_type_hints(cls)[str(key)])
        place = ".".join(map(str, [*([where] if where else []), *path]))
        known = [each.name for each in dataclasses.fields(cls)]
        return f"{place}: {cls.__name__} has no {one_line(unknown, 100)}; {nearest(str(unknown), known)}".lstrip(": ")
    place = ".".join(one_line(key, 100) for key in [*([where] if where else []), *keys])
    text = error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error" and not text.startswith("must "):  # it names its key
        return one_line(f"{where}: {text}".lstrip(": "))
    expected = text.replace("Input should be", "must be")
    expected = expected.replace("less than or equal to", "at most").replace("greater than or equal to", "at least")
    return f"{place} {expected}, not {one_line(repr(error['input']), 100)}"


def nearest(unknown: str, known: Iterable[str]) -> str:
    """Return what to write in place of an unknown key: the known keys that look like it, or else all."""
    known = sorted(known)
    near = difflib.get_close_matches(unknown, known, 3)
    return f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(known)}"


def _without_none(hint: Any) -> Any:
    """Return the class of an optional part's annotation."""
    if isinstance(hint, types.UnionType):
        return next(kind for kind in typing.get_args(hint) if kind is not type(None))
    return hint
