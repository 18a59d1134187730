"""Exercises of lesson 03: covering radii, farthest-first, and a projection."""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from . import Case, Exercise, difference


def _counting() -> Iterator[Case]:
    for says, (ratio, count, kept) in {
            "half of ten": (0.5, 10, 5), "half of eleven: rounded down": (0.5, 11, 5),
            "a share that rounds to nothing: one is kept": (0.01, 20, 1), "all": (1.0, 7, 7),
            "a tenth of 9,216": (0.1, 9216, 921), "0.3 % of 9,216": (0.003, 9216, 27)}.items():
        yield Case({"ratio": ratio, "count": count}, kept, says, judge=_whole(kept))


def _whole(kept: int) -> Callable[[object], str | None]:
    def judge(returned: object) -> str | None:
        if isinstance(returned, float):
            return f"it returned {returned}, expected a whole number, {kept}"
        return difference(returned, kept, 0)
    return judge


def worst_covered(points: Tensor, picks: list[int]) -> float:
    rows = points.tolist()
    return max(min(math.dist(row, rows[pick]) for pick in picks) for row in rows)


def _covering() -> Iterator[Case]:
    generator = torch.Generator().manual_seed(0)

    def case(says: str, points: list | Tensor, picks: list[int]) -> Case:
        points = torch.as_tensor(points).float()
        return Case({"points": points, "picks": picks}, worst_covered(points, picks), says)

    line = [[0.0], [1.0], [5.0], [9.0]]
    yield case("one pick on a line", line, [0])
    yield case("two picks: each point counts its nearest one", line, [0, 3])
    yield case("all are picked", line, [3, 1, 0, 2])
    yield case("points of the plane", [[0.0, 0], [3, 4], [6, 8], [0, 1]], [1])
    yield case("30 random points of 4 numbers, 5 picks",
               torch.randn(30, 4, generator=generator), [3, 9, 27, 1, 14])


def _following() -> Iterator[Case]:
    generator = torch.Generator().manual_seed(0)

    def case(says: str, points: list | Tensor, picks: list[int]) -> Case:
        points = torch.as_tensor(points).float()
        radii = [worst_covered(points, picks[:k + 1]) for k in range(len(picks))]
        return Case({"points": points, "picks": picks}, radii, says)

    line = [[0.0], [1.0], [5.0], [9.0]]
    yield case("one pick on a line", line, [0])
    yield case("two picks", line, [0, 3])
    yield case("picks in another order", line, [2, 1, 3])
    yield case("a pick that covers nothing better: the radius stays", line, [0, 1, 2])
    yield case("all are picked: the last radius is 0", line, [1, 3, 0, 2])
    yield case("40 random points of 3 numbers, 10 picks",
               torch.randn(40, 3, generator=generator), [5, 7, 0, 33, 21, 2, 39, 11, 18, 4])


