"""Where the shipped networks are. Nothing else is imported: a network may run without being rebuilt."""

from pathlib import Path

LIGHT = Path(__file__).resolve().parent.parent / "weights" / "lite2_eorssd.safetensors"
"""The shipped light network: the default where no weights are named."""

SCENES = LIGHT.with_name("lite2_scenes.safetensors")
"""The same network trained further on windows without objects: the default for whole scenes."""
