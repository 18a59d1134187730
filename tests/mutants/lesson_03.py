"""Plausible wrong answers to the exercises of lesson 03; the checker must refuse all of them."""

import torch


def _select(points, size, start, combine):
    """Farthest-first with another idea of the distance to several picks."""
    picks = [start]
    while len(picks) < size:
        distances = combine(torch.cdist(points, points[picks]))
        distances[picks] = -1
        picks.append(int(distances.argmax()))
    return picks


def from_last_pick(points, size, start):
    """Farthest from the last pick only."""
    return _select(points, size, start, lambda distances: distances[:, -1].clone())


def sum_of_distances(points, size, start):
    """Largest sum of distances: ends up at two extremes."""
    return _select(points, size, start, lambda distances: distances.sum(1))


def farthest_pick(points, size, start):
    """Distance to the farthest pick instead of the nearest."""
    return _select(points, size, start, lambda distances: distances.amax(1))


def nearest_point(points, size, start):
    """The nearest point that is left, instead of the farthest."""
    return _select(points, size, start, lambda distances: 1e6 - distances.amin(1))


def start_ignored(points, size, start):
    """Begins with the first point."""
    return _select(points, size, 0, lambda distances: distances.amin(1))


def one_too_many(points, size, start):
    """Counts the start on top."""
    return _select(points, min(size + 1, len(points)), start, lambda distances: distances.amin(1))


def picked_again(points, size, start):
    """Does not exclude what was picked when only copies are left."""
    distances, picks = torch.full((len(points),), torch.inf), [start]
    while len(picks) < size:
        distances = torch.minimum(distances, (points - points[picks[-1]]).norm(dim=1))
        picks.append(int(distances.argmax()))
    return picks


def drawn(points, size, start):
    """A random selection."""
    order = torch.randperm(len(points), generator=torch.Generator().manual_seed(0)).tolist()
    return [start, *(i for i in order if i != start)][:size]


def _normal(rows, dim, seed):
    return torch.randn(rows.shape[1], dim, generator=torch.Generator().manual_seed(seed))


def no_scale(rows, dim, seed):
    """Forgets the scale."""
    return rows @ _normal(rows, dim, seed)


def divided_by_dim(rows, dim, seed):
    """Divides by dim instead of its root."""
    return rows @ _normal(rows, dim, seed) / dim


def divided_by_width(rows, dim, seed):
    """Divides by the root of the old width."""
    return rows @ _normal(rows, dim, seed) / rows.shape[1] ** 0.5


def first_columns(rows, dim, seed):
    """Keeps some columns, which are not a random direction."""
    columns = torch.randperm(rows.shape[1], generator=torch.Generator().manual_seed(seed))[:dim]
    return rows[:, columns] * (rows.shape[1] / dim) ** 0.5


def not_centred(rows, dim, seed):
    """Uniform numbers from 0 to 1: all directions look alike."""
    generator = torch.Generator().manual_seed(seed)
    return rows @ torch.rand(rows.shape[1], dim, generator=generator) * (3 / dim) ** 0.5


def unseeded(rows, dim, seed):
    """Ignores the seed."""
    return rows @ torch.randn(rows.shape[1], dim) / dim ** 0.5


def constant_seed(rows, dim, seed):
    """Always the same matrix."""
    return rows @ _normal(rows, dim, 0) / dim ** 0.5


def matrix_a_row(rows, dim, seed):
    """A new matrix for every row."""
    return torch.cat([row[None] @ _normal(rows, dim, seed + i) / dim ** 0.5
                      for i, row in enumerate(rows)])


def rounded(ratio, count):
    """Rounds instead of cutting off."""
    return max(1, round(ratio * count))


def perhaps_none(ratio, count):
    """Forgets that one row at least is kept."""
    return int(ratio * count)


def with_a_fraction(ratio, count):
    """Forgets to make it whole."""
    return max(1.0, ratio * count)


def what_goes(ratio, count):
    """Counts the rows that are left out."""
    return max(1, count - int(ratio * count))


def nearest_covered(points, picks):
    """The smallest distance of all, which is always 0."""
    return float(torch.cdist(points, points[picks]).amin(1).min())


def farthest_from_any(points, picks):
    """The largest distance to any pick."""
    return float(torch.cdist(points, points[picks]).max())


def mean_distance(points, picks):
    """The mean over the points."""
    return float(torch.cdist(points, points[picks]).amin(1).mean())


def axes_swapped(points, picks):
    """The minimum over the points, the maximum over the picks."""
    return float(torch.cdist(points, points[picks]).amin(0).max())


def between_picks(points, picks):
    """Looks at the picks only."""
    return float(torch.cdist(points[picks], points[picks]).max())


def of_each_pick(points, picks):
    """Forgets the picks before."""
    return [float((points - points[pick]).norm(dim=1).max()) for pick in picks]


def one_late(points, picks):
    """Notes the radius before it looks at the pick."""
    distances, radii = (points - points[picks[0]]).norm(dim=1), []
    for pick in picks:
        radii.append(float(distances.max()))
        distances = torch.minimum(distances, (points - points[pick]).norm(dim=1))
    return radii


def last_only(points, picks):
    """The radius of all picks, again and again."""
    return [float(torch.cdist(points, points[picks]).amin(1).max())] * len(picks)


def gaps(points, picks):
    """How far each pick is from those before it."""
    return [0.0] + [float(torch.cdist(points[[pick]], points[picks[:k]]).min())
                    for k, pick in enumerate(picks[1:], start=1)]


def sorted_first(points, picks):
    """Takes the picks in the order of their numbers."""
    return [float(torch.cdist(points, points[sorted(picks)[:k + 1]]).amin(1).max())
            for k in range(len(picks))]


MUTANTS = {
    "03.1": [rounded, perhaps_none, with_a_fraction, what_goes],
    "03.2": [nearest_covered, farthest_from_any, mean_distance, axes_swapped, between_picks],
    "03.3": [from_last_pick, sum_of_distances, farthest_pick, nearest_point, start_ignored,
             one_too_many, picked_again, drawn],
    "03.4": [of_each_pick, one_late, last_only, gaps, sorted_first],
    "03.5": [no_scale, divided_by_dim, divided_by_width, first_columns, not_centred, unseeded,
             constant_seed, matrix_a_row],
}
