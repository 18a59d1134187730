"""Wrong answers to the exercises of lesson 07, which their checks must refuse."""

import numpy as np


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


def _table(scores, labels):
    bad, good = scores[labels == 1][:, None], scores[labels == 0]
    return (bad > good) + 0.5 * (bad == good)


def _interval(values):
    return tuple(np.percentile(values, [2.5, 97.5]))


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
    return tuple(np.percentile(_resampled(_table(b, labels) - _table(a, labels), draws, 0),
                               [5, 95]))


def ties_ignored(a, b, labels, draws=2000):
    """A tie counts nothing."""
    tables = [np.floor(_table(scores, labels)) for scores in (a, b)]
    return _interval(_resampled(tables[1] - tables[0], draws, 0))


MUTANTS = {
    "07.1": [drawn_for_each_k, with_replacement, first_ones, no_seed, slices, never_the_last,
             floats],
    "07.2": [unpaired, wrong_sign, only_defective, pairs_drawn, ninety_percent, ties_ignored],
}
