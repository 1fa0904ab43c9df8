"""What the commands of this package share: one-line errors, renamed options and METHOD=DIR arguments."""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from utils.text import one_line


class CommandParser(argparse.ArgumentParser):
    """A parser that shows its description as written, takes no abbreviated option and reports errors in one line."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """Exit with status 1 and one line on standard error."""
        sys.exit(f"error: {one_line(message)} (see {self.prog} --help)")

    def add_renamed(self, old: str, new: str) -> None:
        """Refuse the option `old` with a message that names `new`."""

        def refuse(_: str) -> NoReturn:
            raise argparse.ArgumentTypeError(f"this option is now called {new}")

        self.add_argument(old, type=refuse, nargs="?", const="", help=argparse.SUPPRESS)


def check_name(name: str) -> str:
    """Return a method's or data set's name, if a table can show it.

    Raises:
        ValueError: the name is blank, or has a line break or another character that cannot be printed.
    """
    if not name.strip() or not name.isprintable():
        raise ValueError(f"{name!r} cannot be a name in a table: give printable characters in one line")
    return name


def positive_integer(text: str) -> int:
    """Return an option's whole number from 1; an error of argparse for anything else."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def dots_per_inch(text: str) -> int:
    """Return an option's dots per inch, 30 to 1200; an error of argparse for anything else."""
    if not text.isdecimal() or not 30 <= int(text) <= 1200:
        raise argparse.ArgumentTypeError(f"{text!r}: give dots per inch, 30 to 1200")
    return int(text)


def maps_by_method(arguments: Iterable[str]) -> dict[str, Path]:
    """Return each method's folder of maps from `METHOD=DIR` arguments; order and errors as `paths_by_name`."""
    return paths_by_name(arguments, "--maps", "METHOD=DIR, the name for the table and the folder of its maps")


def paths_by_name(arguments: Iterable[str], option: str, form: str) -> dict[str, Path]:
    """Return the paths of `NAME=PATH` arguments by name, in their order.

    Args:
        arguments: of the option.
        option: its name, for messages.
        form: what an argument has to be, for messages.

    Raises:
        ValueError: an argument has another form, or names a method twice.
    """
    paths: dict[str, Path] = {}
    for argument in arguments:
        name, _, path = argument.partition("=")
        if not (name and path):
            raise ValueError(f"{option} {argument}: write {form}")
        if check_name(name) in paths:
            raise ValueError(f"{option} names {name} twice: give each method once")
        paths[name] = Path(path)
    return paths
