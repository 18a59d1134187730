"""Which photos among the good ones are probably not: the most suspect first, and why.

A photo is as suspect as its worst patch, which other photos should know and do not, see
engine/support.py. Shown beside it are the patches that come nearest to it in other photos: those
that could have vouched for it.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate

import numpy as np
import torch

from ..data.arguments import CALLED, LIST, kind, maybe, takes
from ..data.images import path_of
from ..data.sources import training_set
from ..engine.extraction import PatchFeatures
from ..engine.scaling import layer_scales, scale_rows
from ..engine.support import Witnesses, supports
from ..errors import Progress
from ..learned.copies import each_once
from ..learned.suspects import photo_scores, robust_limit
from ..patchcore import PatchCore
from .explanation import Box, box_in_photo

SHOWN = 4  # patches of other photos beside the worst one, at least


@dataclass(frozen=True)
class Seen:
    """A patch in a photo: the photo's position among those given, the patch's box in its pixels,
    and how far it is from the patch that it is compared with.
    """

    photo: int
    box: Box
    distance: float


@dataclass(frozen=True)
class Suspect:
    """A photo, its score (the support of its worst patch, the higher the odder), where that patch
    is, and the nearest patches in other photos, one of each, the nearest first.
    """

    photo: int
    score: float
    box: Box
    others: list[Seen]


@dataclass(frozen=True)
class SuspectList:
    """All photos, the most suspect first.

    Attributes:
        sources: what was given, photos as they count; `names` of them.
        needed: so many other photos must know a patch, of `asked`.
        limit: a photo beyond it is called suspect; `usual`: the median score.
        skipped: (position, reason) of those that could not be read.
    """

    sources: list
    names: list[str]
    photos: list[Suspect]
    needed: int
    asked: int
    limit: float
    usual: float
    skipped: list[tuple[int, str]]

    @property
    def beyond(self) -> list[Suspect]:
        return [one for one in self.photos if one.score > self.limit]

    def __str__(self) -> str:
        said = (f"{len(self.beyond) or 'none'} of {len(self.photos)} photos suspect: a patch is "
                f"beyond {self.limit:.3g} (usual at worst: {self.usual:.3g}) from "
                f"{'any other photo' if self.needed == 1 else f'all but {self.needed - 1} others'}")
        shown = self.photos[:max(3, min(len(self.beyond), 10))]
        return "\n".join([said, *(
            f"  {'suspect' if one.score > self.limit else '       '} {one.score:8.3g}  "
            f"{self.names[one.photo]}" for one in shown)])

    def as_dict(self) -> dict:
        """For JSON."""
        return {"limit": self.limit, "usual": self.usual, "needed": self.needed, "photos": [
            {"image": self.names[one.photo], "score": one.score, "suspect": one.score > self.limit,
             "box": list(one.box), "nearest": [{"image": self.names[other.photo], "box": list(
                 other.box), "distance": other.distance} for other in one.others]}
            for one in self.photos]}


@takes(groups=maybe(LIST), model=maybe(kind(PatchCore, "a PatchCore")), progress=maybe(CALLED))
def suspects(images: object, *, model: PatchCore | None = None, groups: Sequence | None = None,
             progress: Progress | None = None) -> SuspectList:
    """Rank good photos by how little others know of their worst patch.

    Args:
        images, groups: as for `PatchCore.fit`; photos of one part do not vouch for each other.
        model: whose options say how photos are described; it need not be fitted.

    Raises `InputError` for fewer than three photos, and for what is no photos.

    Example:
        >>> found = suspects("bolts/good")
        >>> print(found)
        >>> [found.names[photo.photo] for photo in found.beyond]
    """
    model = PatchCore(**(model.get_params() if model else {}) | {"augmentation": "none"})
    training = training_set(images, groups=groups)
    features = each_once(training, partial(model.extract, training=True, strict=False,
                                           progress=progress))
    rows, seed = features.rows, model.options["seed"]
    if model.options["balance_layers"]:
        scale_rows(rows, layer_scales(rows, model.prepare().channels))
    patches = [tiles * features.patches for tiles in features.tiles]
    starts = [0, *accumulate(patches)]
    witnesses = Witnesses(rows, starts, features.pick(training.groups), seed=seed)
    support = supports(witnesses, rows, starts, witnesses.place_of, progress)
    scores = photo_scores(support, patches)
    limit, usual = robust_limit(scores)
    where = partial(_seen, features, starts)

    def suspect(photo: int) -> Suspect:
        worst = starts[photo] + int(support[starts[photo]:starts[photo + 1]].argmax())
        own = witnesses.place_of[photo]
        distances, nearest = witnesses.distances(rows[worst:worst + 1].float(), own)
        order = distances[0].argsort()[:max(SHOWN, witnesses.needed(own))]
        others = [where(int(nearest[0, place]), float(distances[0, place]))
                  for place in order.tolist() if torch.isfinite(distances[0, place])]
        itself = where(worst, 0.0)
        return Suspect(itself.photo, float(scores[photo]), itself.box, others)

    return SuspectList(
        training.sources, [str(path_of(source) or f"photo {i}")
                           for i, source in enumerate(training.sources)],
        [suspect(photo) for photo in np.argsort(-scores, kind="stable").tolist()],
        witnesses.needed(), witnesses.count, limit, usual, features.skipped)


def _seen(features: PatchFeatures, starts: list[int], row: int, distance: float) -> Seen:
    """Where one of all patches lies, in which of the photos given."""
    frame, inside = divmod(row, features.patches)
    place = divmod(inside, features.grid[1])
    return Seen(features.positions[bisect_right(starts, row) - 1],
                box_in_photo(place, features.grid, features.placements[frame]), distance)
