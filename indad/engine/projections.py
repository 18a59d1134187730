"""Random projections that some implementations put before coreset selection.

By the Johnson-Lindenstrauss lemma, distances survive a random projection to O(log n) dimensions,
and selection gets cheaper with every dimension less. The memory bank keeps the real features.
"""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from .tables import CHUNK_ROWS


def linear(features: Tensor, seed: int, dim: int = 128) -> Tensor:
    """`(n, d)` -> `(n, 128)` through an untrained `nn.Linear` without bias: amazon's projection.

    Features that already have 128 dimensions pass unchanged, as there.
    """
    if features.shape[1] == dim:
        return features
    bound = features.shape[1] ** -0.5  # the default initialisation of nn.Linear
    generator = torch.Generator().manual_seed(seed)
    weight = torch.empty(features.shape[1], dim).uniform_(-bound, bound, generator=generator)
    return _project(features, weight)


def sparse(features: Tensor, seed: int, eps: float = 0.9) -> Tensor:
    """`(n, d)` -> `(n, 4 ln n / (eps^2/2 - eps^3/3))`: anomalib's sparse projection.

    With few or narrow features that is *more* than d dimensions; anomalib goes there regardless.
    """
    from sklearn.random_projection import SparseRandomProjection, johnson_lindenstrauss_min_dim

    dim = int(johnson_lindenstrauss_min_dim(len(features), eps=eps))
    projection = SparseRandomProjection(dim, random_state=seed, dense_output=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # more dimensions than before: said above
        projection.fit(features[:1].cpu().numpy())
    return _project(features, torch.from_numpy(projection.components_.toarray().T))  # (d, dim)


def sparse_if_smaller(features: Tensor, seed: int, eps: float = 0.9) -> Tensor:
    """The same where it makes features narrower, else nothing: ind_knn_ad's rule."""
    from sklearn.random_projection import johnson_lindenstrauss_min_dim

    dim = int(johnson_lindenstrauss_min_dim(len(features), eps=eps))
    return sparse(features, seed, eps) if dim <= features.shape[1] else features


def mean_distances(features: Tensor, seed: int, count: int = 10) -> Tensor:
    """`(n,)` mean distances to ten random rows: where amazon's approximate greedy loop begins."""
    rows = torch.randperm(len(features), generator=torch.Generator().manual_seed(seed))[:count]
    some = features[rows].float()
    return torch.cat([torch.cdist(part.float(), some).mean(1)
                      for part in features.split(CHUNK_ROWS)])


def _project(features: Tensor, weight: Tensor) -> Tensor:
    """In parts, and in the precision of the features: they may lie in a large file."""
    weight = weight.to(features.device, torch.float32)
    projected = features.new_empty(len(features), weight.shape[1])
    for start in range(0, len(features), CHUNK_ROWS):
        part = slice(start, start + CHUNK_ROWS)
        projected[part] = features[part].float() @ weight
    return projected


PROJECTIONS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "linear": linear, "sparse": sparse, "sparse-if-smaller": sparse_if_smaller,
}
