"""What a check of a data set found, as Markdown and as JSON."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace

from datasets.near_duplicates import NearDuplicate
from utils.text import encodable, printable


@dataclass(frozen=True)
class Finding:
    """An error or a warning: what it is, and the stems or lines of text that it applies to."""

    what: str
    names: tuple[str, ...] = ()
    is_error: bool = True


@dataclass(frozen=True)
class Part:
    """The findings of one split, or of the pair of folders.

    Attributes:
        pairs: number of images with a mask.
        published: number of pairs as published; None where it is unknown.
        widths, heights: (least, greatest) of the readable images, in pixels; None without any.
        refusal: the error that training stops at before it reads images; None without one.
        findings: errors and warnings.
    """

    pairs: int
    published: int | None
    widths: tuple[int, int] | None
    heights: tuple[int, int] | None
    refusal: str | None
    findings: list[Finding]

    def count(self, is_error: bool) -> int:
        """Return the number of errors or of warnings; a refusal without other errors counts as one."""
        return _count(self.findings, is_error) or int(is_error and self.refusal is not None)


@dataclass
class Report:
    """What a check found.

    Attributes:
        of: what was checked.
        seconds: how long it took.
        parts: the findings by split.
        absent: splits that are missing.
        shared: findings about several splits.
        near_duplicates: pairs of images that show one scene, byte-identical ones among them.
    """

    of: str
    seconds: float = 0.0
    parts: dict[str, Part] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)
    shared: list[Finding] = field(default_factory=list)
    near_duplicates: list[NearDuplicate] = field(default_factory=list)

    def count(self, is_error: bool) -> int:
        """Return the number of errors or of warnings: their names, and one for each finding without names."""
        return sum(part.count(is_error) for part in self.parts.values()) + _count(self.shared, is_error)


def as_text(report: Report, shown: int = 20) -> str:
    """Return the report in Markdown, with at most `shown` names of each finding."""
    errors, warnings = report.count(is_error=True), report.count(is_error=False)
    lines = [f"# {report.of}", "", f"errors: {errors}, warnings: {warnings} ({report.seconds:.1f} s)"]
    for name, part in report.parts.items():
        published = "" if part.published is None else f", {part.published} published"
        lines += ["", f"## {name}: {part.pairs} pairs{published}", ""]
        if part.widths and part.heights:
            lines.append("- image sizes: {}–{} × {}–{} pixels".format(*part.widths, *part.heights))
        if part.refusal:
            lines.append(f"- **training stops at**: {part.refusal}")
        lines += [_as_item(finding, shown) for finding in part.findings]
    for split in report.absent:
        lines += ["", f"## {split}: missing"]
    if report.shared:
        lines += ["", f"## {' and '.join(report.parts)}", "", *(_as_item(finding, shown) for finding in report.shared)]
    return encodable("\n".join(lines) + "\n")


def as_json(report: Report) -> str:
    """Return the report as JSON, with every name."""
    counts = {"errors": report.count(is_error=True), "warnings": report.count(is_error=False)}
    content = counts | asdict(replace(report, near_duplicates=[]))
    content["near_duplicates"] = [pair.record() for pair in report.near_duplicates]
    return encodable(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _count(findings: Iterable[Finding], is_error: bool) -> int:
    return sum(max(len(finding.names), 1) for finding in findings if finding.is_error == is_error)


def _as_item(finding: Finding, shown: int) -> str:
    """Return an item of a Markdown list, with an error's names below it and a warning's after it."""
    names = [printable(name) for name in finding.names[:shown]]
    if len(finding.names) > shown:
        names.append(f"and {len(finding.names) - shown} more")
    count = f" ({len(finding.names)})" if names else ""
    if finding.is_error:
        return "\n  - ".join([f"- **error**: {finding.what}{count}", *names])
    return f"- {finding.what}{count}" + ": " * bool(names) + ", ".join(names)
