"""Write the reference of train.py's configuration, docs/configuration.md, from the classes that define it.

python -m tools.configuration [--output FILE]
"""

import argparse
import dataclasses
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import annotated_types
from docstring_parser import parse as parse_docstring

from models.config import HostConfig, TokensConfig
from training.config import FREE_ON_RESUME, TrainingConfig
from utils.config import Within
from utils.files import atomic_write

PAGE = Path(__file__).resolve().parents[1] / "docs" / "configuration.md"
INTRODUCTION = """# Configuration

*Written by `python -m tools.configuration` from the code; a test compares them.*

`train.py` reads its keys from a YAML file, `--config FILE`, and from options, `--KEY VALUE`. Options overrule the file.
`python train.py --help` lists the same keys. An unknown key, a wrong type or a value out of range ends the command with
one line.

```yaml
epochs: 40
detector:
  encoder: mobilenetv2_100
  input_size: [224, 224]
```

```bash
python train.py --config configs/light.yaml --epochs 40 --detector.input_size 224,224 --dry-run
```

Lists are written `1,2` as options. `null` means none. A run records all its keys in `config.yaml`; a resumed run takes
them from there.
"""
NESTED = {"detector.host": HostConfig, "detector.tokens": TokensConfig}
"""Sections that are null by default."""
NAMES = {int: "integer", float: "number", str: "text", bool: "true or false", types.NoneType: "null", Any: "any value"}


@dataclasses.dataclass(frozen=True)
class Key:
    """A key of the configuration: its name, and cells of the table."""

    name: str
    kind: str
    default: str
    meaning: str


def sections(cls: type = TrainingConfig, prefix: str = "") -> Iterator[tuple[str, str, list[Key]]]:
    """Yield name, description and keys of each section, outer ones first."""
    docstring = parse_docstring(cls.__doc__ or "")
    meanings = {each.arg_name: " ".join((each.description or "").split()) for each in docstring.params}
    hints = typing.get_type_hints(cls, include_extras=True)
    keys, inner = [], []
    for each in dataclasses.fields(cls):
        name = f"{prefix}{each.name}"
        section = each.default_factory if dataclasses.is_dataclass(each.default_factory) else NESTED.get(name)
        if section is not None:
            inner.append((name, section))
        if name in NESTED or section is None:
            keys.append(Key(name, _kind(hints[each.name]), _default(each), meanings[each.name]))
    yield prefix.removesuffix("."), docstring.short_description or "", keys
    for name, section in inner:
        yield from sections(typing.cast(type, section), f"{name}.")


def _default(each: dataclasses.Field) -> str:
    if each.default is dataclasses.MISSING:
        if each.default_factory is dataclasses.MISSING:
            return "required"
        return "`{}`" if each.default_factory is dict else f"`{_value(each.default_factory())}`"
    return f"`{_value(each.default)}`"


def _value(value: Any) -> str:
    """Return a value as YAML has it."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_value, value))}]"
    return str(value) or '""'


def _kind(hint: Any, bounds: str = "") -> str:
    """Return a type in words, with its bounds."""
    if typing.get_origin(hint) is typing.Annotated:
        inner, *marks = typing.get_args(hint)
        return _kind(inner, "".join(f" {text}" for mark in marks if (text := _bound(mark))))
    if typing.get_origin(hint) is typing.Literal:
        return ", ".join(f"`{_value(value)}`" for value in typing.get_args(hint))
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return " or ".join(_kind(each) for each in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        first, *rest = typing.get_args(hint)
        return f"list: {_kind(first)}" if rest == [...] else f"{len(rest) + 1} × {_kind(first)}"
    if typing.get_origin(hint) is dict:
        return "named values"
    if dataclasses.is_dataclass(hint):
        return "section"
    return NAMES[hint] + bounds


def _bound(mark: Any) -> str:
    """Return the bounds of a type's mark; empty if it has none."""
    if isinstance(mark, Within):
        return f"{mark.low:g} to {mark.high:g}"
    marks = [mark] if isinstance(mark, annotated_types.BaseMetadata) else getattr(mark, "metadata", [])
    signs = {annotated_types.Gt: ("gt", ">"), annotated_types.Ge: ("ge", "≥"), annotated_types.Lt: ("lt", "<"),
             annotated_types.Le: ("le", "≤")}  # fmt: skip
    found = [(signs[type(each)], each) for each in marks if type(each) in signs]
    return " and ".join(f"{sign} {getattr(each, name):g}" for (name, sign), each in found)


def page() -> str:
    """Return the page."""
    parts = [INTRODUCTION]
    for name, description, keys in sections():
        title = f"## `{name}`" if name else "## The run"
        rows = [f"| `{key.name}` | {key.kind} | {key.default} | {key.meaning} |" for key in keys]
        head = [title, "", description, "", "| key | value | default | meaning |", "| --- | --- | --- | --- |"]
        parts.append("\n".join([*head, *rows, ""]))
    free = ", ".join(f"`{name}`" for name in FREE_ON_RESUME)
    parts.append(
        "## Keys that may change when a run is resumed\n\n"
        f"{free}. Any other change needs `--force`; more `epochs` need none.\n"
    )
    return "\n".join(parts)


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(prog="python -m tools.configuration", description=__doc__, allow_abbrev=False)
    parser.add_argument("--output", type=Path, default=PAGE, metavar="FILE", help="default: docs/configuration.md")
    options = parser.parse_args()
    atomic_write(options.output, page())
    print(options.output)


if __name__ == "__main__":
    main()
