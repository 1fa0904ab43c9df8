"""Download timm's own weights; without a network that is said within seconds, and downloaded ones are used."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import utils.torchvision_operators  # noqa: F401 (before timm)

# isort: split
import timm
import torch

from utils.network import can_reach


@contextmanager
def downloading(name: str) -> Iterator[None]:
    """Let timm load a network's pre-trained weights inside the block.

    Where their server cannot be reached, only weights that were downloaded before are taken.

    Raises:
        OSError: the server cannot be reached, and the weights were not downloaded before.
    """
    from huggingface_hub import constants

    config = timm.get_pretrained_cfg(name)
    hub_id, url = (getattr(config, key, None) for key in ("hf_hub_id", "url"))
    server = constants.ENDPOINT if hub_id or not url else url
    if constants.HF_HUB_OFFLINE or can_reach(server):
        yield
        return
    unreachable = f"{urlsplit(server).hostname} cannot be reached, and the weights were not downloaded before"
    if not hub_id and not (Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(server).path).name).is_file():
        raise OSError(unreachable)
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    except OSError as error:
        raise OSError(unreachable) from error
    finally:
        constants.HF_HUB_OFFLINE = False
