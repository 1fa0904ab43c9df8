"""Write the drawings of the documentation: docs/method.svg and docs/data_flow.svg.

python -m tools.drawings [--output DIR]
"""

import argparse
from pathlib import Path

from tools.drawings.data_flow import data_flow
from tools.drawings.method import method
from utils.files import atomic_write

DRAWINGS = {"method.svg": method, "data_flow.svg": data_flow}
DOCS = Path(__file__).resolve().parents[2] / "docs"


def main() -> None:
    """Write every drawing."""
    parser = argparse.ArgumentParser(prog="python -m tools.drawings", description=__doc__, allow_abbrev=False)
    parser.add_argument("--output", type=Path, default=DOCS, metavar="DIR", help="folder (default: docs)")
    options = parser.parse_args()
    for name, draw in DRAWINGS.items():
        atomic_write(options.output / name, draw().svg())
        print(options.output / name)


if __name__ == "__main__":
    main()
