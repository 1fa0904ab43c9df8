"""Write the drawings of the documentation: docs/method.svg, data_flow.svg, overlay.jpg and curves.png.

python -m tools.drawings [--output DIR]
"""

import argparse
from pathlib import Path

from PIL import Image

from tools.drawings.curves import curves
from tools.drawings.data_flow import data_flow
from tools.drawings.method import method
from tools.drawings.overlay import overlay
from utils.files import atomic_file, atomic_write

DRAWINGS = {"method.svg": method, "data_flow.svg": data_flow}
PICTURES = {"overlay.jpg": overlay, "curves.png": curves}
DOCS = Path(__file__).resolve().parents[2] / "docs"


def main() -> None:
    """Write every drawing and picture."""
    parser = argparse.ArgumentParser(prog="python -m tools.drawings", description=__doc__, allow_abbrev=False)
    parser.add_argument("--output", type=Path, default=DOCS, metavar="DIR", help="folder (default: docs)")
    options = parser.parse_args()
    for name, draw in DRAWINGS.items():
        atomic_write(options.output / name, draw().svg())
        print(options.output / name)
    for name, paint in PICTURES.items():
        with atomic_file(options.output / name) as file:
            if name.endswith(".jpg"):
                paint().save(file, "JPEG", quality=88)
            else:
                paint().quantize(64, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
        print(options.output / name)


if __name__ == "__main__":
    main()
