"""What scoring found out about the files of a data set: unusual ones, unreadable ones, and the scale of the maps."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from datasets.file_warnings import FileWarning, warning_lines

_OF_MAPS = FileWarning.COLORED | FileWarning.FRAMES | FileWarning.HIDDEN | FileWarning.DAMAGED | FileWarning.SWAPPED
_COLORED_MAPS = "maps hold colors, of which the luma is scored"


@dataclass(frozen=True)
class MapFacts:
    """The greatest value stored in a map, whether it is a 16-bit file, and its warnings."""

    top: int
    deep: bool
    warnings: FileWarning


@dataclass
class FileFacts:
    """The files of a data set.

    Attributes:
        masks: warnings of each mask by stem.
        maps: each method's maps by stem.
        problems: (stem, message) of each map without scores, by method.
    """

    masks: dict[str, FileWarning] = field(default_factory=dict)
    maps: dict[str, dict[str, MapFacts]] = field(default_factory=lambda: defaultdict(dict))
    problems: dict[str, list[tuple[str, str]]] = field(default_factory=lambda: defaultdict(list))

    def common_tops(self) -> dict[str, int]:
        """Return the stored value that is white, by method, where it is not that of the files' type.

        All maps of a method have one scale: 0 to 1 where no map exceeds 1, and 0 to 255 where no 16-bit map exceeds
        255.
        """
        found = {}
        for method, maps in self.maps.items():
            tops = [facts.top for facts in maps.values()]
            deep = [facts.top for facts in maps.values() if facts.deep]
            if tops and max(tops) == 1:
                found[method] = 1
            elif deep and max(deep) <= 255:
                found[method] = 255
        return found

    def lines(self, dataset: str) -> list[str]:
        """Return one line for each kind of unusual file."""
        lines = warning_lines(f"{dataset}, masks", sorted(self.masks.items()))
        for method, maps in self.maps.items():
            of_maps = [(stem, facts.warnings & _OF_MAPS) for stem, facts in sorted(maps.items())]
            colored = [stem for stem, found in of_maps if FileWarning.COLORED in found]
            if colored:
                named = ", ".join(colored[:5]) + ", …" * (len(colored) > 5)
                lines.append(f"{method} on {dataset}: {len(colored)} {_COLORED_MAPS} ({named})")
            rest = [(stem, found & ~FileWarning.COLORED) for stem, found in of_maps]
            lines += warning_lines(f"{method} on {dataset}", rest)
        return lines

    def notes(self, dataset: str) -> list[str]:
        """Return remarks for the table: scales other than the files' own, and maps without scores."""
        scales = {
            1: "no map exceeds 1, so 0 and 1 are read as 0 and 255",
            255: "no 16-bit map exceeds 255, so 255 is white",
        }
        notes = [f"{method} on {dataset}: {scales[top]}." for method, top in self.common_tops().items()]
        for method, problems in self.problems.items():
            total = len(problems) + len(self.maps[method])
            stems = _few([stem for stem, _ in problems])
            notes.append(f"{method} on {dataset}: {len(problems)} of {total} maps are not scored ({stems}).")
        return notes

    def messages(self) -> list[str]:
        """Return each problem in one line; one that several methods share is there once."""
        return list(dict.fromkeys(message for problems in self.problems.values() for _, message in problems))


def _few(names: Iterable[str], shown: int = 5) -> str:
    names = list(names)
    return ", ".join(names[:shown]) + ", …" * (len(names) > shown)
