"""Random projections that some implementations put before coreset selection.

By the Johnson-Lindenstrauss lemma, distances survive a random projection to O(log n) dimensions,
and selection gets cheaper with every dimension less. The memory bank keeps the real features.

Each takes a `device`, which computes: features that lie elsewhere, in a large file say, pass
through it in parts, and what is computed lies where they lie. None: that is where they lie.
"""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from .precision import in_float32
from .tables import stream


def linear(features: Tensor, seed: int, dim: int = 128, *,
           device: torch.device | None = None) -> Tensor:
    """`(n, d)` -> `(n, 128)` through an untrained `nn.Linear` without bias: amazon's projection.

    Features that already have 128 dimensions pass unchanged, as there.
    """
    if features.shape[1] == dim:
        return features
    bound = features.shape[1] ** -0.5  # the default initialisation of nn.Linear
    generator = torch.Generator().manual_seed(seed)
    weight = torch.empty(features.shape[1], dim).uniform_(-bound, bound, generator=generator)
    return _project(features, weight, device)


def sparse(features: Tensor, seed: int, eps: float = 0.9, *,
           device: torch.device | None = None) -> Tensor:
    """`(n, d)` -> `(n, 4 ln n / (eps^2/2 - eps^3/3))`: anomalib's sparse projection.

    With few or narrow features that is *more* than d dimensions; anomalib goes there regardless.
    """
    from sklearn.random_projection import SparseRandomProjection, johnson_lindenstrauss_min_dim

    dim = int(johnson_lindenstrauss_min_dim(len(features), eps=eps))
    projection = SparseRandomProjection(dim, random_state=seed, dense_output=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # more dimensions than before: said above
        projection.fit(features[:1].cpu().numpy())
    weight = torch.from_numpy(projection.components_.toarray().T)  # (d, dim)
    return _project(features, weight.float(), device)


def sparse_if_smaller(features: Tensor, seed: int, eps: float = 0.9, *,
                      device: torch.device | None = None) -> Tensor:
    """The same where it makes features narrower, else nothing: ind_knn_ad's rule."""
    from sklearn.random_projection import johnson_lindenstrauss_min_dim

    dim = int(johnson_lindenstrauss_min_dim(len(features), eps=eps))
    return sparse(features, seed, eps, device=device) if dim <= features.shape[1] else features


@in_float32
def mean_distances(features: Tensor, seed: int, count: int = 10, *,
                   device: torch.device | None = None) -> Tensor:
    """`(n,)` mean distances to ten random rows: where amazon's approximate greedy loop begins."""
    rows = torch.randperm(len(features), generator=torch.Generator().manual_seed(seed))[:count]
    device = features.device if device is None else device
    some = features[rows].to(device, torch.float32)
    return torch.cat([torch.cdist(part.float(), some).mean(1)
                      for _, part in stream(features, device)]).to(features.device)


@in_float32
def _project(features: Tensor, weight: Tensor, device: torch.device | None) -> Tensor:
    """In parts, and in the precision of the features: they may lie in a large file."""
    device = features.device if device is None else device
    weight = weight.to(device)
    projected = features.new_empty(len(features), weight.shape[1])
    for part, rows in stream(features, device):
        projected[part] = rows.float() @ weight
    return projected


PROJECTIONS: dict[str, Callable[..., Tensor]] = {
    "linear": linear, "sparse": sparse, "sparse-if-smaller": sparse_if_smaller,
}
