"""Where the shipped networks are. Nothing else is imported: a network may run without being rebuilt."""

from pathlib import Path

LITE2 = Path(__file__).resolve().parent.parent / "weights" / "lite2_eorssd.safetensors"
"""The shipped network lite2: the default where no weights are named."""

SCENES = LITE2.with_name("lite2_scenes.safetensors")
"""The same network trained further on windows without objects: the default for whole scenes."""
