"""The section `data` of the configuration: the training and validation images."""

from dataclasses import field
from typing import Self

from pydantic import NonNegativeInt, model_validator
from pydantic.dataclasses import dataclass

from datasets.augmentation import Augmentation
from datasets.io import Reading
from datasets.raster import parse_bands, parse_range
from datasets.split import VALIDATION_SEED
from utils.config import STRICT, BelowOne


@dataclass(config=STRICT)
class DataConfig:
    """The training and validation images.

    Args:
        dataset: ORSSD, EORSSD, ORSI-4199, RSISOD or RSSOD; 'sample' for the sample set; FILE.py, which is run and
            registers a set of your own (`datasets.layouts.register_dataset`); 'folders' for any pair of
            folders.
        root: the data set's folder; null: datasets/sample for the sample set, data/NAME for the others.
        images: the folder of images, with dataset 'folders'.
        masks: the folder of masks, with dataset 'folders'.
        bands: numbers of the red, green and blue band of images that do not say it, such as '3,2,1'.
        range: values that become black and white, such as '200:3000', where images have other than 8-bit values.
        more: further training sets, each as NAME=DIR (a known set and its folder) or IMAGES:MASKS (two folders). Their
            stems begin with NAME/, or with the name of the folder of images.
        exclude: stems of training pairs to leave out, such as those whose image is also in a test split.
        val_images: your own folder of validation images, with val_masks; then every training pair is trained on.
        val_masks: the folder of their masks.
        validation: fraction of the training pairs held out for validation, in [0, 1), unless val_images is given. The
            test split is not read.
        validation_seed: seed of that split. It differs from the run's seed, so that runs with several seeds share it.
        teacher_maps: folders with a saliency map of every training image, <stem>.png, as getsmaps.py --split train
            --raw writes them. Their mean is a target too, beside the mask (loss.teacher). Validation scores mean
            nothing if the teacher was trained on the validation part.
        cache: folder of the decoded and resized images (about 1.1 MB each at 224×224, more with crops). Runs on the
            same pairs share it; null reads all files once before training, and again in every epoch.
        workers: processes that load data; 0 loads in the training process, which is enough for a CPU with a cache.
        augmentation: random changes of a training sample.
    """

    dataset: str = "ORSSD"
    root: str | None = None
    images: str | None = None
    masks: str | None = None
    bands: str | None = None
    range: str | None = None
    more: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    val_images: str | None = None
    val_masks: str | None = None
    validation: BelowOne = 0.1
    validation_seed: int = VALIDATION_SEED
    teacher_maps: tuple[str, ...] = ()
    cache: str | None = "data/cache"
    workers: NonNegativeInt = 0
    augmentation: Augmentation = field(default_factory=Augmentation)

    @model_validator(mode="after")
    def _check_folders(self) -> Self:
        if self.dataset == "folders" and not (self.images and self.masks):
            raise ValueError("data.dataset 'folders': set data.images and data.masks to the two folders")
        if (self.val_images is None) != (self.val_masks is None):
            raise ValueError("data.val_images and data.val_masks: set both to folders, or neither")
        if self.bands is not None:
            parse_bands(self.bands)
        if self.range is not None and parse_range(self.range) is None:
            raise ValueError("data.range auto: one range holds for all images, so set it to LOW:HIGH, such as 200:3000")
        return self

    @property
    def reading(self) -> Reading:
        """How the images are read."""
        bands = parse_bands(self.bands) if self.bands else None
        return Reading(bands, parse_range(self.range) if self.range else None)

    @property
    def folder(self) -> str:
        """The data set's folder: `root`, or its default."""
        return self.root or ("datasets/sample" if self.dataset == "sample" else f"data/{self.dataset}")
