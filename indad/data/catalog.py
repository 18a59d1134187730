"""The datasets this project knows: what they are, whose they are, where they come from."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Archive:
    """One file to download.

    Attributes:
        file: its name, which is also how one put there by hand is recognised without a checksum.
        urls: where it was seen, in order of trust. Shares die; a checksum makes any mirror safe.
        sha256: of the file; None where nobody publishes one (then the counts are the check).
        size: bytes, None where unknown.
        category: the one category it holds; None if it holds the whole dataset.
    """

    file: str
    urls: tuple[str, ...]
    sha256: str | None = None
    size: int | None = None
    category: str | None = None


@dataclass(frozen=True)
class Package:
    """Photos that pip installs as a package, and that are read where it puts them.

    Attributes:
        name: what pip calls it.
        folder: of the photos: the module's name, then the way inside it.
        size: bytes to download.
    """

    name: str
    folder: str
    size: int


@dataclass(frozen=True)
class DatasetInfo:
    """A row of the catalogue; `licence` is what the authors state on `page`.

    `counts` are good training, good test and defective test images of a category once unpacked,
    None where nobody publishes them. `citation` says whose work it is, see `credit`.
    """

    name: str
    title: str
    categories: tuple[str, ...]
    page: str
    licence: str
    layout: str  # "mvtec", "visa", "mtd", "elpv" or "synthetic", see layouts.py
    archives: tuple[Archive, ...] = ()
    counts: dict[str, tuple[int | None, int | None, int | None]] = field(default_factory=dict)
    by_hand: str = ""  # what to do on `page` when every address fails
    citation: str = ""
    package: Package | None = None  # in the place of archives


MYDRIVE = "https://www.mydrive.ch/shares/"
_MVTEC_AD = "mvtec_anomaly_detection.tar.xz"
_MVTEC_FORM = "fill in the form there"
# Number and time of each category's own archive, in a share that is reported dead since 2025.
_MVTEC_CATEGORIES = {
    "bottle": "420937370-1629951468", "cable": "420937413-1629951498",
    "capsule": "420937454-1629951595", "carpet": "420937484-1629951672",
    "grid": "420937487-1629951814", "hazelnut": "420937545-1629951845",
    "leather": "420937607-1629951964", "metal_nut": "420937637-1629952063",
    "pill": "420938129-1629953099", "screw": "420938130-1629953152",
    "tile": "420938133-1629953189", "toothbrush": "420938134-1629953256",
    "transistor": "420938166-1629953277", "wood": "420938383-1629953354",
    "zipper": "420938385-1629953449",
}
_PILL_SHARE, _MVTEC_SHARE = ("43421/11a215a5749fcfb75e331ddd5f8e43ee",
                             "38536/3830184030e49fe74747669442f0f282")

CATALOG: dict[str, DatasetInfo] = {row.name: row for row in (
    DatasetInfo(
        "synthetic", "parts drawn by program; nothing to download",
        ("board", "capsule", "gear", "tiles", "weave", "wood"),
        "indad/data/synthetic", "MIT, as this project", "synthetic"),
    DatasetInfo(
        "elpv", "ELPV: 2,624 photos of solar cells, 91 MB by pip",
        ("mono", "poly"), "https://github.com/zae-bayern/elpv-dataset", "CC BY-NC-SA 4.0", "elpv",
        counts={"mono": (470, 118, 313), "poly": (736, 184, 402)},
        citation="Buerhop-Lutz et al., EU PVSEC 2018; Deitsch et al., Solar Energy 185, 2019, and "
                 "Machine Vision and Applications 32, 2021",
        package=Package("elpv-dataset", "elpv_dataset/data", 91_000_000)),
    DatasetInfo(
        "mvtec_ad", "MVTec AD: 15 categories, 5,354 images, 5.3 GB",
        tuple(_MVTEC_CATEGORIES),
        "https://www.mvtec.com/company/research/datasets/mvtec-ad/downloads",
        "CC BY-NC-SA 4.0", "mvtec",
        (Archive(
            _MVTEC_AD,
            (MYDRIVE + "150996/b52ecdcbf521176e9db9c731f2304b27/download/420938113-1629960298/"
             + _MVTEC_AD,
             "https://huggingface.co/datasets/micguida1/mvtech_anomaly_detection/resolve/main/"
             + _MVTEC_AD,
             MYDRIVE + "38536/3830184030e49fe74747669442f0f283/download/420938113-1629960298/"
             + _MVTEC_AD,
             MYDRIVE + _MVTEC_SHARE + "/download/420938113-1629952094/" + _MVTEC_AD),
            "cf4313b13603bec67abb49ca959488f7eedce2a9f7795ec54446c649ac98cd3d", 5264982680),
         *(Archive(f"{category}.tar.xz",
                   (f"{MYDRIVE}{_PILL_SHARE if category == 'pill' else _MVTEC_SHARE}"
                    f"/download/{number}/{category}.tar.xz",), category=category)
           for category, number in _MVTEC_CATEGORIES.items())),
        {"bottle": (209, 20, 63), "cable": (224, 58, 92), "capsule": (219, 23, 109),
         "carpet": (280, 28, 89), "grid": (264, 21, 57), "hazelnut": (391, 40, 70),
         "leather": (245, 32, 92), "metal_nut": (220, 22, 93), "pill": (267, 26, 141),
         "screw": (320, 41, 119), "tile": (230, 33, 84), "toothbrush": (60, 12, 30),
         "transistor": (213, 60, 40), "wood": (247, 19, 60), "zipper": (240, 32, 119)},
        _MVTEC_FORM, "Bergmann et al., CVPR 2019"),
    DatasetInfo(
        "visa", "VisA: 12 categories, 10,821 images, 1.9 GB",
        ("candle", "capsules", "cashew", "chewinggum", "fryum", "macaroni1", "macaroni2", "pcb1",
         "pcb2", "pcb3", "pcb4", "pipe_fryum"),
        "https://github.com/amazon-science/spot-diff", "CC BY 4.0", "visa",
        (Archive(
            "VisA_20220922.tar",
            ("https://amazon-visual-anomaly.s3.us-west-2.amazonaws.com/VisA_20220922.tar",),
            "2eb8690c803ab37de0324772964100169ec8ba1fa3f7e94291c9ca673f40f362", 1929840640),),
        {"candle": (900, 100, 100), "capsules": (542, 60, 100), "cashew": (450, 50, 100),
         "chewinggum": (453, 50, 100), "fryum": (450, 50, 100), "macaroni1": (900, 100, 100),
         "macaroni2": (900, 100, 100), "pcb1": (904, 100, 100), "pcb2": (901, 100, 100),
         "pcb3": (905, 101, 100), "pcb4": (904, 101, 100), "pipe_fryum": (450, 50, 100)},
        "take the VisA_20220922.tar that its README links", "Zou et al., ECCV 2022"),
    DatasetInfo(
        "mtd", "Magnetic Tile Defects: 952 good and 392 defective images, 60 MB",
        ("mtd",), "https://github.com/abin24/Magnetic-tile-defect-datasets.",
        "free for research, with citation", "mtd",
        # GitHub packs this zip anew when asked for it, so it has no checksum that lasts.
        (Archive(
            "magnetic-tile-defects.zip",
            ("https://github.com/abin24/Magnetic-tile-defect-datasets./archive/"
             "cc4eb530b57b9cb7225bf76023873043ffd50655.zip",)),),
        {"mtd": (762, 190, 392)},
        "choose Code, Download ZIP, and rename it", "Huang et al., The Visual Computer 36, 2020"),
    DatasetInfo(
        "btad", "BTAD (beanTech): 3 products, 2,540 images, 1.2 GB",
        ("01", "02", "03"), "https://avires.dimi.uniud.it/papers/btad", "CC BY-NC-SA 4.0", "mvtec",
        (Archive(
            "btad.zip", ("https://avires.dimi.uniud.it/papers/btad/btad.zip",),
            "461c9387e515bfed41ecaae07c50cf6b10def647b36c9e31d239ab2736b10d2a", 1229193337),),
        {"01": (400, 21, 49), "02": (399, 30, 200), "03": (1000, 400, 41)},
        "find btad.zip", "Mishra et al., ISIE 2021"),
    DatasetInfo(
        "mvtec_ad_2", "MVTec AD 2: 8 categories, 8,004 images (4,090 without labels), 33 GB",
        ("can", "fabric", "fruit_jelly", "rice", "sheet_metal", "vial", "wallplugs", "walnuts"),
        "https://www.mvtec.com/company/research/datasets/mvtec-ad-2/downloads",
        "CC BY-NC-SA 4.0", "mvtec",
        (Archive(
            "mvtec_ad_2.tar.gz",
            (MYDRIVE + "150997/701c90d3aea6588f404936e32a674602/download/466712769-1743429042/"
             "mvtec_ad_2.tar.gz",
             MYDRIVE + "121573/7f68fe2c4f7c2ceaa08f463aaeb2f414/download/466712769-1743422799/"
             "mvtec_ad_2.tar.gz"),
            "c0ded99ef32bfc8e352d52beb44515e5b292b8598cb963aadfa91ca0763505e4", 32739596982),),
        {"can": (412, None, None), "fabric": (387, None, None), "fruit_jelly": (263, None, None),
         "rice": (313, None, None), "sheet_metal": (137, None, None), "vial": (291, 35, 105),
         "wallplugs": (293, None, None), "walnuts": (432, None, None)},
        _MVTEC_FORM, "Heckler-Kram et al., arXiv 2503.21622, 2025"),
    DatasetInfo(
        "mvtec_loco", "MVTec LOCO AD: 5 categories, 3,651 images, 6.1 GB",
        ("breakfast_box", "juice_bottle", "pushpins", "screw_bag", "splicing_connectors"),
        "https://www.mvtec.com/company/research/datasets/mvtec-loco/downloads",
        "CC BY-NC-SA 4.0", "mvtec",
        (Archive(
            "mvtec_loco_anomaly_detection.tar.xz",
            (MYDRIVE + "48237/1b9106ccdfbb09a0c414bd49fe44a14a/download/430647091-1646842701/"
             "mvtec_loco_anomaly_detection.tar.xz",),
            "9e7c84dba550fd2e59d8e9e231c929c45ba737b6b6a6d3814100f54d63aae687", 6126996224),),
        # The paper's table has 354 for splicing_connectors; the archive of this checksum, 360.
        {"breakfast_box": (351, 102, 173), "juice_bottle": (335, 94, 236),
         "pushpins": (372, 138, 172), "screw_bag": (360, 122, 219),
         "splicing_connectors": (360, 119, 193)},
        _MVTEC_FORM, "Bergmann et al., IJCV 130, 2022"),
)}


def credit(name: str) -> str:
    """Whose photos a dataset holds and under which licence, in a line to show beside any of them.

    Empty for drawn parts, and for a name that is not in the catalogue: one's own photos.

    Example:
        >>> print(credit("elpv"))
    """
    row = CATALOG.get(name)
    if row is None or not row.citation:
        return ""
    return f"Photos: {row.title.partition(':')[0]} ({row.citation}), {row.licence}, {row.page}"


def credits_of(files: Iterable[str | Path | None]) -> list[str]:
    """Whose photos these files are, as far as their paths say so: in the folder of a known dataset.

    For what shows photos that a saved model has learned from.
    """
    places = {Path(file).as_posix() for file in files if file}
    return [credit(row.name) for row in CATALOG.values() if credit(row.name)
            and any(f"/{way}" in place for way in _ways(row) for place in places)]


def _ways(row: DatasetInfo) -> list[str]:
    if row.package:
        return [f"{row.package.folder}/"]
    return [f"{row.name}/{start}" for start in ("MT_", *row.categories)]
