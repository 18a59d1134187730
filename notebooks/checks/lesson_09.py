"""Exercises of lesson 09: parity, the size of a bank, distances from one product, and drift."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from . import Case, Exercise

NUMBERS = 1_000_000  # in one tensor: the largest case has 120,000 pairs and 64 dimensions
STEPS = 100  # operations: a product needs ten, a loop over 300 queries many more


class Watched(torch.Tensor):
    """A tensor that refuses what does not survive an export."""

    steps = 0

    @classmethod
    def __torch_function__(cls, function, types, arguments=(), options=None):
        name = getattr(function, "__name__", str(function))
        if name in ("cdist", "pairwise_distance"):
            raise ValueError(f"{name} is what this exercise replaces")
        result = super().__torch_function__(function, types, arguments, options or {})
        if isinstance(result, Tensor):  # not shapes and the like, which printing asks for
            Watched.steps += 1
            if Watched.steps > STEPS:
                raise ValueError(f"more than {STEPS} operations: is there a loop?")
            if result.numel() > NUMBERS:
                raise ValueError(f"{name} makes a tensor of {tuple(result.shape)}: a number for "
                                 "each pair and dimension")
        return result

    def __deepcopy__(self, memo: dict) -> "Watched":
        return torch.tensor(self.tolist()).as_subclass(Watched)


def _answers() -> Iterator[Case]:
    for scores, others, expected, says in (
            ([5.0, 8.0], [5.0, 8.0], True, "two places that say the same"),
            ([5.0, 8.0], [5.0, 8.2], False, "a second photo that differs by 2.5 %"),
            ([5.0, 8.0], [4.0, 8.0], False, "a score that is lower"),
            ([100.0, 2.0], [100.5, 2.0], True, "a difference of a half, of a hundred"),
            ([100.0, 2.0], [100.0, 2.1], False, "a small score that differs by 5 %"),
            ([0.0, 3.0], [0.0, 3.0], True, "a photo that was learned: it scores 0 in both")):
        yield Case({"scores": np.array(scores), "others": np.array(others), "tolerance": 0.01},
                   expected, says)


def _banks() -> Iterator[Case]:
    for photos, side, ratio, width, size, says in (
            (1, 10, 1.0, 100, 4, "a photo of which all is kept"),
            (50, 28, 0.1, 152, 4, "fifty photos, a tenth kept, in float32"),
            (50, 28, 0.1, 152, 2, "the same in float16"),
            (3, 5, 0.05, 1000000, 1, "3.75 patches, rounded to four")):
        yield Case({"photos": photos, "side": side, "ratio": ratio, "width": width, "size": size},
                   round(photos * side * side * ratio) * width * size / 1e6, says)


def exact(queries: Tensor, bank: Tensor) -> Tensor:
    """One at a time, in double precision."""
    return torch.stack([(bank.double() - query.double()).square().sum(1).sqrt()
                        for query in queries])


def _close(expected: np.ndarray):
    def judge(returned: object) -> str | None:
        found = np.asarray(returned.detach() if isinstance(returned, Tensor) else returned, float)
        if found.shape != expected.shape:
            return f"it returned shape {found.shape}, expected {expected.shape}"
        wrong = ~(np.abs(found - expected) <= 0.01 * expected + 0.05)
        if wrong.any():
            place = tuple(int(i) for i in np.argwhere(wrong)[0])
            return (f"it returned {found[place]:.6g} at {list(place)}, expected "
                    f"{expected[place]:.6g}")
        return None
    return judge


def _points() -> Iterator[Case]:
    generator = torch.Generator().manual_seed(0)

    def case(queries: Tensor, bank: Tensor, says: str) -> Case:
        expected = exact(queries, bank).numpy()
        Watched.steps = 0
        return Case({"queries": queries.as_subclass(Watched), "bank": bank.as_subclass(Watched)},
                    says=says, judge=_close(expected))

    yield case(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0], [0.0, 0.0]]),
               "one query, at 5 and 0 from the bank")
    yield case(torch.rand(4, 3, generator=generator) * 9, torch.rand(6, 3, generator=generator),
               "4 queries and 6 points")
    far = torch.rand(5, 8, generator=generator) * 10 + 4000
    yield case(far[:3], far, "points far from the origin, three of them on both sides")
    same = torch.rand(200, 64, generator=generator) * 10
    yield case(same, same, "the same 200 points on both sides: what is 0 must not become NaN")
    yield case(torch.rand(300, 64, generator=generator) * 10,
               torch.rand(400, 64, generator=generator) * 10, "300 queries, 400 points")


def _expects(earliest: int, latest: int):
    def judge(returned: object) -> str | None:
        try:
            position = int(returned)
        except (TypeError, ValueError):
            return f"it returned {returned!r}, expected a position"
        if latest < 0:
            return (None if position == -1 else
                    f"it raised an alarm at {position}, expected none (-1)")
        if position < 0:
            return f"it raised no alarm, expected one at {earliest} to {latest}"
        if not earliest <= position <= latest:
            return f"it raised the alarm at {position}, expected it at {earliest} to {latest}"
        return None
    return judge


def _streams() -> Iterator[Case]:
    def case(excess: np.ndarray, says: str, earliest: int = 0, latest: int = -1,
             mean: float = 12.0, std: float = 0.5) -> Case:
        return Case({"scores": mean + std * excess, "mean": mean, "std": std}, says=says,
                    judge=_expects(earliest, latest))

    yield case(np.zeros(50), "50 scores that all equal the mean")
    yield case(np.r_[np.zeros(20), np.full(60, 4.0)], "scores that jump up by four std at photo 20",
               20, 60)
    for seed in range(4):
        calm = np.random.default_rng(seed).normal(size=500)
        yield case(calm, f"500 good photos without drift (stream {seed})")
    defects = np.random.default_rng(4).normal(size=500)
    defects[[100, 250, 400]] = 30
    yield case(defects, "500 photos, three of them of defective parts: that is no drift")
    for seed in (5, 6):
        shifted = np.random.default_rng(seed).normal(size=500)
        shifted[250:] += 1
        yield case(shifted, "good parts that score one std higher from photo 250 on", 250, 310,
                   mean=30.0 if seed == 6 else 3.0, std=2.0 if seed == 6 else 0.1)


EXERCISES = {
    "09.1": Exercise(_answers, hint="compare the absolute difference with tolerance * scores, for "
                     "every photo"),
    "09.2": Exercise(_banks, hint="a photo has side * side patches; 10⁶ bytes are a megabyte"),
    "09.3": Exercise(_points, hint="move both sets by the bank's mean, use |a|² + |b|² - 2ab, and "
                     "let no square be negative"),
    "09.4": Exercise(_streams, hint="standardise, let one score count for little, and add up only "
                     "what exceeds a slack; a limit of 10 std is quiet for 500 photos"),
}
