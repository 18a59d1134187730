"""The datasets this project knows: what they are and where they come from. Data, no logic."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DatasetInfo:
    """A row of the catalogue; `licence` is what the authors state on `page`."""

    name: str
    title: str
    categories: tuple[str, ...]
    page: str
    licence: str
    layout: str  # "mvtec", "visa", "mtd" or "synthetic": how data.py reads it


CATALOG: dict[str, DatasetInfo] = {row.name: row for row in (
    DatasetInfo(
        "synthetic", "parts drawn by program; nothing to download",
        ("board", "capsule", "gear", "tiles", "weave", "wood"),
        "indad/synthetic.py", "MIT, as this project", "synthetic"),
    DatasetInfo(
        "mvtec_ad", "MVTec AD: 15 categories, 5,354 images, 4.9 GB",
        ("bottle", "cable", "capsule", "carpet", "grid", "hazelnut", "leather", "metal_nut",
         "pill", "screw", "tile", "toothbrush", "transistor", "wood", "zipper"),
        "https://www.mvtec.com/company/research/datasets/mvtec-ad", "CC BY-NC-SA 4.0", "mvtec"),
    DatasetInfo(
        "visa", "VisA: 12 categories, 10,821 images, 1.9 GB",
        ("candle", "capsules", "cashew", "chewinggum", "fryum", "macaroni1", "macaroni2", "pcb1",
         "pcb2", "pcb3", "pcb4", "pipe_fryum"),
        "https://github.com/amazon-science/spot-diff", "CC BY 4.0", "visa"),
    DatasetInfo(
        "mtd", "Magnetic Tile Defects: 952 good and 392 defective images",
        ("mtd",), "https://github.com/abin24/Magnetic-tile-defect-datasets.",
        "free for research, with citation", "mtd"),
)}