def _selecting() -> Iterator[Case]:
    generator = torch.Generator().manual_seed(0)

    def case(says: str, points: Tensor, size: int, start: int) -> Case:
        return Case({"points": points, "size": size, "start": start}, says=says,
                    judge=_judge_picks(points, size, start))

    line = torch.tensor([[0.0], [1.0], [5.0], [9.0]])
    yield case("one pick: the start", line, 1, 0)
    yield case("one pick, another start", line, 1, 2)
    yield case("two picks on a line", line, 2, 0)
    yield case("three picks on a line: both earlier ones count", line, 3, 0)
    yield case("all points of a line", torch.tensor([[0.0], [6.0], [10.0], [3.5]]), 4, 1)
    twice = torch.tensor([[0.0, 0.0], [0.0, 0.0], [3.0, 4.0], [3.0, 4.0]])
    yield case("points that are there twice", twice, 4, 0)
    for count, d, size in ((20, 2, 8), (60, 5, 60)):
        points = torch.randn(count, d, generator=generator)
        yield case(f"{count} random points, {size} picks", points, size, count // 2)


def _judge_picks(points: Tensor, size: int, start: int) -> Callable[[object], str | None]:
    """Follow the picks, and see that each was among the farthest: ties are settled as one likes."""

    def judge(returned: object) -> str | None:
        try:
            picks = [int(pick) for pick in returned]
        except (TypeError, ValueError):
            return "it should return indices, such as a list of int"
        if len(picks) != size:
            return f"it returned {len(picks)} picks, expected {size}"
        if picks[0] != start:
            return f"the first pick is {picks[0]}, expected the start, {start}"
        for number, pick in enumerate(picks[1:], start=1):
            if not 0 <= pick < len(points):
                return f"pick {number} is {pick}, but there are {len(points)} points"
            if pick in picks[:number]:
                return f"pick {number} is {pick}, which was picked before"
            distances = torch.cdist(points, points[picks[:number]]).amin(1)
            farthest = int(distances.argmax())
            if distances[pick] < distances[farthest] - 1e-4:
                return (f"pick {number} is {pick}, which is {distances[pick]:.4g} from the nearest "
                        f"of {picks[:number]}; expected {farthest}, which is "
                        f"{distances[farthest]:.4g} from it")
        return None

    return judge


def _projecting() -> Iterator[Case]:
    generator = torch.Generator().manual_seed(0)
    seen: list[Tensor] = []  # what came back for the same rows and other seeds

    def case(says: str, rows: Tensor, dim: int, seed: int,
             judge: Callable[[Tensor], str | None]) -> Case:
        def shaped(returned: object) -> str | None:
            found = torch.as_tensor(returned)
            if tuple(found.shape) != (len(rows), dim):
                return f"it returned shape {tuple(found.shape)}, expected {(len(rows), dim)}"
            return judge(found)

        return Case({"rows": rows, "dim": dim, "seed": seed}, says=says, judge=shaped)

    def keeps_distances(rows: Tensor) -> Callable[[Tensor], str | None]:
        def judge(found: Tensor) -> str | None:
            factors = torch.pdist(found).square() / torch.pdist(rows).square()
            if not 0.75 < float(factors.mean()) < 1.25:
                return (f"squared distances are {float(factors.mean()):.3g} times as large as "
                        "before on average, expected about 1")
            if float(factors.min()) < 0.4 or float(factors.max()) > 1.8:
                return (f"some squared distance is {float(factors.min()):.3g} times, another "
                        f"{float(factors.max()):.3g} times as large as before; with "
                        f"{found.shape[1]} dimensions all should be near 1")
            return None
        return judge

    def remember(found: Tensor) -> None:
        seen.append(found.clone())

    def same(found: Tensor) -> str | None:
        return None if torch.equal(found, seen[0]) else "the same seed gave another result"

    def other(found: Tensor) -> str | None:
        return "another seed gave the same result" if torch.equal(found, seen[0]) else None

    def equal_rows(found: Tensor) -> str | None:
        apart = float((found - found[0]).abs().max())
        return None if apart < 1e-3 else f"equal rows came out different, by up to {apart:.3g}"

    yield case("a single row: only the shape counts", torch.ones(1, 4), 2, 0, lambda found: None)
    yield case("a row of zeros", torch.zeros(1, 5), 3, 0, lambda found: None if not found.any()
               else "zeros should stay zeros")
    yield case("three equal rows", torch.ones(3, 50), 20, 0, equal_rows)
    few = torch.randn(5, 10, generator=generator)
    yield case("a first call, to compare with", few, 4, 1, remember)
    yield case("the same seed again", few, 4, 1, same)
    yield case("another seed", few, 4, 2, other)
    rows = torch.randn(40, 1200, generator=generator)
    yield case("40 random rows of 1,200 numbers", rows, 400, 3, keeps_distances(rows))
    shifted = rows + 20
    yield case("the same, 20 added to all numbers", shifted, 400, 3, keeps_distances(shifted))
    last = torch.zeros(40, 1200)
    last[:, -8:] = torch.randn(40, 8, generator=generator)
    yield case("rows that differ in their last 8 numbers only", last, 400, 3,
               keeps_distances(last))


EXERCISES = {
    "03.1": Exercise(_counting, hint="cut off behind the point, do not round: int(count * ratio), "
                     "and never less than 1"),
    "03.2": Exercise(_covering, hint="first the minimum over the picks, for each point; then the "
                     "maximum over the points"),
    "03.3": Exercise(_selecting, hint="the next pick is the point whose distance to its *nearest* "
                     "pick is largest; keep these distances and lower them with each pick"),
    "03.4": Exercise(_following, hint="keep each point's distance to its nearest pick so far; "
                     "after each pick, note the largest of these"),
    "03.5": Exercise(_projecting, hint="rows @ randn(d, dim) / sqrt(dim), with a generator that is "
                     "seeded in the function"),
}
