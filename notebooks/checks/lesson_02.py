"""Exercises of lesson 02: distances, a bank that does not fit, maps, scores, Equation 7."""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from . import Case, Exercise, difference


def distances_to(patch: Tensor, bank: Tensor) -> Tensor:
    return torch.tensor([math.dist(row, patch.tolist()) for row in bank.tolist()])


def _measuring() -> Iterator[Case]:
    generator = torch.Generator().manual_seed(0)

    def case(says: str, patch: list | Tensor, bank: list | Tensor) -> Case:
        patch, bank = torch.as_tensor(patch).float(), torch.as_tensor(bank).float()
        return Case({"patch": patch, "bank": bank}, distances_to(patch, bank), says)

    yield case("a single row, 5 away", [0, 0], [[3, 4]])
    yield case("one number a row", [2], [[5], [-2]])
    yield case("two rows, one of them the patch itself", [1, 1], [[1, 1], [1, 3]])
    yield case("as many rows as numbers in a row", [1, 0], [[4, 4], [1, 2]])
    yield case("30 random rows of 8 numbers", torch.randn(8, generator=generator),
               torch.randn(30, 8, generator=generator))


def stretch(grids: Tensor, size: tuple[int, int]) -> Tensor:
    """Pixel by pixel: its centre lies between four cells' centres, or beyond the last ones."""
    _, h, w = grids.shape
    made = torch.zeros(len(grids), *size)
    for y in range(size[0]):
        for x in range(size[1]):
            down = min(max((y + 0.5) * h / size[0] - 0.5, 0), h - 1)
            right = min(max((x + 0.5) * w / size[1] - 0.5, 0), w - 1)
            top, left = int(down), int(right)
            below, beside = min(top + 1, h - 1), min(left + 1, w - 1)
            v, u = down - top, right - left
            made[:, y, x] = ((1 - v) * ((1 - u) * grids[:, top, left] + u * grids[:, top, beside])
                             + v * ((1 - u) * grids[:, below, left]
                                    + u * grids[:, below, beside]))
    return made


def _stretching() -> Iterator[Case]:
    generator = torch.Generator().manual_seed(0)

    def case(says: str, shape: tuple[int, int, int], size: tuple[int, int]) -> Case:
        grids = torch.randint(0, 10, shape, generator=generator).float()
        return Case({"grids": grids, "size": size}, stretch(grids, size), says)

    yield case("a size that is the grid's", (1, 2, 2), (2, 2))
    yield case("a single cell: the same everywhere", (1, 1, 1), (2, 3))
    yield case("2 x 2 cells to 4 x 4 pixels", (1, 2, 2), (4, 4))
    yield case("more columns than rows", (1, 2, 3), (4, 9))
    yield case("two images", (2, 3, 2), (6, 8))


def worst_share(patches: Tensor, share: float) -> Tensor:
    count = max(round(share * patches.shape[1]), 1)
    return torch.tensor([sum(sorted(row)[-count:]) / count for row in patches.tolist()])


def _scoring() -> Iterator[Case]:
    generator = torch.Generator().manual_seed(0)

    def case(says: str, patches: list | Tensor, share: float) -> Case:
        patches = torch.as_tensor(patches).float()
        return Case({"patches": patches, "share": share}, worst_share(patches, share), says)

    yield case("a single patch", [[3]], 1.0)
    yield case("a share of 0: at least one patch counts, the worst", [[1, 5, 2]], 0.0)
    yield case("half of four patches", [[4, 1, 3, 2]], 0.5)
    yield case("two images", [[1, 5, 2, 0], [7, 0, 6, 1]], 0.5)
    yield case("1 % of 190 patches are 1.9: two", torch.rand(3, 190, generator=generator), 0.01)
    yield case("all patches", torch.rand(2, 9, generator=generator), 1.0)


class Watched(torch.Tensor):
    """A tensor that remembers the largest tensor that was computed from it."""

    largest = 0

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        result = super().__torch_function__(func, types, args, kwargs or {})
        for one in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(one, Tensor):
                cls.largest = max(cls.largest, one.numel())
        return result

    def __deepcopy__(self, memo: dict) -> "Watched":
        return self.as_subclass(Tensor).clone().as_subclass(Watched)


def _searching() -> Iterator[Case]:
    generator = torch.Generator().manual_seed(0)

    def case(says: str, queries: Tensor, bank: Tensor, chunk: int, *, watch: bool = False) -> Case:
        expected = torch.stack([(bank - query).norm(dim=1).min() for query in queries])
        judge = _judge_search(queries, bank, expected, chunk, watch)
        if watch:
            queries, bank = queries.as_subclass(Watched), bank.as_subclass(Watched)
        Watched.largest = 0
        return Case({"queries": queries, "bank": bank, "chunk": chunk}, says=says, judge=judge)

    one = torch.tensor([[0.0, 0.0]])
    yield case("a single row, 5 away", one, torch.tensor([[3.0, 4.0]]), 1)
    yield case("the nearest row in the first chunk", one, torch.tensor([[1.0, 0], [3, 0]]), 1)
    yield case("the nearest row in the second chunk", one, torch.tensor([[3.0, 0], [1, 0]]), 1)
    yield case("a last chunk that is not full", one, torch.tensor([[3.0, 0], [2, 0], [1, 0]]), 2)
    yield case("a chunk larger than the bank", one, torch.tensor([[3.0, 0], [0, 2]]), 10)
    yield case("a patch that is in the bank, twice", torch.tensor([[1.0, 1.0]]),
               torch.tensor([[2.0, 2], [1, 1], [1, 1]]), 2)
    queries, bank = (torch.randn(count, 8, generator=generator) for count in (40, 100))
    yield case("40 random queries and 100 random rows", queries, bank, 16)
    queries, bank = (torch.randn(count, 4, generator=generator) for count in (200, 400))
    yield case("the size of the blocks that you make", queries, bank, 8, watch=True)


