"""Exercises of lesson 07: shots that can be compared, and an interval of a paired difference."""

from collections.abc import Callable, Iterator
from operator import index

import numpy as np

from . import Case, Exercise, brief


class _Asked:
    """What the reader's function answered so far: nesting needs several answers."""

    def __init__(self) -> None:
        self.answers: dict[tuple[int, int, int], list] = {}

    def judge(self, count: int, k: int, seed: int) -> Callable[[object], str | None]:
        def find(returned: object) -> str | None:
            try:
                returned = [index(i) for i in returned]  # type: ignore[attr-defined]
            except TypeError:
                return f"it returned {brief(returned)}, expected a list of int"
            if len(returned) != k:
                return f"it returned {len(returned)} positions, expected {k}"
            if len(set(returned)) < k:
                return f"a position occurs twice in {brief(returned)}"
            if not all(0 <= i < count for i in returned):
                return f"{brief(returned)} has positions outside 0 to {count - 1}"
            return self._among_others(returned, count, k, seed)
        return find

    def _among_others(self, returned: list, count: int, k: int, seed: int) -> str | None:
        before = self.answers.setdefault((count, k, seed), returned)
        if set(before) != set(returned):
            return f"called again, it returned {brief(returned)} instead of {brief(before)}"
        for (other_count, _, other_seed), other in self.answers.items():
            small, large = sorted((returned, other), key=len)
            if (other_count, other_seed) == (count, seed) and not set(small) <= set(large):
                return (f"the {len(small)} shots {brief(small)} are not among the {len(large)} "
                        f"shots {brief(large)} of the same seed")
        same_k = [frozenset(other) for (n, m, _), other in self.answers.items()
                  if (n, m) == (count, k) and k < count]
        if len(same_k) >= 5 and len(set(same_k)) == 1:
            return f"{len(same_k)} seeds all see the same images, {brief(returned)}"
        seen = {i for other in same_k for i in other}
        if len(same_k) >= 20 and len(seen) < count:
            return f"20 seeds never see the images {sorted(set(range(count)) - seen)}"
        return None


def _choosing() -> Iterator[Case]:
    asked = _Asked()

    def case(count: int, k: int, seed: int, says: str) -> Case:
        return Case({"count": count, "k": k, "seed": seed}, says=says,
                    judge=asked.judge(count, k, seed))

    yield case(1, 1, 0, "the only image there is")
    yield case(5, 5, 0, "all images")
    yield case(5, 2, 0, "2 of 5 images")
    yield case(5, 2, 0, "the same question again: the same seed must give the same images")
    for k in (1, 2, 4, 8, 16, 17):
        yield case(30, k, 1, f"{k} of 30 images: they must be nested in those asked before")
    for seed in range(20):
        yield case(6, 3, seed, "twenty seeds, which must not all see the same images")


def differences(a: np.ndarray, b: np.ndarray, labels: np.ndarray, draws: int) -> np.ndarray:
    """AUROC of b less that of a on the same draws: by how often each image was drawn."""
    def table(scores: np.ndarray) -> np.ndarray:
        above = scores[labels == 1][:, None] - scores[labels == 0]
        return (above > 0) + 0.5 * (above == 0)

    found = table(b) - table(a)
    generator = np.random.default_rng(1)
    rows, columns = (generator.multinomial(n, np.full(n, 1 / n), draws) / n for n in found.shape)
    return np.sum(rows @ found * columns, axis=1)


def _near(expected: np.ndarray, tolerance: float) -> Callable[[object], str | None]:
    def find(returned: object) -> str | None:
        try:
            low, high = (float(value) for value in returned)
        except (TypeError, ValueError):
            return f"it returned {brief(returned)}, expected two numbers, low and high"
        for name, found, wanted in (("low", low, expected[0]), ("high", high, expected[1])):
            if not abs(found - wanted) <= tolerance:
                return (f"{name} is {found:.4f}, expected {wanted:.4f} up to "
                        f"{tolerance:.3f} of chance")
        return None
    return find


def _comparing() -> Iterator[Case]:
    generator = np.random.default_rng(0)
    labels = np.array([0, 0, 1, 1])
    one = np.array([1.0, 2.0, 3.0, 4.0])
    cases = [("two detectors that agree: 0 to 0", one, one * 2, labels),
             ("b right on every pair, a wrong on every pair: 1 to 1", -one, one, labels),
             ("a right on every pair, b tied on every pair", one, one * 0, labels)]
    labels = np.repeat([0, 1], [15, 50])
    hard = generator.normal(size=65)  # what makes an image hard for both
    a = 1.2 * labels + hard + 0.5 * generator.normal(size=65)
    b = 1.5 * labels + hard + 0.5 * generator.normal(size=65)
    order = generator.permutation(65)
    cases += [("65 images in any order, hard for both alike: the interval is narrow",
               a[order], b[order], labels[order]),
              ("rounded scores: many ties", np.round(a), np.round(b), labels)]
    for says, a, b, labels in cases:
        values = differences(a, b, labels, 20_000)
        # Ends of 2,000 draws scatter by 0.06 standard deviations; those of 90 % are off by 0.31.
        yield Case({"a": a, "b": b, "labels": labels, "draws": 2000}, says=says,
                   judge=_near(np.percentile(values, [2.5, 97.5]), 0.25 * values.std() + 1e-9))


EXERCISES = {
    "07.1": Exercise(_choosing, hint="shuffle all images once for each seed, and take the first k"),
    "07.2": Exercise(_comparing, hint="the same drawn images serve both detectors; take "
                     "percentiles of the differences, b less a"),
}
