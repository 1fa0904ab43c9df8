"""Write a weights file as a folder in Hugging Face's layout: model.safetensors, config.json and a model card.

python -m tools.save_pretrained weights/lite2_eorssd.safetensors --output FOLDER [--card CARD.md]

Read it with `models.huggingface.PretrainedDetector.from_pretrained(FOLDER)`, or upload it with Hugging Face's own
`hf upload`.
"""

from utils import command

if __name__ == "__main__":
    command.begin("nothing was written")  # before the imports, which take seconds

import argparse
import sys
from pathlib import Path


def parse_arguments() -> argparse.Namespace:
    """Parse and check the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.save_pretrained", description=__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("source", type=Path, metavar="FILE", help="a weights file (.safetensors)")
    parser.add_argument(
        "--output", required=True, type=Path, metavar="FOLDER", help="folder; must not exist or be empty"
    )
    parser.add_argument("--card", type=Path, metavar="FILE.md", help="the model card (default: FILE's, beside it)")
    options = parser.parse_args()
    if options.output.exists() and (not options.output.is_dir() or any(options.output.iterdir())):
        parser.error(f"--output {options.output} holds something already: name a new folder")
    return options


if __name__ == "__main__":
    command.answer_help(parse_arguments)  # before torch, which takes seconds

from safetensors import SafetensorError

from models.huggingface import PretrainedDetector
from models.weights import load_detector
from utils.files import atomic_write, move_folder, temporary_folder
from utils.text import one_line, read_text

FRONT_MATTER = """---
library_name: sral
pipeline_tag: image-segmentation
license: apache-2.0
tags:
- salient-object-detection
- remote-sensing
---
"""
CARD = """# {name}

A salient object detector for optical remote sensing images: {encoder}, {parameters:,} parameters, trained at
{height}×{width} pixels. The map has twice the input's size.

```python
from models.huggingface import PretrainedDetector

network = PretrainedDetector.from_pretrained("{name}")
```

`model.safetensors` is also a weights file of the SRAL software: `getsmaps.py --weights model.safetensors`.
"""


def model_card(network: PretrainedDetector, name: str, card: Path | None) -> str:
    """Return the model card with Hugging Face's front matter: the file's text, or a description of the network.

    Raises:
        FileNotFoundError: there is no such card.
    """
    if card is not None:
        return FRONT_MATTER + read_text(card)
    config = network.detector.config
    parameters = sum(parameter.numel() for parameter in network.parameters())
    height, width = config.input_size
    encoder = config.encoder
    return FRONT_MATTER + CARD.format(name=name, encoder=encoder, parameters=parameters, height=height, width=width)


def _save(network: PretrainedDetector, folder: Path, output: Path) -> None:
    try:
        network.save_pretrained(folder)
    except SafetensorError as error:  # which is not an OSError
        raise OSError(f"{output} cannot be written: {one_line(error)}") from error


def main() -> None:
    """Write the folder. Bad input ends with one line on standard error and a non-zero exit status."""
    options = parse_arguments()
    beside = options.source.with_suffix(".md")
    try:
        network = PretrainedDetector(load_detector(options.source))
        card = model_card(network, options.source.stem, options.card or (beside if beside.is_file() else None))
        with temporary_folder(options.output.parent) as folder:
            atomic_write(folder / "made" / "README.md", card.encode())  # before the network: the mixin keeps it
            _save(network, folder / "made", options.output)
            move_folder(folder / "made", options.output)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(f"{options.output}: {', '.join(sorted(path.name for path in options.output.iterdir()))}")


if __name__ == "__main__":
    command.run(main)
