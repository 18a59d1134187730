"""What a model has learned, for tests that compare it."""

from dataclasses import replace

import torch

from indad import PatchCore


def tensors_of(model: PatchCore) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in vars(model.fitted_).items()
            if isinstance(value, torch.Tensor)}


def changed(model: PatchCore, **fields: object) -> PatchCore:
    """A model of the same options and network that learned something else."""
    other = PatchCore(**model.get_params())
    other.use(model.prepare())
    other.fitted_ = replace(model.fitted_, **fields)
    return other
