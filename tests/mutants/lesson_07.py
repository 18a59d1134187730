"""Wrong answers to the exercises of lesson 07, which their checks must refuse."""

import math

import numpy as np
from scipy.stats import t as student


def in_order_of_choice(count, k):
    """The order counts."""
    return math.perm(count, k)


def photos_twice(count, k):
    """A photo may come twice."""
    return count**k


def products(count, k):
    """Photos times shots."""
    return count * k


def drawn_for_each_k(count, k, seed):
    """Another draw for each k: not nested."""
    return np.random.default_rng([seed, k]).permutation(count)[:k].tolist()


def with_replacement(count, k, seed):
    """An image may come twice."""
    return np.random.default_rng(seed).integers(0, count, k).tolist()


def first_ones(count, k, seed):
    """The seed is ignored."""
    return list(range(k))


def no_seed(count, k, seed):
    """Another choice at each call."""
    return np.random.default_rng().permutation(count)[:k].tolist()


def slices(count, k, seed):
    """Slices, as AnomalyDINO takes them: not nested."""
    return [(seed * k + i) % count for i in range(k)]


def never_the_last(count, k, seed):
    """The last image is never drawn, unless all are."""
    order = np.random.default_rng(seed).permutation(max(count - 1, 1)).tolist()
    return (order + [count - 1])[:k]


def floats(count, k, seed):
    """Positions that are no int."""
    return np.random.default_rng(seed).permutation(count)[:k].astype(float).tolist()


def divided_by_n(values):
    """The spread of the seeds at hand, not of those that could be."""
    return values.mean(0), values.std(0)


def over_shots(values):
    """Over the numbers of shots."""
    return values.mean(1), values.std(1, ddof=1)


def of_all(values):
    """One number for everything."""
    return values.mean(), values.std(ddof=1)


def of_the_mean(values):
    """The standard error of the mean."""
    return values.mean(0), values.std(0, ddof=1) / np.sqrt(len(values))


def mirrored(picture):
    """Rows and columns swapped: mirrored at the diagonal."""
    return [picture, picture.transpose(1, 0, 2), picture[::-1, ::-1],
            picture[::-1, ::-1].transpose(1, 0, 2)]


def clockwise(picture):
    """The other way round."""
    return [np.rot90(picture, -k) for k in range(4)]


def colours_too(picture):
    """Turns the last two axes."""
    return [np.rot90(picture, k, axes=(1, 2)) for k in range(4)]


def three_views(picture):
    """Without the picture itself."""
    return [np.rot90(picture, k) for k in (1, 2, 3)]


def _table(scores, labels):
    bad, good = scores[labels == 1][:, None], scores[labels == 0]
    return (bad > good) + 0.5 * (bad == good)


def _interval(values, percents=(2.5, 97.5)):
    silent = np.ptp(values) < 1e-12
    return (math.nan, math.nan) if silent else tuple(np.percentile(values, percents))


def _resampled(table, draws, seed):
    generator = np.random.default_rng(seed)
    rows, columns = table.shape
    return np.array([table[generator.integers(0, rows, rows)]
                     [:, generator.integers(0, columns, columns)].mean() for _ in range(draws)])


def unpaired(a, b, labels, draws=2000):
    """Other images for b than for a."""
    return _interval(_resampled(_table(b, labels), draws, 0)
                     - _resampled(_table(a, labels), draws, 1))


def wrong_sign(a, b, labels, draws=2000):
    """a less b."""
    return _interval(_resampled(_table(a, labels) - _table(b, labels), draws, 0))


def only_defective(a, b, labels, draws=2000):
    """Good images are not drawn again."""
    difference = (_table(b, labels) - _table(a, labels)).mean(1)
    generator = np.random.default_rng(0)
    return _interval([generator.choice(difference, len(difference)).mean() for _ in range(draws)])


def pairs_drawn(a, b, labels, draws=2000):
    """Pairs are drawn as if they were independent, which they are not: far too narrow."""
    difference = (_table(b, labels) - _table(a, labels)).ravel()
    generator = np.random.default_rng(0)
    return _interval([generator.choice(difference, len(difference)).mean() for _ in range(draws)])


def ninety_percent(a, b, labels, draws=2000):
    """The middle 90 %."""
    return _interval(_resampled(_table(b, labels) - _table(a, labels), draws, 0), (5, 95))


def sure_when_silent(a, b, labels, draws=2000):
    """0 to 0 where every draw says the same."""
    return tuple(np.percentile(_resampled(_table(b, labels) - _table(a, labels), draws, 0),
                               [2.5, 97.5]))


def ties_ignored(a, b, labels, draws=2000):
    """A tie counts nothing."""
    tables = [np.floor(_table(scores, labels)) for scores in (a, b)]
    return _interval(_resampled(tables[1] - tables[0], draws, 0))


def _enough(curve, counts, upper, margin):
    place = len(counts) - 1
    while place and upper[place - 1] <= margin:
        place -= 1
    return counts[place]


def on_average(curve, counts, margin):
    """The mean alone, however the seeds scatter."""
    return _enough(curve, counts, (curve[:, -1:] - curve).mean(0), margin)


def unpaired_seeds(curve, counts, margin):
    """The spread of the curve, not of the differences."""
    quantile = student.ppf(0.95, len(curve) - 1)
    upper = (curve[:, -1].mean() - curve.mean(0)
             + quantile * curve.std(0, ddof=1) / np.sqrt(len(curve)))
    return _enough(curve, counts, upper, margin)


def spread_of_seeds(curve, counts, margin):
    """Not divided by the root of the number of seeds."""
    missing = curve[:, -1:] - curve
    quantile = student.ppf(0.95, len(curve) - 1)
    return _enough(curve, counts, missing.mean(0) + quantile * missing.std(0, ddof=1), margin)


def first_that_is(curve, counts, margin):
    """The first count within the margin, though a larger one is not."""
    missing = curve[:, -1:] - curve
    quantile = student.ppf(0.95, len(curve) - 1)
    upper = missing.mean(0) + quantile * missing.std(0, ddof=1) / np.sqrt(len(curve))
    return counts[int(np.argmax(upper <= margin))]


def always_all(curve, counts, margin):
    """Takes what there is."""
    return counts[-1]


MUTANTS = {
    "07.1": [in_order_of_choice, photos_twice, products],
    "07.2": [drawn_for_each_k, with_replacement, first_ones, no_seed, slices, never_the_last,
             floats],
    "07.3": [divided_by_n, over_shots, of_all, of_the_mean],
    "07.4": [mirrored, clockwise, colours_too, three_views],
    "07.5": [unpaired, wrong_sign, only_defective, pairs_drawn, ninety_percent, ties_ignored,
             sure_when_silent],
    "07.6": [on_average, unpaired_seeds, spread_of_seeds, first_that_is, always_all],
}
