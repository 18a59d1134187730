"""indad: PatchCore, the anomaly detector that learns from good images only."""

__version__ = "0.1.0"

_HOMES = {"PatchCore": "patchcore", "load_dataset": "data.datasets", "evaluate": "metrics",
          "measure": "evaluation.measures", "load_backbone": "backbones.loading",
          "PRESETS": "presets",
          "BACKBONES": "backbones.registry", "CATALOG": "data.catalog",
          "download_dataset": "data.download.installing", "audit": "data.audit",
          "suspects": "deploy.suspects", "export_onnx": "deploy.export",
          "to_frame": "experiments.frames"}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> object:
    """Import on first use: nothing waits for torch that does not need it."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
