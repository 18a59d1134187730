"""What a lesson works on, as the form or the last click left it."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from ..backbones.extractor import feature_info
from ..backbones.lite import SCALES
from ..backbones.loading import load_backbone
from ..backbones.registry import BACKBONES, OFFLINE, Backbone, find_backbone
from ..data.catalog import credit
from ..data.datasets import ImageSet
from ..data.images import ImageTransform
from ..data.layouts import Item
from ..engine.machine import pick_device
from .getting import AUTO, Unavailable, find_category, get_images, in_words_of_a_form

# What forms and menus offer; any other data set of the catalogue, network or device may be typed.
DATASETS = ("synthetic", "elpv", "mvtec_ad", "visa", "mtd")
DEVICES = (AUTO, "cpu", "cuda", "cuda:1", "mps", "xpu")
IMAGES = ("whole", "reduced")
FEWEST = 4  # good photos that a lesson can learn from
MANY = 200  # images that a CPU needs minutes for
COMPARISONS = (  # where a lesson compares several
    "efficientnet_lite0, efficientnet_lite1, efficientnet_lite2",
    "efficientnet_lite0, resnet18, wide_resnet50_2", "resnet50, resnet50_clip, resnetblur50",
    "resnet50, dino_small_16, dinov2_small")


@dataclass(frozen=True)
class Choice:
    """What was typed into the form, or clicked."""

    dataset: str = "synthetic"
    category: str = AUTO
    images: str = "whole"
    folder: str = ""
    backbone: str = OFFLINE
    weights: str = ""
    device: str = AUTO


class Chosen:
    """What the cells of a lesson read. Data and networks are loaded when they are asked for.

    Attributes:
        choice: as it was typed or clicked; `take` changes it.
        dataset, category, device: what was chosen, and what "auto" stands for.
        backbones: the names, `backbone` the first of them.
        train, test: the images to learn from, all good, and those to be judged.
    """

    choice: Choice
    category: str
    device: str
    backbones: tuple[str, ...]

    def __init__(self, choice: Choice, drawn: str = "gear", needs_defects: bool = True):
        self.drawn, self.needs_defects = drawn, needs_defects
        self._sets: dict[tuple[str, ...], tuple[ImageSet, ImageSet]] = {}
        self._multiples: dict[tuple[str, str | None], int] = {}
        self._said: set[str] = set()
        self.take(choice)

    def take(self, choice: Choice) -> None:
        """Choose something else, all or nothing; what takes long waits until a cell asks for it."""
        names = tuple(name.strip() for name in choice.backbone.split(",") if name.strip())
        with in_words_of_a_form():
            device = str(pick_device(choice.device))
            for name in "+".join(names).split("+"):
                find_backbone(name)
        if choice.images not in IMAGES:
            raise Unavailable(f"images is {choice.images!r}; choose {' or '.join(IMAGES)}")
        if choice.weights and len(names) > 1:
            raise Unavailable(f"weights is one file, {choice.weights!r}, but backbone has "
                              f"{len(names)} networks; leave weights empty")
        category = find_category(choice.dataset, choice.category, choice.folder, self.drawn)
        reduced = "_reduced" if choice.images == "reduced" else ""
        self.choice, self.device, self.backbones = choice, device, names
        self.category = category.removesuffix(reduced) + reduced

    def load(self) -> None:
        """Read the images, after a download if there has to be one, and try the backbones."""
        self._images()
        for name in self.backbones:
            self._multiple(name)

    @property
    def dataset(self) -> str:
        return self.choice.dataset

    @property
    def backbone(self) -> str:
        return self.backbones[0]

    @property
    def train(self) -> ImageSet:
        return self._images()[0]

    @property
    def test(self) -> ImageSet:
        return self._images()[1]

    @property
    def credit(self) -> str:
        """Whose photos these are, and their licence; empty for drawn parts and for one's own."""
        return credit(self.dataset)

    @property
    def has_masks(self) -> bool:
        """Is it known of any defective image where its defect is?"""
        return any(item.label and item.mask() is not None for item in self.test)

    def few(self, most: int) -> ImageSet:
        """The test images, or of too many a part: good and defective ones, evenly spread."""
        test, kept = self.test, []
        for label in (0, 1):
            places = np.flatnonzero(test.labels == label)
            count = len(places) if len(test) <= most else min(len(places), most // 2)
            kept += places[np.linspace(0, len(places) - 1, count).round().astype(int)].tolist()
        return test.replaced([test[place] for place in sorted(kept)])

    def defective(self, kind: str = "", among: ImageSet | None = None) -> Item:
        """The first test image with a defect of a kind, or of any other if there is none such."""
        found = [item for item in among or self.test if item.label]
        return next((item for item in found if item.defect_type == kind), found[0])

    def size(self, resize: int, backbone: str | None = None) -> int:
        """The side of an image nearest to `resize` that the backbone's patches divide."""
        name = backbone or self.backbone
        multiple = self._multiple(name)
        size = max(round(resize / multiple), 1) * multiple
        said = (f"{name} works on patches of {multiple} pixels: images get {size} x {size} "
                f"pixels instead of {resize} x {resize}")
        if size != resize and said not in self._said:
            self._said.add(said)
            print(said)
        return size

    def options(self, *, resize: int | None = None, backbone: str | None = None,
                **more: Any) -> dict[str, Any]:
        """Arguments for `PatchCore`: backbone and device as chosen, a size that fits, and `more`.

        Args:
            resize: the wanted side of an image, see `size`; the backbone's own if None.
            backbone: another one than the first that was chosen.
        """
        name = backbone or self.backbone
        size = {} if resize is None else {"resize": self.size(resize, name)}
        weights = {"weights": self._weights(name)} if self._weights(name) else {}
        return {"backbone": name, "device": self.device, **weights, **size, **more}

    def network(self, layers: tuple[int, ...] | None = None, *, resize: int | None = None,
                backbone: str | None = None) -> tuple[nn.Module, ImageTransform]:
        """What `load_backbone` gives for the choice, on the chosen device."""
        name = backbone or self.backbone
        with in_words_of_a_form():
            extractor, transform = load_backbone(
                name, layers=layers, weights=self._weights(name),
                resize=None if resize is None else self.size(resize, name))
        return extractor.to(self.device), transform

    def layers(self, most: int) -> tuple[list[int], list[int]]:
        """Numbers of some of the backbone's feature maps, and which of them PatchCore takes.

        The first and the last are among them, and more in equal steps, so many in all at most.
        """
        if "+" in self.backbone:
            raise Unavailable(f"backbone is {self.backbone!r}; this lesson looks into a single one")
        row = find_backbone(self.backbone)
        steps = np.linspace(0, _count_layers(row) - 1, most).round().astype(int).tolist()
        spare = [step for step in steps if step not in row.layers]
        while len({*spare, *row.layers}) > most:  # leave out what is nearest to one that is taken
            spare.remove(min(spare, key=lambda step: min(abs(step - one) for one in row.layers)))
        return sorted({*spare, *row.layers}), list(row.layers)

    def __str__(self) -> str:
        train, test = self._images()
        bad = int(test.labels.sum())
        masks = f" (with{'' if self.has_masks else 'out'} masks)" if bad else ""
        lines = [f"{self.dataset}, {self.category}: {len(train)} good images to learn from, "
                 f"{len(test)} to judge, {bad} of them defective{masks}", self.credit,
                 f"{', '.join(self.backbones)} on {self.device}",
                 'so many images may take a CPU minutes; images = "reduced" takes a fixed part'
                 if self.device == "cpu" and len(train) + len(test) > MANY else ""]
        return "\n".join(line for line in lines if line)

    def _images(self) -> tuple[ImageSet, ImageSet]:
        key = (self.dataset, self.category, self.choice.folder)
        if key not in self._sets:
            train, test = get_images(*key)
            bad = int(test.labels.sum())
            good = len(test) - bad
            if len(train) < FEWEST or not good or (self.needs_defects and not bad):
                raise Unavailable(
                    f"{self.choice.folder or self.dataset}, {self.category}: {len(train)} good "
                    f"images to learn from, {good} good and {bad} defective ones to judge; this "
                    f"lesson needs {FEWEST}, 1 and {int(self.needs_defects)} at least")
            self._sets[key] = train, test
        return self._sets[key]

    def _weights(self, name: str) -> str | None:
        """A file of weights belongs to the backbone that was chosen with it, to no other."""
        return (self.choice.weights or None) if name in self.backbones else None

    def _multiple(self, name: str) -> int:
        """What the sides of an image must be multiples of: a transformer's patches, or 1."""
        key = name, self._weights(name)
        if key not in self._multiples:
            with in_words_of_a_form():
                extractor, _ = load_backbone(name, weights=key[1])
            sides = [getattr(embedding, "patch_size", 1) for embedding in (
                getattr(module, "patch_embed", None) for module in extractor.modules())]
            self._multiples[key] = math.lcm(*np.hstack(sides).tolist())
        return self._multiples[key]


def _count_layers(row: Backbone) -> int:
    """How many feature maps a network has to offer."""
    if ":" in row.tag or row.name in SCALES:  # a ResNet of another package; our own networks
        return 5
    import timm  # here, because it takes seconds

    with torch.device("meta"):  # shapes only
        return len(feature_info(timm.create_model(row.tag, features_only=True)).info)


def offered(backbone: str) -> list[str]:
    """The backbones to choose from where this one, or these with commas, are chosen at first."""
    return list(dict.fromkeys([backbone, *(COMPARISONS if "," in backbone else BACKBONES)]))
