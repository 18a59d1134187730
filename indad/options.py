"""What the options of a `PatchCore` may be, checked before anything is computed."""

from pathlib import Path

from .augmentation import views_per_image
from .calibration import CALIBRATIONS
from .errors import InputError, unknown
from .features import RECIPES
from .memory import memory_budget
from .projections import PROJECTIONS
from .scores import BORDERS, IMAGE_SCORES

CHOICES = {"patch_features": RECIPES, "coreset": ("greedy", "random"),
           "coreset_start": ("random", "first", "mean"), "image_score": IMAGE_SCORES,
           "map_border": BORDERS, "calibration": CALIBRATIONS,
           "map_upsampling": ("bilinear", "nearest"), "precision": ("float32", "float16"),
           "projection": (*PROJECTIONS, None)}


def check_options(options: dict) -> None:
    """Raise `InputError` for the first option of `PatchCore` that is out of range."""
    o = options
    if not 0 < o["coreset_ratio"] <= 1:
        raise InputError(f"coreset_ratio is {o['coreset_ratio']}; it must be in (0, 1]")
    if not 0 <= o["reserve"] <= 1:
        raise InputError(f"reserve is {o['reserve']}; it must be in [0, 1]")
    for name, known in CHOICES.items():
        if o[name] not in known:
            raise unknown(name, o[name], [str(k) for k in known])
    if o["balance_layers"] and o["patch_features"] == "adaptive":
        raise InputError("balance_layers needs features that are channels of layers; "
                         "'adaptive' ones are not")
    if o["weights"] and not Path(o["weights"]).is_file():
        raise InputError(f"{o['weights']}: no such checkpoint")
    views_per_image(o["augmentation"])
    memory_budget(o["memory_budget"])
    for name in ("num_neighbors", "reweight_neighbors", "batch_size", "map_kernel_size"):
        if o[name] < 1:
            raise InputError(f"{name} is {o[name]}; it must be at least 1")
    if o["map_kernel_size"] % 2 == 0:
        raise InputError(f"map_kernel_size is {o['map_kernel_size']}; it must be odd")
