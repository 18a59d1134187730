"""Plausible wrong answers to the exercises of lesson 02; the checker must refuse all of them."""

import torch
import torch.nn.functional as F


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


def squares_only(patch, bank):
    """Forgets the root."""
    return (bank - patch).square().sum(1)


def over_rows(patch, bank):
    """Sums over the rows."""
    return (bank - patch).square().sum(0).sqrt()


def city_blocks(patch, bank):
    """Sums differences, not squares."""
    return (bank - patch).abs().sum(1)


def mean_square(patch, bank):
    """The mean instead of the sum."""
    return (bank - patch).square().mean(1).sqrt()


def to_nearest(patch, bank):
    """Only the smallest one."""
    return (bank - patch).norm(dim=1).min()


def in_steps(grids, size):
    """Repeats cells."""
    return F.interpolate(grids[:, None], size, mode="nearest")[:, 0]


def corners_aligned(grids, size):
    """Lays the outermost cells onto the edge."""
    return F.interpolate(grids[:, None], size, mode="bilinear", align_corners=True)[:, 0]


def channel_left_in(grids, size):
    """Does not take the dimension out again."""
    return F.interpolate(grids[:, None], size, mode="bilinear")


def lying_down(grids, size):
    """Width before height."""
    return F.interpolate(grids[:, None], size[::-1], mode="bilinear")[:, 0]


def images_as_channels(grids, size):
    """Stretches along one side only."""
    return F.interpolate(grids, size[1], mode="linear")


def largest_only(patches, share):
    """Ignores the share."""
    return patches.amax(1)


def rounded_down(patches, share):
    """Takes int instead of round."""
    return patches.topk(max(int(share * patches.shape[1]), 1), dim=1).values.mean(1)


def of_all_images(patches, share):
    """The worst patches of all images together."""
    return patches.flatten().topk(max(round(share * patches.numel()), 1)).values.mean()


def summed(patches, share):
    """A sum instead of a mean."""
    return patches.topk(max(round(share * patches.shape[1]), 1), dim=1).values.sum(1)


def best_ones(patches, share):
    """The smallest distances."""
    count = max(round(share * patches.shape[1]), 1)
    return patches.topk(count, dim=1, largest=False).values.mean(1)


def perhaps_none(patches, share):
    """Forgets that one patch at least counts."""
    return patches.topk(round(share * patches.shape[1]), dim=1).values.mean(1)


MUTANTS = {
    "02.1": [squares_only, over_rows, city_blocks, mean_square, to_nearest],
    "02.2": [all_at_once, index_in_chunk, last_chunk_lost, last_chunk_wins, squared, wrong_axis],
    "02.3": [in_steps, corners_aligned, channel_left_in, lying_down, images_as_channels],
    "02.4": [largest_only, rounded_down, of_all_images, summed, best_ones, perhaps_none],
    "02.5": [match_left_out, around_q, overflows, root_of_d, weight_itself, largest_share,
             zero_for_one],
}
