"""Boxes, arrows and texts of a drawing, as SVG that is readable on light and on dark pages."""

from collections.abc import Sequence
from html import escape

FONT = "'Segoe UI','Helvetica Neue',Arial,'Liberation Sans',sans-serif"
COLORS = {
    "kept": ("#e3efff", "#1f5fae"),
    "training": ("#fff1d6", "#b06a00"),
    "file": ("#f4f4f5", "#6b7280"),
    "plain": ("#ffffff", "#6b7280"),
}
"""Fill and outline by kind. The ground is white, so that a dark page changes nothing."""
INK, FAINT = "#1b1f24", "#57606a"
Point = tuple[float, float]


class Drawing:
    """An SVG drawing.

    Args:
        width, height: in pixels.
        title: what the drawing shows, for readers that do not see it.
    """

    def __init__(self, width: int, height: int, title: str):
        self.width, self.height, self.title = width, height, title
        self.parts: list[str] = []

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        lines: Sequence[str],
        kind: str = "kept",
        bold: bool = True,
    ) -> None:
        """Draw a box with centered lines of text; the first is bold. What only trains has a dashed edge."""
        fill, edge = COLORS[kind]
        dash = ' stroke-dasharray="5 3"' if kind == "training" else ""
        corner = 2 if kind == "file" else 6
        self.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{corner}" fill="{fill}" '
            f'stroke="{edge}" stroke-width="1.4"{dash}/>'
        )
        step = 15.0
        top = y + height / 2 - step * (len(lines) - 1) / 2 + 4.3
        for number, line in enumerate(lines):
            first = number == 0 and bold
            self.text(x + width / 2, top + step * number, line, 13 if first else 12, first, INK if first else FAINT)

    def text(
        self,
        x: float,
        y: float,
        line: str,
        size: float = 12,
        bold: bool = False,
        color: str = FAINT,
        anchor: str = "middle",
    ) -> None:
        """Write a line of text whose baseline is at y."""
        weight = ' font-weight="600"' if bold else ""
        self.parts.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" fill="{color}" text-anchor="{anchor}"{weight}>'
            f"{escape(line)}</text>"
        )

    def arrow(self, *points: Point, kind: str = "kept", head: bool = True) -> None:
        """Draw a line through points, with a head at the last."""
        edge = COLORS[kind][1]
        dash = ' stroke-dasharray="5 3"' if kind == "training" else ""
        path = " ".join(f"{'L' if number else 'M'}{x:g} {y:g}" for number, (x, y) in enumerate(points))
        marker = f' marker-end="url(#{kind})"' if head else ""
        self.parts.append(f'<path d="{path}" fill="none" stroke="{edge}" stroke-width="1.6"{dash}{marker}/>')

    def area(self, x: float, y: float, width: float, height: float, title: str, color: str = "#d0d7de") -> None:
        """Draw a frame around a group of boxes, with its title in the upper left corner."""
        self.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="10" fill="none" stroke="{color}"/>'
        )
        self.text(x + 12, y + 19, title, 13, True, FAINT, "start")

    def svg(self) -> str:
        """Return the drawing as SVG."""
        markers = "".join(
            f'<marker id="{kind}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
            f'markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0L8 4L0 8z" fill="{edge}"/></marker>'
            for kind, (_, edge) in COLORS.items()
        )
        body = "\n".join(self.parts)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" width="{self.width}" '
            f'height="{self.height}" role="img" font-family="{FONT}">\n<title>{escape(self.title)}</title>\n'
            f'<defs>{markers}</defs>\n<rect width="{self.width}" height="{self.height}" rx="10" fill="#ffffff"/>\n'
            f"{body}\n</svg>\n"
        )
