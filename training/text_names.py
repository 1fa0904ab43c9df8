"""Names in data.exclude are text as written, quoted or not: YAML takes 0003 for the number 3 and 12:30 for 750."""

import json
from collections.abc import Sequence

import yaml

_OPTION = "--data.exclude"


def arguments_with_text_names(arguments: Sequence[str]) -> list[str]:
    """Return a command line with the names that `--data.exclude` lists in quotes."""
    quoted = list(arguments)
    for index, argument in enumerate(quoted):
        option, has_value, value = argument.partition("=")
        if option == _OPTION and has_value:
            quoted[index] = f"{option}={_quoted(value)}"
        elif option == _OPTION and index + 1 < len(quoted):
            quoted[index + 1] = _quoted(quoted[index + 1])
    return quoted


def with_text_names(configuration: str) -> str:
    """Return a YAML configuration with the names that data.exclude lists in quotes."""
    node = _composed(configuration)
    for key in ("data", "exclude"):
        items = node.value if isinstance(node, yaml.MappingNode) else ()
        node = next((value for name, value in items if getattr(name, "value", None) == key), None)
    names = _names(node)
    if not isinstance(node, yaml.SequenceNode) or names is None:
        return configuration
    start, end = node.start_mark.index, node.end_mark.index
    if node.flow_style:
        return f"{configuration[:start]}{names}{configuration[end:]}"
    # A block list ends where the next key begins, so its line break is put back; the list moves below its key.
    line = configuration.rindex("\n", 0, start) + 1
    return f"{configuration[:line]}{' ' * (node.start_mark.column + 4)}{names}\n{_rest(configuration, end)}"


def _rest(text: str, end: int) -> str:
    """Return the text from the line on that a block ends before."""
    return text[text.rindex("\n", 0, end) + 1 :] if "\n" in text[:end] else text[end:]


def _quoted(text: str) -> str:
    return _names(_composed(text)) or text


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
