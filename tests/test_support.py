"""How many other photos know a patch: against the definition, by brute force."""

import math

import pytest
import torch

from indad.engine import support
from indad.engine.support import Witnesses, supports
from indad.errors import InputError


def photos(count: int, patches: int = 20, dim: int = 8, seed: int = 0) -> tuple:
    """Patches of as many kinds, each photo with all kinds, a little moved."""
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.randn(patches, dim, generator=generator) * 5
    rows = torch.cat([kinds + torch.randn(patches, dim, generator=generator) * 0.1
                      for _ in range(count)])
    return rows, [patches * i for i in range(count + 1)]


def by_definition(rows, starts, groups):
    """The k-th smallest, over the other groups, of the distance to the nearest patch in each."""
    found = []
    own = torch.tensor(groups).repeat_interleave(torch.tensor(starts).diff())
    for row, label in zip(rows.double(), own.tolist(), strict=True):
        others = [(rows[own == other].double() - row).norm(dim=1).min()
                  for other in sorted(set(groups) - {label})]
        found.append(torch.stack(others).sort().values[math.ceil(0.1 * len(others)) - 1])
    return torch.stack(found).float()


@pytest.mark.parametrize("groups", [list(range(23)), [i // 2 for i in range(23)]],
                         ids=["photos", "groups"])
def test_equals_its_definition(groups):
    rows, starts = photos(23)
    witnesses = Witnesses(rows + 100, starts, groups)  # far from the origin products cancel
    found = supports(witnesses, rows + 100, starts, witnesses.place_of)
    torch.testing.assert_close(found, by_definition(rows + 100, starts, groups),
                               rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("same", "seen"), [(1, True), (2, True), (3, False)])
def test_a_defect_in_a_tenth_of_the_photos_does_not_vouch_for_itself(same, seen):
    """Of 21 photos, two others must know a patch: three with one defect do, two do not."""
    rows, starts = photos(21)
    for photo in range(same):
        rows[starts[photo] + 3] = 30 + 0.01 * photo
    witnesses = Witnesses(rows, starts)
    found = supports(witnesses, rows, starts, witnesses.place_of).view(21, 20)
    assert bool((found[:same, 3] > 10 * found[same:].max()).all()) == seen
    assert found[same:].max() < 3


def test_views_and_tiles_make_photos_of_different_length():
    rows, starts = photos(5)
    short = torch.cat([rows[:10], rows[20:]])
    ends = [0, *(end - 10 for end in starts[1:])]
    witnesses = Witnesses(short, ends)
    found = supports(witnesses, short, ends, witnesses.place_of)
    torch.testing.assert_close(found, by_definition(short, ends, list(range(5))),
                               rtol=1e-4, atol=1e-4)


def test_copies_are_at_distance_zero_and_half_precision_is_read():
    rows, starts = photos(4)
    rows[starts[1]:starts[2]] = rows[:starts[1]]
    for table in (rows, rows.half()):
        witnesses = Witnesses(table, starts)
        found = supports(witnesses, table, starts, witnesses.place_of)
        assert found[:starts[2]].max() == 0 < found[starts[2]:].min()


def test_many_photos_are_asked_a_fixed_number_of_witnesses(monkeypatch):
    monkeypatch.setattr(support, "WITNESSES", 10)
    rows, starts = photos(40)
    witnesses = Witnesses(rows, starts, seed=1)
    assert len(witnesses.patches) == witnesses.count == 10
    assert sum(place is None for place in witnesses.place_of) == 30
    found = supports(witnesses, rows, starts, witnesses.place_of)
    asked = [photo for photo, place in enumerate(witnesses.place_of) if place is not None]
    outsider = witnesses.place_of.index(None)
    own = rows[starts[outsider]:starts[outsider + 1]].double()
    nearest = torch.stack([torch.cdist(own, rows[starts[i]:starts[i + 1]].double()).amin(1)
                           for i in asked]).sort(0).values[0]  # a tenth of ten is the nearest
    torch.testing.assert_close(found[starts[outsider]:starts[outsider + 1]], nearest.float(),
                               rtol=1e-4, atol=1e-4)


def test_of_a_large_photo_the_patches_that_cover_it_are_asked(monkeypatch):
    rows, starts = photos(6, patches=60)
    whole = Witnesses(rows, starts)
    monkeypatch.setattr(support, "PATCHES", 30)
    part = Witnesses(rows, starts)
    assert all(len(numbers) == len(set(numbers.tolist())) == 30 for _, numbers in part.patches)
    assert all(starts[place] <= numbers.min() and numbers.max() < starts[place + 1]
               for place, numbers in part.patches)
    fewer, all_of_them = (supports(one, rows, starts, one.place_of) for one in (part, whole))
    assert (fewer >= all_of_them - 1e-5).all()


@pytest.mark.parametrize(("groups", "said"), [(None, "2 good photos cannot vouch"),
                                              ([4, 4], "1 good parts")])
def test_two_photos_cannot_vouch_for_each_other(groups, said):
    rows, starts = photos(2)
    with pytest.raises(InputError, match=said):
        Witnesses(rows, starts, groups)