def _judge_search(queries: Tensor, bank: Tensor, expected: Tensor, chunk: int,
                  watch: bool) -> Callable[[object], str | None]:
    def judge(returned: object) -> str | None:
        largest, n, (m, d) = Watched.largest, len(queries), bank.shape
        if not isinstance(returned, tuple) or len(returned) != 2:
            return "it should return two tensors, distances and indices"
        distances, indices = (torch.as_tensor(part).as_subclass(Tensor) for part in returned)
        problem = difference(distances, expected, 1e-3)
        if problem:
            return f"distances: {problem}"
        if tuple(indices.shape) != (n,):
            return f"indices have shape {tuple(indices.shape)}, expected {(n,)}"
        if indices.is_floating_point() or int(indices.min()) < 0 or int(indices.max()) >= m:
            return f"indices must be integers from 0 to {m - 1}"
        reached = (bank[indices] - queries).norm(dim=1)  # of equally near rows any will do
        if not torch.allclose(reached, expected, atol=1e-3):
            wrong = int((reached - expected).abs().argmax())
            return (f"query {wrong} is at {expected[wrong]:.4g} from its nearest row, but row "
                    f"{int(indices[wrong])}, which came back, is at {reached[wrong]:.4g}")
        if watch and largest > n * chunk * d:
            return (f"a tensor of {largest:,} numbers was made; {n} queries against {chunk} rows "
                    f"of {d} numbers at a time need {n * chunk * d:,} at most")
        return None

    return judge


def reweighted_score(q: Tensor, bank: Tensor, b: int) -> float:
    """Equation 7 term by term, in plain Python, with the largest exponent taken out."""
    to_bank = [math.dist(row, q.tolist()) for row in bank.tolist()]
    worst = min(to_bank)
    if b == 1:
        return worst
    match = bank.tolist()[to_bank.index(worst)]
    to_match = [math.dist(row, match) for row in bank.tolist()]
    around = sorted(range(len(bank)), key=to_match.__getitem__)[:b]
    largest = max(to_bank[i] for i in around)
    total = sum(math.exp(to_bank[i] - largest) for i in around)
    return (1 - math.exp(worst - largest) / total) * worst


def _reweighting() -> Iterator[Case]:
    generator = torch.Generator().manual_seed(0)

    def case(says: str, q: list | Tensor, bank: list | Tensor, b: int) -> Case:
        q, bank = torch.as_tensor(q).float(), torch.as_tensor(bank).float()
        return Case({"q": q, "bank": bank, "b": b}, reweighted_score(q, bank, b), says)

    yield case("b = 1: the distance itself", [0, 0], [[3, 4], [6, 8]], 1)
    yield case("b = 2, two rows equally far from q: half of the distance", [0], [[-2], [2]], 2)
    yield case("b = 2: m* and the row next to it", [0], [[1], [3], [9]], 2)
    yield case("N around m*, where the rows around q are others", [0], [[2], [-3], [4], [5]], 2)
    yield case("q in the bank: its score is 0", [1, 1], [[1, 1], [2, 2], [3, 1]], 2)
    yield case("a bank of two rows and b = 9", [0], [[1], [2]], 9)
    yield case("distances above 100: exp overflows", [0, 0], [[120, 0], [121, 0], [0, 125]], 3)
    yield case("16 numbers a row", torch.full((16,), 0.5), torch.eye(16)[:6] * 2, 3)
    for count, d in ((20, 3), (50, 8)):
        bank = torch.randn(count, d, generator=generator)
        yield case(f"{count} random rows", torch.randn(d, generator=generator) * 2, bank, 5)


EXERCISES = {
    "02.1": Exercise(_measuring, hint="the root of the sum of squared differences, summed over the "
                     "numbers of a row (dim=1), not over the rows"),
    "02.2": Exercise(_searching, hint="for each chunk of the bank: the nearest row in it, its "
                     "index plus the chunk's start, kept where it is nearer than the best so far"),
    "02.3": Exercise(_stretching, hint="mode='bilinear' and no align_corners; interpolate wants "
                     "(n, 1, h, w), so put a dimension in and take it out again"),
    "02.4": Exercise(_scoring, hint="max(round(share * p), 1) patches of each image, the largest "
                     "ones; take their mean"),
    "02.5": Exercise(_reweighting, hint="1 - exp(s*) / sum of exp over the b rows nearest to m*, "
                     "m* among them; take logsumexp or softmax, so that nothing overflows"),
}
