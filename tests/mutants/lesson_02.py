"""Plausible wrong answers to the exercises of lesson 02; the checker must refuse all of them."""

import torch


def all_at_once(queries, bank, chunk):
    """Right, but makes the whole block of distances."""
    distances, indices = torch.cdist(queries, bank).min(1)
    return distances, indices


def index_in_chunk(queries, bank, chunk):
    """Forgets to add where the chunk starts."""
    best = torch.full((len(queries),), torch.inf)
    indices = torch.zeros(len(queries), dtype=torch.int64)
    for start in range(0, len(bank), chunk):
        distances, rows = torch.cdist(queries, bank[start:start + chunk]).min(1)
        nearer = distances < best
        best[nearer], indices[nearer] = distances[nearer], rows[nearer]
    return best, indices


def last_chunk_lost(queries, bank, chunk):
    """Counts whole chunks only."""
    best = torch.full((len(queries),), torch.inf)
    indices = torch.zeros(len(queries), dtype=torch.int64)
    for number in range(max(1, len(bank) // chunk)):
        start = number * chunk
        distances, rows = torch.cdist(queries, bank[start:start + chunk]).min(1)
        nearer = distances < best
        best[nearer], indices[nearer] = distances[nearer], rows[nearer] + start
    return best, indices


def last_chunk_wins(queries, bank, chunk):
    """Does not compare with the best so far."""
    for start in range(0, len(bank), chunk):
        distances, rows = torch.cdist(queries, bank[start:start + chunk]).min(1)
        indices = rows + start
    return distances, indices


def squared(queries, bank, chunk):
    """Forgets the root."""
    best = torch.full((len(queries),), torch.inf)
    indices = torch.zeros(len(queries), dtype=torch.int64)
    for start in range(0, len(bank), chunk):
        distances, rows = torch.cdist(queries, bank[start:start + chunk]).square().min(1)
        nearer = distances < best
        best[nearer], indices[nearer] = distances[nearer], rows[nearer] + start
    return best, indices


def wrong_axis(queries, bank, chunk):
    """Looks for the nearest query of each row."""
    found = [torch.cdist(queries, bank[i:i + chunk]).min(0) for i in range(0, len(bank), chunk)]
    return torch.cat([f.values for f in found]), torch.cat([f.indices for f in found])


def match_left_out(q, bank, b):
    """m* is not in its own neighbourhood, as in one implementation."""
    to_bank = (bank - q).norm(dim=1)
    worst, match = to_bank.min(0)
    if b == 1:
        return float(worst)
    around = (bank - bank[match]).norm(dim=1).topk(min(b, len(bank)), largest=False).indices[1:]
    return float((1 - torch.exp(worst - torch.logsumexp(to_bank[around], 0))) * worst)


def around_q(q, bank, b):
    """The rows nearest to q instead of those nearest to m*."""
    terms = (bank - q).norm(dim=1).topk(min(b, len(bank)), largest=False).values
    return float(terms[0]) if b == 1 else float((1 - torch.softmax(terms, 0)[0]) * terms[0])


def overflows(q, bank, b):
    """Exponentials as they stand in the paper."""
    to_bank = (bank - q).norm(dim=1)
    worst, match = to_bank.min(0)
    if b == 1:
        return float(worst)
    around = (bank - bank[match]).norm(dim=1).topk(min(b, len(bank)), largest=False).indices
    return float((1 - torch.exp(worst) / torch.exp(to_bank[around]).sum()) * worst)


def root_of_d(q, bank, b):
    """Divides the exponents by the square root of d, as in one implementation."""
    to_bank = (bank - q).norm(dim=1)
    worst, match = to_bank.min(0)
    if b == 1:
        return float(worst)
    around = (bank - bank[match]).norm(dim=1).topk(min(b, len(bank)), largest=False).indices
    scaled = to_bank / len(q) ** 0.5
    return float((1 - torch.exp(scaled.min() - torch.logsumexp(scaled[around], 0))) * worst)


def weight_itself(q, bank, b):
    """Multiplies by the share instead of one minus the share."""
    to_bank = (bank - q).norm(dim=1)
    worst, match = to_bank.min(0)
    if b == 1:
        return float(worst)
    around = (bank - bank[match]).norm(dim=1).topk(min(b, len(bank)), largest=False).indices
    return float(torch.exp(worst - torch.logsumexp(to_bank[around], 0)) * worst)


def largest_share(q, bank, b):
    """Takes the largest term of the softmax instead of that of m*, as in one implementation."""
    to_bank = (bank - q).norm(dim=1)
    worst, match = to_bank.min(0)
    if b == 1:
        return float(worst)
    around = (bank - bank[match]).norm(dim=1).topk(min(b, len(bank)), largest=False).indices
    return float((1 - torch.softmax(to_bank[around], 0).max()) * worst)


def zero_for_one(q, bank, b):
    """Has no exception for b = 1."""
    to_bank = (bank - q).norm(dim=1)
    worst, match = to_bank.min(0)
    around = (bank - bank[match]).norm(dim=1).topk(min(b, len(bank)), largest=False).indices
    return float((1 - torch.exp(worst - torch.logsumexp(to_bank[around], 0))) * worst)


MUTANTS = {
    "02.1": [all_at_once, index_in_chunk, last_chunk_lost, last_chunk_wins, squared, wrong_axis],
    "02.2": [match_left_out, around_q, overflows, root_of_d, weight_itself, largest_share,
             zero_for_one],
}
