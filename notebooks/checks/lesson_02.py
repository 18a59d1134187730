"""Exercises of lesson 02: nearest rows of a bank that does not fit, and Equation 7."""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from . import Case, Exercise, difference


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
    "02.1": Exercise(_searching, hint="for each chunk of the bank: the nearest row in it, its "
                     "index plus the chunk's start, kept where it is nearer than the best so far"),
    "02.2": Exercise(_reweighting, hint="1 - exp(s*) / sum of exp over the b rows nearest to m*, "
                     "m* among them; take logsumexp or softmax, so that nothing overflows"),
}
