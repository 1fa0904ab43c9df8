"""Lists as a user writes them: without brackets, names as text, and one number for a square.

    --data.exclude 0003 0009        --data.exclude 0003,0009        --data.exclude=       (an empty list)
    --detector.input_size 448       --detector.input_size 448,320   --weights_kept 1 4

Brackets (`[448, 320]`) work too, but shells expand them. In a YAML file, `input_size: 448` and `exclude: 0003` do.
Names stay text as written, quoted or not: YAML alone takes 0003 for the number 3 and 12:30 for 750.
"""

import dataclasses
import json
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence

import yaml

TEXT, VALUES, SIZE = "text", "values", "size"
"""Kinds of lists: names, values, and two numbers of which one alone means both."""

SIZES = ("input_size", "encoder_size", "grid")
_NULL = ("null", "~", "")


def list_keys(cls: type, prefix: str = "") -> dict[str, str]:
    """Return the kind of every list among a dataclass's settings, by dotted key."""
    found: dict[str, str] = {}
    for name, hint in typing.get_type_hints(cls).items():
        for each in typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,):
            if dataclasses.is_dataclass(each) and isinstance(each, type):
                found |= list_keys(each, f"{prefix}{name}.")
            elif typing.get_origin(each) is tuple:
                is_text = typing.get_args(each)[0] is str
                found[prefix + name] = TEXT if is_text else SIZE if name in SIZES else VALUES
    return found


def arguments_with_lists(arguments: Sequence[str], keys: Mapping[str, str]) -> list[str]:
    """Return a command line whose lists stand in brackets, each in the argument of its `--key`.

    Args:
        arguments: a list's items are one argument with commas, or several arguments up to the next option.
        keys: the kinds of the lists, as `list_keys` returns them.
    """
    made, left = [], list(arguments)
    while left:
        argument = left.pop(0)
        option, has_value, value = argument.partition("=")
        kind = keys.get(option.removeprefix("--")) if option.startswith("--") else None
        if kind is None:
            made.append(argument)
            continue
        items = [value] if has_value else []
        while not has_value and left and not re.match(r"-\D|--", left[0]):
            items.append(left.pop(0))
        made.append(f"{option}={_bracketed(items, kind)}")
    return made


def _bracketed(items: Sequence[str], kind: str) -> str:
    """Return the items of a list in brackets; what is a list in brackets, or null, already stays so."""
    whole = " ".join(items)
    node = _composed(whole)
    if isinstance(node, yaml.SequenceNode):
        return (_names(node) if kind == TEXT else None) or whole
    if isinstance(node, yaml.ScalarNode) and node.value in _NULL and whole.strip():
        return whole
    return _listed([part for item in items for part in item.split(",")], kind)


def _listed(parts: Sequence[str], kind: str) -> str:
    names = [part.strip() for part in parts if part.strip()]
    if kind == TEXT:
        return json.dumps(names, ensure_ascii=False)
    return f"[{', '.join(names * 2 if kind == SIZE and len(names) == 1 else names)}]"


def with_lists(configuration: str, keys: Mapping[str, str]) -> str:
    """Return a YAML configuration whose lists stand in brackets, names in quotes."""
    found = [(node, keys[key]) for key, node in _nodes(_composed(configuration)) if key in keys]
    for node, kind in sorted(found, key=lambda each: -each[0].start_mark.index):
        configuration = _replaced(configuration, node, kind)
    return configuration


def _nodes(node: yaml.Node | None, prefix: str = "") -> Iterator[tuple[str, yaml.Node]]:
    """Yield the dotted key and the value of everything in nested mappings."""
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        if isinstance(key, yaml.ScalarNode):
            yield f"{prefix}{key.value}", value
            yield from _nodes(value, f"{prefix}{key.value}.")


def _replaced(text: str, node: yaml.Node, kind: str) -> str:
    start, end = node.start_mark.index, node.end_mark.index
    if isinstance(node, yaml.ScalarNode):
        if node.value in _NULL and not node.style:
            return text
        made = _listed([node.value] if node.style else node.value.split(","), kind)
        return f"{text[:start]}{made}{text[end:]}"
    names = _names(node) if kind == TEXT else None
    if names is None:
        return text
    assert isinstance(node, yaml.SequenceNode)
    if node.flow_style:
        return f"{text[:start]}{names}{text[end:]}"
    # A block list ends where the next key begins, so its line break is put back; the list moves below its key.
    line = text.rindex("\n", 0, start) + 1
    return f"{text[:line]}{' ' * (node.start_mark.column + 4)}{names}\n{_rest(text, end)}"


def _rest(text: str, end: int) -> str:
    """Return the text from the line on that a block ends before."""
    return text[text.rindex("\n", 0, end) + 1 :] if "\n" in text[:end] else text[end:]


def _names(node: yaml.Node | None) -> str | None:
    """Return a list of scalars as JSON, which is YAML; None of anything else, which the parser judges."""
    if not isinstance(node, yaml.SequenceNode) or not all(isinstance(item, yaml.ScalarNode) for item in node.value):
        return None
    return json.dumps([item.value for item in node.value], ensure_ascii=False)


def _composed(text: str) -> yaml.Node | None:
    try:
        return yaml.compose(text, yaml.SafeLoader)
    except yaml.YAMLError:
        return None  # the parser says what is wrong
