# What `__init__.py` imports on first use, for whoever checks types.
from .backbones.loading import load_backbone as load_backbone
from .backbones.registry import BACKBONES as BACKBONES
from .data.audit import audit as audit
from .data.catalog import CATALOG as CATALOG
from .data.datasets import load_dataset as load_dataset
from .data.download.installing import download_dataset as download_dataset
from .deploy.export import export_onnx as export_onnx
from .deploy.suspects import suspects as suspects
from .evaluation.measures import measure as measure
from .experiments.frames import to_frame as to_frame
from .metrics import evaluate as evaluate
from .patchcore import PatchCore as PatchCore
from .presets import PRESETS as PRESETS

__version__: str
