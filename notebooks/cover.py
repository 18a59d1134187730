"""Draw `cover.png`, the picture of the course's page: `python -m notebooks.cover`.

Three drawn parts with a defect that a model has never seen, and below each what it makes of it: the
default network, all good parts to learn from, seed 0. Heat begins at the hottest 3 % of each map.
"""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from indad import PatchCore, load_dataset
from indad.data.images import read_image
from indad.deploy.pictures import ColourScale
from indad.notebook.pictures import canvas, heated, panel

FILE = Path(__file__).resolve().with_name("cover.png")
PARTS = {"capsule": "crack", "gear": "missing_tooth", "board": "missing"}


def draw(file: Path = FILE) -> None:
    """The picture, in 256 colours, so that it stays small."""
    figure, axes = canvas(len(PARTS), rows=2, size=2.1)
    for column, (category, kind) in enumerate(PARTS.items()):
        train, test = load_dataset("synthetic", category)
        prediction = PatchCore(seed=0).fit(train).predict(test)
        place = max((i for i, item in enumerate(test) if item.defect_type == kind),
                    key=lambda i: prediction.scores[i])
        photo, anomaly_map = read_image(test[place].path), prediction.maps[place]
        panel(axes[0, column], photo, f"{category}: {kind.replace('_', ' ')}")
        low, high = np.quantile(anomaly_map, [0.97, 1])
        scale = ColourScale(low=float(low), high=float(high))
        panel(axes[1, column], heated(photo, anomaly_map, scale), "where it looks odd")
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=80, bbox_inches="tight")
    whole = Image.open(drawn).convert("RGB")
    palette = whole.quantize(256, method=Image.Quantize.MAXCOVERAGE)
    whole.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(file, optimize=True)


if __name__ == "__main__":
    draw()
