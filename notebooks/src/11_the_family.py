# %% [markdown]
# # 11 · The family
#
# PatchCore is one answer among many. Each relative has its own idea of what to keep of the good images:
# the images themselves, a Gaussian for each place, a network that has seen nothing else. **In about
# fifteen lines each you build three of them, on the very features that PatchCore gets**, and measure
# all on the same images: accuracy, memory, time. Then you see a kind of defect to which PatchCore is
# blind, and who sees it.
#
# **You will learn** what SPADE, PaDiM, student-teacher, EfficientAD, flows and autoencoders remember or
# learn, what each costs, where each fails, and when to take which.
#
# **You need** lessons 02 (memory bank, distance) and 04 (AUROC); means and covariances.
#
# TIMES

# %% tags=["setup"]

# %% [markdown]
# ## Choose
#
# The form feeds the cells below. At first they work on circuit boards that a program draws: their masks
# are known to the pixel, so the maps can be measured too. Real solar cells come in at the comparison;
# nobody has drawn masks for them.

# %% tags=["choose"]
from indad.notebook.choose import choose
chosen = choose(drawn="board")

# %% [markdown]
# ## Who is related to whom?
#
# By the idea, and by the year in which the paper first appeared. All learn from good images only.

# %%
from matplotlib import pyplot as plt

from indad.notebook.pictures import DEFECTIVE, GOOD
from indad.notebook.widgets import show

IDEAS = ["rebuild the image", "teach a student", "learn a density", "a Gaussian a place",
         "remember patches"]
RELATIVES = [(2018, 0, "autoencoder"), (2021, 0, "DRAEM"),
             (2019, 1, "Uninformed Students"), (2021, 1, "STFPM (its idea)"), (2023, 1, "EfficientAD"),
             (2021, 2, "CFLOW-AD, CS-Flow, FastFlow"), (2020, 3, "PaDiM"),
             (2020, 4, "SPADE"), (2021, 4, "PatchCore"), (2024, 4, "AnomalyDINO")]
figure, axes = plt.subplots(figsize=(9, 3.4), layout="constrained")
for year, idea, name in RELATIVES:
    built = name.split()[0] in ("SPADE", "PaDiM", "STFPM", "PatchCore")
    axes.plot(year, idea, "o" if built else "s", color=GOOD if built else "#999999", ms=9)
    axes.annotate(name, (year, idea), (0, 9), textcoords="offset points", ha="center", fontsize=9)
axes.set_yticks(range(len(IDEAS)), IDEAS)
axes.set(xlim=(2017.3, 2024.9), ylim=(-0.5, 4.8))
axes.set_title("round and blue: built below, or in lessons 02 and 03\n"
               "square and grey: its idea is told or drawn, or its paper only named", fontsize=10)
axes.grid(axis="x", alpha=0.3)
show(figure, "twelve methods by year, 2018 to 2024, in five rows for their ideas: rebuild the image, teach "
     "a student, learn a density, a Gaussian for each place, remember patches")

# %% [markdown]
# Papers, from bottom to top: autoencoder with SSIM ([1807.02011](https://arxiv.org/abs/1807.02011)),
# DRAEM ([2108.07610](https://arxiv.org/abs/2108.07610)); Uninformed Students
# ([1911.02357](https://arxiv.org/abs/1911.02357)), STFPM
# ([2103.04257](https://arxiv.org/abs/2103.04257)), EfficientAD
# ([2303.14535](https://arxiv.org/abs/2303.14535)); CFLOW-AD
# ([2107.12571](https://arxiv.org/abs/2107.12571)), CS-Flow
# ([2110.02855](https://arxiv.org/abs/2110.02855)), FastFlow
# ([2111.07677](https://arxiv.org/abs/2111.07677)); PaDiM
# ([2011.08785](https://arxiv.org/abs/2011.08785)); SPADE
# ([2005.02357](https://arxiv.org/abs/2005.02357)), PatchCore
# ([2106.08265](https://arxiv.org/abs/2106.08265)), AnomalyDINO
# ([2405.14529](https://arxiv.org/abs/2405.14529)).

# %% [markdown]
# ## The same features for all
#
# A fair comparison changes one thing. So the network, the layers and their scales stay those of
# `PatchCore()`; what differs is only what is made of the vectors. All of them come to the CPU, as a
# table `(images, places, numbers)`.

# %%
from types import SimpleNamespace

import numpy as np
import torch

from indad import PatchCore

options, MOST = chosen.options(resize=192, seed=0), 32  # images to learn from

def described(train, test):
    """Features of good images and of those to be judged, and what PatchCore says of these."""
    model, learned = PatchCore(**options), list(train)[::max(len(train) // MOST, 1)][:MOST]
    features = model.extract(learned, training=True)
    unseen = model.fit_features(features).extract(test)

    def table(features):
        rows = features.rows.cpu().float() * model.feature_scale_.cpu()
        return rows.view(len(features), features.patches, -1)

    return SimpleNamespace(
        known=table(features), seen=table(unseen), grid=unseen.grid, size=unseen.size, items=test,
        learned=learned, prediction=model.predict_features(unseen), channels=model.prepare().channels,
        look=lambda images: table(model.extract(images)))

photos = described(chosen.train, chosen.few(40))
known, seen = photos.known, photos.seen
print(f"known {tuple(known.shape)}, seen {tuple(seen.shape)}: images, places, numbers")

# %% [markdown]
# Each method below is a function of `known`. It returns two things: `judge`, which takes one image
# `(places, numbers)` and gives each place a score, and the tensors that it keeps. PatchCore itself, in
# these words, with the pieces of lessons 02 and 03:

# %%
from indad.coreset import greedy_coreset
from indad.neighbors import MemoryIndex, nearest

def patchcore(known, share=0.1, neighbours=3):
    """Remember patches from all places, the most different ones; distance to the nearest."""
    bank = known.flatten(0, 1)
    if share < 1:
        bank = bank[greedy_coreset(bank, max(round(share * len(bank)), 1), seed=0).indices]
    index = MemoryIndex(bank)
    return lambda photo: index.search(photo, min(neighbours, len(bank)))[0].mean(1), [bank]

remembered, _ = patchcore(known)
scores = np.array([float(remembered(photo).max()) for photo in seen])
assert np.allclose(scores, photos.prediction.scores, rtol=1e-3)
print(f"the package's own scores, to {np.abs(scores / photos.prediction.scores - 1).max():.0e}")

# %% [markdown]
# One defective image serves as the example everywhere: the one that PatchCore finds most easily.

# %%
from indad.data.images import read_image
from indad.deploy.pictures import ColourScale
from indad.notebook.pictures import canvas, heated, outline, panel
from indad.scores import anomaly_maps

bad = np.flatnonzero(photos.items.labels[photos.prediction.indices])
example = int(bad[photos.prediction.scores[bad].argmax()])
item, patches = photos.items[photos.prediction.indices[example]], seen[example]
photo = np.asarray(read_image(item.path).resize(photos.size[::-1]))

def mapped(places, grid=None, size=None):
    """Scores of the places of one image as a smooth map, `(h, w)`."""
    return anomaly_maps(places.view(1, *(grid or photos.grid)), size or photos.size)[0].numpy()

def show_map(axes, places, title):
    found = mapped(places)
    panel(axes, heated(photo, found, ColourScale(float(np.median(found)), float(found.max()))), title)

# %% [markdown]
# ## SPADE: the most similar images, and only their patches
#
# SPADE (2020) came first. It describes each image as a whole by one vector; here by the mean of its
# patches. For a new image it takes the k good images whose vectors are nearest, and measures each patch
# against the patches of these k, at all places. Nothing is thinned: every good image is kept whole.

# %% [markdown] tags=["teacher"]
# - 20 minutes, with exercise 11.1 (3 of them). It is a warm-up: everybody should pass it.
# - Usual mistake: sorting the *similarities*, or returning distances instead of positions.
# - Ask: PatchCore has no first step. What does it gain, and what does SPADE gain by having one?
# - Who is done early may change k, and watch time and map: with k = all images SPADE is PatchCore
#   without a coreset (and with one neighbour).

# %% [markdown]
# ### Exercise 11.1: the images most like this one
#
# *Difficulty ●○○○○, 3 minutes.* `whole` `(d,)` is the vector of an image, `wholes` `(n, d)` are those of
# the good images, all as numpy arrays. Return the positions of the k nearest good images, the nearest
# first. SPADE goes on with it.

# %% tags=["exercise"]
def nearest_photos(whole, wholes, k):
    """Positions of the k rows of `wholes` (n, d) that are nearest to `whole` (d,), nearest first."""
    ...  # your code here


def by_package(whole, wholes, k):
    return nearest(torch.tensor(whole)[None], torch.tensor(wholes), k)[1][0].numpy()


from notebooks.checks import check

closest = check("11.1", nearest_photos, otherwise=by_package)

# %% [markdown] tags=["hint"]
# `np.linalg.norm(wholes - whole, axis=1)` gives n distances; `np.argsort` gives positions, the smallest
# first.

# %% tags=["solution"]
import numpy as np

def nearest_photos(whole, wholes, k):
    return np.argsort(np.linalg.norm(wholes - whole, axis=1))[:k]

# %%
def spade(known, k=5):
    """Keep all images; measure a patch against the patches of the k images most like its own."""
    wholes, k = known.mean(1), min(k, len(known))

    def judge(photo):
        few = closest(photo.mean(0).numpy(), wholes.numpy(), k)
        bank = known[torch.as_tensor(np.array(few))].flatten(0, 1)
        return nearest(photo, bank)[0][:, 0]

    return judge, [known, wholes]

judge, _ = spade(known)
places = judge(patches)
few = closest(patches.mean(0).numpy(), known.mean(1).numpy(), min(5, len(known)))
slow = min(float((patches[7] - other).norm()) for one in few for other in known[int(one)])
assert abs(slow - float(places[7])) < 1e-3 * max(slow, 1)  # one place, patch by patch

# %%
figure, axes = canvas(5, size=2.1)
panel(axes[0, 0], photo, f"to be judged: {item.defect_type}")
for place, one in enumerate(list(few)[:3]):
    panel(axes[0, 1 + place], read_image(photos.learned[int(one)].path), f"good image {int(one)}")
show_map(axes[0, 4], places, "SPADE's map")
show(figure, "a defective image, the three good images whose mean vectors are nearest, and SPADE's map")

# %% [markdown]
# The map says how far each patch is from anything in those few images. (The paper judges the *image* by
# the distance of the whole vectors. A small defect hardly moves a mean, as the comparison below shows;
# there the map's highest place counts as well, as for all others.)
#
# **Think:** the good images show five kinds of screw in one set. Would SPADE's first step help, or
# harm?

# %% [markdown] tags=["answer"]
# It may help: the nearest images are then of the same kind, so a thread of another screw is not near
# any remembered patch. PatchCore, which throws all patches into one bank, would call it normal. But k
# has to be small enough: with k = 50 and twenty images of each kind, other kinds come in again. And a
# rare good kind, with two images only, has hardly any patch to be near to.

# %% [markdown]
# ## PaDiM: a Gaussian at every place
#
# PaDiM (2020) keeps no patches. It says for each place how patches *there* usually are: their mean and
# their covariance, over all good images. A new patch is judged by how many deviations it is off, in the
# directions in which good ones vary: the Mahalanobis distance
# √((x − μ)ᵀ Σ⁻¹ (x − μ)). Of the numbers it takes some at random, 100 here, since
# a covariance has as many entries as their square. And it adds a little, ε, on the diagonal.

# %% [markdown]
# ### Exercise 11.2: the Gaussian of one place
#
# *Difficulty ●●●○○, 15 minutes.* From the vectors `rows` `(n, k)` of one place, a numpy array, return
# their mean `(k,)` and their covariance `(k, k)`, with `extra` added on its diagonal:
# Σ = the sum of all (x − μ)(x − μ)ᵀ, divided by n − 1, + ε I. Do it by products, not
# with `np.cov`: that is what stands in until you have it.

# %% tags=["exercise"]
def gaussian_of(rows, extra):
    """Mean (k,) and covariance (k, k) of `rows` (n, k), `extra` added on the diagonal."""
    ...  # your code here


def by_numpy(rows, extra):
    return rows.mean(0), np.cov(rows.T) + extra * np.eye(rows.shape[1])


gaussian = check("11.2", gaussian_of, otherwise=by_numpy)

# %% [markdown] tags=["hint"]
# Subtract the mean from all rows, `off = rows - rows.mean(0)`. The sum of the outer products of all
# rows is one matrix product: `off.T @ off`.

# %% tags=["solution"]
import numpy as np

def gaussian_of(rows, extra):
    mean = rows.mean(0)
    off = rows - mean
    return mean, off.T @ off / (len(rows) - 1) + extra * np.eye(rows.shape[1])

# %%
def padim(known, numbers=100, share=0.01):
    """A Gaussian for each place, of some of the numbers; Mahalanobis distance to it."""
    drawn = torch.randperm(known.shape[2], generator=torch.Generator().manual_seed(0))[:numbers]
    kept = known[:, :, drawn]
    extra = share * float(kept.var(0).mean()) + 1e-9  # a hundredth of what numbers usually vary
    fits = [gaussian(rows.numpy(), extra) for rows in kept.unbind(1)]  # place by place
    means = torch.tensor(np.array([mean for mean, _ in fits]), dtype=torch.float32)
    inverses = torch.linalg.inv(torch.tensor(np.array([one for _, one in fits])).double()).float()

    def judge(photo):
        off = photo[:, drawn] - means
        return torch.einsum("pi,pij,pj->p", off, inverses, off).clamp(min=0).sqrt()

    return judge, [means, inverses]

# %% [markdown]
# scipy says the same, place by place; and here is what it looks like at one place, the one that PaDiM
# finds strangest in our example, in two of its numbers.

# %%
from scipy.spatial.distance import mahalanobis

judge, (means, inverses) = padim(known)
places = judge(patches)
drawn = torch.randperm(known.shape[2], generator=torch.Generator().manual_seed(0))[:100]
for place in range(0, len(places), max(len(places) // 20, 1)):
    by_scipy = mahalanobis(patches[place, drawn], means[place], inverses[place].double())
    assert abs(by_scipy - float(places[place])) < 2e-3 * max(by_scipy, 1)

worst = int(places.argmax())
there = known[:, worst]
off = ((patches[worst] - there.mean(0)) / (there.std(0) + 1e-6)).abs()
x, y = off.topk(2).indices.tolist()
print(f"strangest place: row {worst // photos.grid[1]}, column {worst % photos.grid[1]} of "
      f"{photos.grid[0]} x {photos.grid[1]}; Mahalanobis distance {float(places[worst]):.1f}, "
      f"median of all places {float(places.median()):.1f}")

# %%
figure, (axes, still, found) = plt.subplots(1, 3, figsize=(10, 3.2), layout="constrained")
mean, covariance = there[:, [x, y]].mean(0).numpy(), np.cov(there[:, [x, y]].T.numpy())
angle = np.linspace(0, 2 * np.pi, 100)
values, vectors = np.linalg.eigh(covariance)
circle = vectors * np.sqrt(np.clip(values, 1e-12, None)) @ [np.cos(angle), np.sin(angle)]
for deviations in (1, 2, 3):
    axes.plot(*(mean[:, None] + deviations * circle), color="#999999", lw=1)
axes.plot(*there[:, [x, y]].T.numpy(), "o", color=GOOD, ms=5, label="good images, this place")
axes.plot(*patches[worst, [x, y]].numpy(), "^", color=DEFECTIVE, ms=10, label="the example")
axes.set(xlabel=f"number {x}", ylabel=f"number {y}", title="a place: 1, 2, 3 deviations")
axes.legend(fontsize=9)
varied = known.var(0).sum(1).sqrt()
panel(still, mapped(varied), "how much good images vary at each place")
show_map(found, places, "PaDiM's map")
show(figure, "the vectors of good images at one place in two of their numbers with circles of one, two "
     "and three deviations, the example far outside; a map of how much each place varies; PaDiM's map")

# %% [markdown]
# On the drawn boards, corners and sides are bright in the middle picture, where a board's edge is now here
# and now there: each lies a little differently. There PaDiM forgives much; where all good ones are alike,
# little. PatchCore has one measure for all places. The price: place 7 must be place 7 in every image.
#
# **Think:** there are 32 good images, and 100 numbers at each place. What would go wrong without ε?

# %% [markdown] tags=["answer"]
# 32 points lie in a plane of 31 dimensions. In the other 69 directions their variance is exactly zero,
# the covariance has no inverse, and a new *good* image that is off by a hair in one of these directions
# would be infinitely far. ε says: in no direction do we believe in less variance than this. With few
# images, that number decides nearly as much as the images do.

# %% [markdown] tags=["teacher"]
# - 30 minutes, with exercise 11.2 (15 of them).
# - Usual mistakes: n instead of n - 1; `extra` added everywhere instead of on the diagonal; the n x n
#   matrix of products between images instead of the k x k one between numbers.
# - Ask for the number of entries before anybody computes: places x 100 x 100. Exercise 11.4 comes back
#   to it.
# - The oracle in the cell above is scipy's `mahalanobis`; let them break `judge` and see it fail.

# %% [markdown]
# ## Student and teacher: what was never taught is answered wrongly
#
# The frozen network is the **teacher**. A **student** learns to give the teacher's answers, on good
# images only. On a defect the teacher says something that the student was never taught, so they
# disagree: the error is the anomaly map. In STFPM the student is a network of the teacher's size,
# trained by gradient descent, which sees the image and is compared at several layers.
#
# **What is simplified here:** our student is one 3x3 convolution. It sees no image, but the teacher's
# own lower layer, and predicts the next one from it. So nothing needs training in rounds: the best such
# convolution is a least-squares problem.

# %% [markdown]
# ### Exercise 11.3: fit the student
#
# *Difficulty ●●●○○, 15 minutes.* `seen` `(n, a)` is what the student sees of n patches, `wanted` `(n, b)`
# what the teacher says of them. Return the weights W `(a, b)` that make
# |seen W − wanted|² + penalty · |W|² smallest, sums of squares of all entries.
# scikit-learn's `Ridge` stands in until you have it.

# %% tags=["exercise"]
def fitted_weights(seen, wanted, penalty):
    """Weights (a, b) that predict `wanted` (n, b) from `seen` (n, a) best, by ridge regression."""
    ...  # your code here


def by_scikit_learn(seen, wanted, penalty):
    from sklearn.linear_model import Ridge
    return Ridge(alpha=penalty, fit_intercept=False, solver="cholesky").fit(seen, wanted).coef_.T


fit_weights = check("11.3", fitted_weights, otherwise=by_scikit_learn)

# %% [markdown] tags=["hint"]
# Where the derivative is zero, `(seen.T @ seen + penalty * I) @ W = seen.T @ wanted`. That is a system
# of `a` equations: `np.linalg.solve`. Do not invert anything, and do not build an n x n matrix.

# %% tags=["solution"]
import numpy as np

def fitted_weights(seen, wanted, penalty):
    square = seen.T @ seen + penalty * np.eye(seen.shape[1])
    return np.linalg.solve(square, seen.T @ wanted)

# %%
import torch.nn.functional as F

def student(known, channels, grid, share=1e-3):
    """One 3x3 convolution that predicts the deeper numbers of a place from the first layer's."""
    split = channels[0] if channels[0] < known.shape[2] else known.shape[2] // 2  # one layer: halves
    inputs = min(split, 64)

    def around(photos):  # (n, places, numbers) -> (n * places, 9 * inputs + 1)
        maps = photos[..., :inputs].transpose(1, 2).unflatten(2, grid)
        columns = F.unfold(maps, 3, padding=1).transpose(1, 2).flatten(0, 1)
        return F.pad(columns, (0, 1), value=1.0)  # and a one, for a bias

    lessons, answers = around(known), known[..., split:].flatten(0, 1)
    penalty = share * float(lessons.square().sum()) / lessons.shape[1]
    weights = torch.as_tensor(np.array(fit_weights(lessons.numpy(), answers.numpy(), penalty))).float()
    usual = (answers - lessons @ weights).std(0) + 1e-6  # how far off it usually is

    def judge(photo):
        errors = (photo[:, split:] - around(photo[None]) @ weights) / usual
        return errors.square().mean(1).sqrt()

    return judge, [weights, usual]

# %% [markdown]
# It is a convolution indeed: torch's own gives the same predictions. Below, one number at each place,
# as the teacher says it and as the student expects it.

# %%
judge, (weights, usual) = student(known, photos.channels, photos.grid)
places = judge(patches)
split, inputs = known.shape[2] - weights.shape[1], len(weights) // 9
kernel = weights[:-1].T.unflatten(1, (inputs, 3, 3))
maps = patches[None, :, :inputs].transpose(1, 2).unflatten(2, photos.grid)
expected = F.conv2d(maps, kernel, weights[-1], padding=1)[0].flatten(1).T
errors = ((patches[:, split:] - expected) / usual).square().mean(1).sqrt()
assert torch.allclose(errors, places, rtol=1e-2, atol=1e-3)

number = int(((patches[:, split:] - expected) / usual)[int(places.argmax())].abs().argmax())
figure, axes = canvas(4, size=2.5)
panel(axes[0, 0], photo, f"the example: {item.defect_type}")
both = patches[:, split + number], expected[:, number]
for one, values, title in zip(axes[0, 1:], both, ("the teacher says", "the student expects")):
    one.imshow(values.view(photos.grid).numpy(), vmin=float(both[0].min()), vmax=float(both[0].max()))
    one.set_title(f"{title} (number {split + number})", fontsize=9)
show_map(axes[0, 3], places, "the student's map")
show(figure, "the example; one number at each place as the teacher says it and as the student expects "
     "it; the map of the student's errors")

# %% [markdown]
# The student's picture is a rough copy of the teacher's. Where they differ most, the map is hot; how
# good that is, the comparison says.
#
# **Think:** a better student, a deep network trained for days, errs less on good images. Is it a better
# detector?

# %% [markdown] tags=["answer"]
# Only if it does not err less on defects as well. A student that has learned the teacher's whole
# function gives the right answer everywhere, and no defect is seen. So it must be held back: by images
# of one kind of part only, by a smaller network, or, in EfficientAD, by a loss that forbids it to
# imitate the teacher on other images (of ImageNet).

# %% [markdown]
# ### EfficientAD
#
# EfficientAD (2023) makes this idea fast: a small teacher of four convolutions, distilled from a large
# network, and a student of the same build: an image takes milliseconds on a GPU. Beside them stands an
# **autoencoder** that must squeeze the whole image through a few numbers. It knows what belongs where,
# and so finds defects of arrangement, which no patch shows. You will need it below.

# %% [markdown]
# ## Flows: bend the cloud until it is a Gaussian
#
# A Gaussian at each place is a strong claim. **Normalising flows** learn an invertible map that bends
# the cloud of good patches into a standard Gaussian; how unlikely a patch is can then be read off
# (CFLOW-AD and FastFlow for each place, CS-Flow over several sizes of the image). The real ones learn
# many layers by gradient descent. The idea needs no training: turn the cloud, then bend each axis by
# itself until it is Gaussian, and again. Each step can be undone.

# %%
from scipy.stats import norm

rows = known.flatten(0, 1)[::max(len(known) * known.shape[1] // 4000, 1)]
worst = remembered(patches).topk(max(len(patches) // 50, 1)).indices  # far from the memory bank
strangest = patches[worst[:1]]
away = F.normalize(strangest - rows[nearest(strangest, rows)[1][0]])  # from the nearest good patch
along = torch.linalg.svd(rows - rows.mean(0), full_matrices=False)[2][:1]
along = F.normalize(along - (along @ away.T) * away)  # the main direction, at a right angle to it
cloud, strange = (((one - rows.mean(0)) @ torch.cat([along, away]).T).numpy()
                  for one in (rows, patches[worst]))
quantiles = norm.ppf((np.arange(len(cloud)) + 0.5) / len(cloud))
stages = [(cloud, strange)]
for step in range(12):
    turn = np.pi * (step + 1) * 0.382  # another angle each time
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    cloud, strange = cloud @ matrix, strange @ matrix
    ordered = np.sort(cloud, 0)
    cloud, strange = (np.stack([np.interp(one[:, i], ordered[:, i], quantiles) for i in (0, 1)], 1)
                      for one in (cloud, strange))
    stages.append((cloud, strange))
figure, axes = plt.subplots(1, 3, figsize=(9.5, 3.1), layout="constrained")
for one, number in zip(axes, (0, 1, 12)):
    one.plot(*stages[number][0].T, ".", color=GOOD, ms=2, label="patches of good images")
    one.plot(*stages[number][1].T, "^", color=DEFECTIVE, ms=6, label="the example's strangest")
    one.set(title=f"after {number} step{'s' * (number != 1)}", aspect="equal", xlabel="first axis, bent",
            ylabel="second axis, bent")
axes[0].set(xlabel="where good patches differ most", ylabel="towards the strangest")
figure.legend(*axes[0].get_legend_handles_labels(), fontsize=9, loc="outside lower center", ncols=2)
show(figure, "patches of good images in two directions: an odd cloud at first, a round one after twelve "
     "steps; the strangest patches of the example mostly at its edge")

# %% [markdown]
# Two directions of many are shown: the one in which good patches differ most, and the one that leads
# from the strangest patch of the example to its nearest good one, so that something is seen of it.
# (Chosen by the example, so this is a picture and no measurement.) The odd cloud becomes round, and the
# distance from its middle means the same in all directions. This flow is the rotation-based
# Gaussianization of Laparra et al., 2011.

# %% [markdown]
# ## Reconstruction: rebuild the image, and look at what is missing
#
# The oldest idea. An **autoencoder** squeezes an image through few numbers and rebuilds it; having seen
# good images only, it rebuilds a defect badly. Below is the linear one, which has a closed form: the
# principal components of the good images, as pixels.

# %%
small = photos.size[0] // 2

def pixels(items):
    return torch.tensor(np.array([np.asarray(read_image(one.path).resize((small, small)))
                                  for one in items]), dtype=torch.float32).flatten(1) / 255

learned = pixels(photos.learned)
mean, count = learned.mean(0), min(16, len(learned) - 1)
basis = torch.linalg.svd(learned - mean, full_matrices=False)[2][:count]
original = pixels([item])[0]
rebuilt = mean + (original - mean) @ basis.T @ basis
missing = (original - rebuilt).view(small, small, 3).square().sum(2).sqrt()
figure, axes = canvas(4 if item.mask() is not None else 3, size=2.5)
panel(axes[0, 0], original.view(small, small, 3), f"the example: {item.defect_type}")
panel(axes[0, 1], rebuilt.view(small, small, 3).clip(0, 1), f"rebuilt from {count} numbers")
panel(axes[0, 2], missing, "the difference")
if item.mask() is not None:
    panel(axes[0, 3], photo, "the true defect outlined")
    outline(axes[0, 3], np.asarray(photos.prediction.transform.mask(item.mask(), None)))
show(figure, "the example, rebuilt by the principal components of good images, and the difference")

# %% [markdown]
# On the drawn board the scratch is hardly brighter than any edge, since no part lies where another one
# lay, to the pixel: that is what these methods fight with. Deep autoencoders rebuild better, and in the
# end rebuild the defect, too. **DRAEM** (2021) paints false defects on good images and trains a network
# to take them off again, and another to say where they were; so it learns what *a change* looks like,
# instead of what the part looks like.

# %% [markdown]
# ## Which one is better?
#
# All on the same features of the same images. `MB kept` is what the method has to keep, in megabytes, `ms`
# the median time to judge one image, without the network, on this machine's CPU; `image` and `pixel`
# are AUROC, `pro` is AUPRO up to 30 % (lesson 04), where masks are known. An image's score is its
# highest place, but for the first row: the distance of the image's mean vector, as SPADE's paper has
# it.

# %%
import time
from dataclasses import replace

from indad import evaluate

def whole_photo(known, k=5):
    """SPADE's score of an image: how far its mean vector is from those of good ones."""
    wholes = known.mean(1)
    return lambda photo: nearest(photo.mean(0)[None], wholes, min(k, len(wholes)))[0].mean(), [wholes]

def judged(judge, photos):
    """Scores of all places of all images, `(images, places)`, and milliseconds for each."""
    found, took = [], []
    for photo in photos.seen:
        began = time.perf_counter()
        found.append(judge(photo))
        took.append(1000 * (time.perf_counter() - began))
    return torch.stack(found), float(np.median(took))

def metrics_of(places, photos):
    """Image AUROC; and pixel AUROC and AUPRO if there are maps and masks."""
    if places.ndim == 1:
        told = replace(photos.prediction, scores=places.numpy())
        return [evaluate(told, photos.items)["image_auroc"], None, None]
    maps = anomaly_maps(places.view(-1, *photos.grid), photos.size).numpy()
    told = replace(photos.prediction, scores=places.amax(1).numpy(), model_maps=maps)
    found = evaluate(told, photos.items)
    return [found[name] for name in ("image_auroc", "pixel_auroc", "aupro_30")]

# %% [markdown]
# Three kinds of images: what the form chose (drawn boards: aligned to a few pixels); drawn wood, a
# texture, where place 7 means nothing; and real solar cells, 20 to be judged.

# %%
from functools import partial

from indad import load_dataset
from indad.notebook.getting import solar_cells

METHODS = {"SPADE, whole image": whole_photo, "SPADE": spade, "PaDiM": padim, "student": student,
           "PatchCore": patchcore, "PatchCore, all patches": partial(patchcore, share=1.0)}

def compared(photos):
    """A row of numbers for each method, and its scores of all places."""
    rows, scores = {}, {}
    for name, method in METHODS.items():
        more = (photos.channels, photos.grid) if method is student else ()
        judge, kept = method(photos.known, *more)
        places, ms = judged(judge, photos)
        rows[name] = [*metrics_of(places, photos), sum(one.nbytes for one in kept) / 1e6, ms]
        scores[name] = places
    return rows, scores

wood, wood_test = load_dataset("synthetic", "wood")
cells = solar_cells()
sets = {f"{chosen.dataset}, {chosen.category}": photos,
        "drawn wood": described(list(wood)[:len(known)], wood_test),
        cells.name: described(cells.train, cells.test)}
results = {name: compared(one) for name, one in sets.items()}
tables = {name: table for name, (table, _) in results.items()}

# %%
for name, table in tables.items():
    one = sets[name]
    print(f"{name}: {len(one.known)} good images to learn from, {len(one.seen)} judged")
    print(f"{'image':>9}{'pixel':>7}{'pro':>7}{'MB kept':>9}{'ms':>6}")
    for method, (*found, megabytes, ms) in table.items():
        numbers = "".join(f"{'-' if value is None else f'{value:.3f}':>7}" for value in found)
        print(f"{method}\n  {numbers}{megabytes:9.1f}{ms:6.1f}")  # two lines: a phone is narrow
    print()

# %%
figure, axes = plt.subplots(1, len(tables), figsize=(10, 3.2), layout="constrained", sharey=True)
for one, (name, table) in zip(axes, tables.items()):
    for place, (method, row) in enumerate(table.items()):
        one.plot(row[-2], row[0], "osD^vP"[place], ms=8, label=method,
                 color=GOOD if method.startswith("PatchCore") else "#777777")
    one.set(xscale="log", xlabel="megabytes kept", title=name)
axes[0].set_ylabel("image AUROC")
figure.legend(*axes[0].get_legend_handles_labels(), fontsize=9, loc="outside lower center", ncols=3)
show(figure, "image AUROC over the megabytes that each of the six methods keeps, for the three sets of "
     "images")

# %% [markdown]
# And the maps of one defective cell: real cracks in a real photo, where their package is installed. Each has
# its own scale, from the median of its places to the highest. No mask says who is right, but you can look.

# %%
one, (_, scores) = sets[cells.name], results[cells.name]
wrong = np.flatnonzero(one.items.labels[one.prediction.indices])
worst = int(wrong[one.prediction.scores[wrong].argmax()])
cell = read_image(one.items[one.prediction.indices[worst]].path).resize(one.size[::-1])
figure, axes = canvas(5, size=2.1)
panel(axes[0, 0], cell, f"{cells.name}: defective")
for place, name in enumerate(("SPADE", "PaDiM", "student", "PatchCore"), start=1):
    found = mapped(scores[name][worst], one.grid, one.size)
    panel(axes[0, place], heated(cell, found, ColourScale(float(np.median(found)), float(found.max()))),
          name)
show(figure, f"a defective image of {cells.name}, and the maps of SPADE, PaDiM, the student and PatchCore")

# %% [markdown]
# With the choice of the form as it was, and remember that two of the three sets are drawings, and that
# twenty cells prove little (lesson 04):
#
# - **The whole image's vector is not enough** for small defects: its row is the worst or nearly so.
# - **PaDiM** nearly keeps up with PatchCore on aligned parts and is fast. On wood, where knots lie anywhere, it
#   falls behind.
# - **Our student** has the weakest maps of both drawings, and the smallest memory of all maps. One convolution
#   is not STFPM.
# - **The coreset** costs no accuracy here, a tenth of the memory, and a fraction of the time.
#
# **Think:** gears of the set `synthetic` lie at any angle. Does PaDiM lose there too? Guess, then run
#
#     gears = load_dataset("synthetic", "gear")
#     compared(described(*gears))[0]

# %% [markdown] tags=["answer"]
# It need not, and here it does not: a gear looks much the same at any angle, so the place "on the rim,
# above" sees steel rings in every image, and only teeth come and go. What counts is not whether the
# part turns, but whether a place sees the same things in all images. Look at the map of how much each
# place varies before you believe the word "aligned".

# %% [markdown] tags=["teacher"]
# - 30 minutes: the table is the heart of the lesson. Let everybody write down a guess for each column
#   before running it.
# - What learners get wrong: they rank methods by the third digit. Ask for the interval (lesson 04): with 36
#   drawn boards it is more than a tenth wide.
# - Ask: which number in this table would change if there were 3,200 good images? (SPADE and PatchCore keep
#   a hundred times as much, PaDiM the same.)
# - The times are of one machine, and of code that is short, not of code that is fast.

# %% [markdown]
# ### Exercise 11.4: what will it keep?
#
# *Difficulty ●●○○○, 10 minutes.* How many megabytes (10⁶ bytes, four for each number) do the methods keep
# of `photos` good photos with `places` places of `numbers` numbers? SPADE: all vectors, and a mean for
# each image. PaDiM, of `drawn` of the numbers: a mean and an inverse covariance for each place.
# PatchCore: the share `share` of all patches, rounded to whole ones.

# %% tags=["exercise"]
def megabytes(photos, places, numbers, drawn, share):
    """A dict with the keys "SPADE", "PaDiM" and "PatchCore"."""
    ...  # your code here


check("11.4", megabytes)

# %% [markdown] tags=["hint"]
# Count numbers first, multiply by 4 / 10⁶ at the end. A covariance of k numbers has k² entries. Compare
# with the column `MB kept` above.

# %% tags=["solution"]
def megabytes(photos, places, numbers, drawn, share):
    counts = {"SPADE": photos * places * numbers + photos * numbers,
              "PaDiM": places * (drawn + drawn ** 2),
              "PatchCore": round(share * photos * places) * numbers}
    return {name: 4 * count / 1e6 for name, count in counts.items()}

# %% [markdown]
# ## What PatchCore cannot see
#
# A box has four compartments, each for one part. Every part is fine, every patch has been seen before,
# and the box is wrong all the same: two parts have changed places, or one is there twice and another is
# missing. These are **logical** anomalies (MVTec LOCO is made of them). The boxes here are pasted
# together from drawn parts. In the first kind of box each part has its compartment; in the second, any
# order is fine.

# %%
from PIL import Image

KINDS = ("gear", "capsule", "wood", "board")
generator, half, rim = np.random.default_rng(0), 128, 24

def small_parts(items):
    return [np.asarray(read_image(one.path).resize((half - 2 * rim,) * 2))
            for one in items if not one.label]

parts = {kind: [small_parts(items) for items in load_dataset("synthetic", kind)] for kind in KINDS}

def box(order, which):
    """A picture of a box with a good part of each kind in `order`, to learn from (0) or judge (1)."""
    whole = np.full((2 * half, 2 * half, 3), 20, np.uint8)
    for place, kind in enumerate(order):
        good = parts[kind][which]
        part = good[generator.integers(len(good))]
        top, left = half * (place // 2) + rim, half * (place % 2) + rim
        whole[top:top + len(part), left:left + len(part)] = part
    return whole

# %%
def any_order(twice="", instead_of=""):
    return [twice if kind == instead_of else kind for kind in generator.permutation(KINDS)]

fixed = [box(KINDS, 0) for _ in range(24)], {
    "good": [box(KINDS, 1) for _ in range(16)],
    "two swapped": [box(("capsule", "gear", *KINDS[2:]), 1) for _ in range(16)]}
free = [box(any_order(), 0) for _ in range(24)], {
    "good": [box(any_order(), 1) for _ in range(16)],
    "one twice": [box(any_order("gear", "capsule"), 1) for _ in range(16)]}
figure, axes = canvas(4, size=2.1)
for place, (train, judging) in enumerate((fixed, free)):
    panel(axes[0, 2 * place], train[0], ("each in its place: good", "any order: good")[place])
    name, wrong = list(judging.items())[1]
    panel(axes[0, 2 * place + 1], wrong[0], f"wrong: {name}")
show(figure, "a good box and one with two parts swapped; a good box in any order, and one with two gears "
     "and no capsule")

# %% [markdown]
# Beside the maps, a **global** view of the image in three lines: the mean vector of all patches, and
# its distance to that of the nearest good image. And the idea of EfficientAD's autoencoder, linear
# again: all features of an image, squeezed through eight numbers and rebuilt.

# %%
def rebuilding(known, count=8):
    """The whole image's features through `count` numbers; how badly each place is rebuilt."""
    flat = known.flatten(1)
    mean = flat.mean(0)
    basis = torch.linalg.svd(flat - mean, full_matrices=False)[2][:count]

    def judge(photo):
        off = photo.flatten() - mean
        return (off - off @ basis.T @ basis).view(photo.shape).square().sum(1).sqrt()

    return judge, [mean, basis]

def overall(known, describe):
    """Distance of a description of the whole image to the nearest of a good image."""
    wholes = torch.stack([torch.as_tensor(np.array(describe(photo))) for photo in known])
    return lambda photo: torch.cdist(torch.as_tensor(np.array(describe(photo)))[None], wholes).min(), [
        wholes]

# %% [markdown]
# ### Exercise 11.5: what is where, roughly
#
# *Difficulty ●●●○○, 15 minutes.* A mean over the whole image knows what there is, and not where. Take the
# mean of each of `parts` x `parts` equal fields instead. `patches` `(gh * gw, d)` is a numpy array, row
# by row of a grid `(gh, gw)`; return the means as one vector `(parts * parts * d,)`, field by field,
# row by row. A field that does not divide evenly takes every row that it touches: field i has the rows
# from `i * gh // parts` up to, and without, `-(-(i + 1) * gh // parts)` (rounded up); columns likewise.

# %% tags=["exercise"]
def fields(patches, grid, parts):
    """Means of `patches` (gh * gw, d) over parts x parts fields, `(parts * parts * d,)`."""
    ...  # your code here


def by_torch(patches, grid, parts):
    maps = torch.tensor(patches).T.unflatten(1, tuple(grid))
    return F.adaptive_avg_pool2d(maps, parts).flatten(1).T.flatten().numpy()


coarse = check("11.5", fields, otherwise=by_torch)

# %% [markdown] tags=["hint"]
# `patches.reshape(*grid, -1)` has rows and columns. Two loops over i and j cut out a field each; its
# mean over the first two axes is `(d,)`; `np.concatenate` puts them in a row. (-7 // 2 is -4, so -(-7
# // 2) is 7 / 2 rounded up.)

# %% tags=["solution"]
import numpy as np

def fields(patches, grid, parts):
    maps, edges = patches.reshape(*grid, -1), []
    for side in grid:
        edges.append([(i * side // parts, -(-(i + 1) * side // parts)) for i in range(parts)])
    return np.concatenate([maps[top:bottom, left:right].mean((0, 1))
                           for top, bottom in edges[0] for left, right in edges[1]])

# %%
from indad.metrics import image_metrics

def logical(train, groups):
    """Image AUROC of each method for boxes that are wrong; -> its judges, and all boxes' features."""
    boxes = described(train, [one for group in groups.values() for one in group])
    known, labels = boxes.known, np.repeat([0, 1], [len(group) for group in groups.values()])
    methods = {"PatchCore": patchcore(known), "PaDiM": padim(known),
               "student": student(known, boxes.channels, boxes.grid),
               "rebuilt features": rebuilding(known),
               "mean of the whole": overall(known, lambda one: one.mean(0).numpy()),
               "means of 2 x 2 fields": overall(known, lambda one: coarse(one.numpy(), boxes.grid, 2))}
    for name, (judge, _) in methods.items():
        scores = np.array([float(judge(one).max()) for one in boxes.seen])
        found = image_metrics(scores, labels)["image_auroc"]
        print(f"  {name:24}{found:6.3f}\n    medians: good {np.median(scores[labels == 0]):.2f}, "
              f"wrong {np.median(scores[labels == 1]):.2f}")
    return methods, boxes

print("each part in its compartment; wrong: two swapped; image AUROC")
methods, boxes = logical(*fixed)
print("any order; wrong: one part twice, another missing; image AUROC")
_ = logical(*free)

# %% [markdown]
# How cold is PatchCore's map? Below are a good box, one with a plain defect (a red crumb, drawn), and
# one with two parts swapped, all maps of a method on one scale: no colour at what the good box reaches,
# the hottest at what the crumb or the swap reaches.

# %%
dotted = fixed[1]["good"][0].copy()
down, across = np.mgrid[:2 * half, :2 * half]
dotted[(down - half) ** 2 + (across - half) ** 2 < 36] = (200, 30, 30)
three = {"good": fixed[1]["good"][0], "a crumb": dotted, "two swapped": fixed[1]["two swapped"][0]}
features = boxes.look(list(three.values()))
figure, axes = canvas(3, rows=5, size=2.0)
for column, (name, whole) in enumerate(three.items()):
    panel(axes[0, column], whole, name)
for row, name in enumerate(("PatchCore", "PaDiM", "student", "rebuilt features"), start=1):
    found = [mapped(methods[name][0](one), boxes.grid, boxes.size) for one in features]
    scale = ColourScale(float(found[0].max()), float(max(one.max() for one in found)) * 1.001)
    for column, (whole, one) in enumerate(zip(three.values(), found)):
        shown = np.asarray(Image.fromarray(whole).resize(one.shape[::-1]))
        panel(axes[row, column], heated(shown, one, scale), f"{name}\nhighest {one.max():.1f}")
show(figure, "a good box, one with a crumb and one with two parts swapped, and below them the maps of "
     "PatchCore, PaDiM, the student and rebuilt features")

# %% [markdown]
# For these drawn boxes, and with the form as it was: PatchCore finds the crumb and hardly notices the
# swap, since each patch has its like *somewhere*. The student is as blind, for the same reason: it
# looks at one place at a time. Whoever knows the place sees the swap at once: PaDiM, the rebuilt
# features, the means of 2 x 2 fields. The mean of the whole cannot: the same parts are there. In the
# second kind of box the place says little and a count is wrong: now the mean of the whole sees it, and
# PaDiM does not.
#
# No view is best for all, so **EfficientAD takes two**, a student and an autoencoder: the last two rows
# of the picture are its idea. On MVTec LOCO its paper's mean image AUROC is 90.7 %, on MVTec AD 99.1 %
# (both as copied in the README of github.com/nelson1425/EfficientAD).
#
# **Think:** would more good images, or a bank with all patches, make PatchCore see the swap?

# %% [markdown] tags=["answer"]
# No: it would see it even less. Each remembered patch makes one more thing normal, wherever it appears,
# and the swapped parts are made of remembered patches only. What is missing is not memory but a
# question: PatchCore asks "have I seen this?", never "have I seen this *here*, and *together*?". (It
# notices a little, as the network looks far around each patch: at the neighbours, and at the image's
# edge. Move the parts closer together, `rim = 4`, or take calmer ones than wood, `"weave"`, and look at
# its AUROC: what was hidden by the knots of good wood comes out. No map would lead you to the swap all
# the same.)

# %% [markdown] tags=["teacher"]
# - 25 minutes, with exercise 11.5. The picture of the boxes is the one to remember from this lesson.
# - What learners say: "train it on defects then". Ask how many kinds of wrong boxes there are.
# - Ask for a real case in their plant: a missing washer, a wrong label, two left shoes in a box.
# - Usual mistake in 11.5: the fields in another order, or `reshape(gw, gh, -1)`, which square grids hide; the
#   check has a grid that is not square.

# %% [markdown]
# ## With one image: AnomalyDINO
#
# With few images the features decide. AnomalyDINO (2024, WACV 2025) is PatchCore without a coreset on
# the tokens of a transformer trained without labels, DINOv2: cosine distance, the mean of the worst 1 %
# as score, turned copies of the images where parts may turn. Its published results with one to four
# images of MVTec AD beside those of others; only numbers that were printed, none read off a figure:

# %%
from indad.experiments.published import published_table

table = published_table("fewshot-winclip-mvtec")
figure, axes = plt.subplots(figsize=(8, 3.4), layout="constrained")
print(f"{'good photos':18}" + "".join(f"{k:>6}" for k in (1, 2, 4)))
methods = [one for one in table["methods"] if not one["shots"]["1"].get("digitised")
           and "448" not in one["method"]]
for place, one in enumerate(methods):
    points = {int(k): found["image_auroc"] for k, found in one["shots"].items()
              if not found.get("digitised") and int(k) <= 4}
    axes.plot([str(k) for k in points], points.values(), "os^Dvp<>"[place % 8] + "-",
              color=GOOD if one["method"].startswith("AnomalyDINO") else "#777777",
              label=one["method"], ms=7)
    print(f"{one['method']:18}" + "".join(f"{points.get(k, ''):>6}" for k in (1, 2, 4)))
axes.set(xlabel="good photos", ylabel="image AUROC on MVTec AD, %", title="published")
axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
show(figure, "published image AUROC on MVTec AD with one, two and four good photos, of eight methods")
print(f"source: {table['source']['name']}; {table['source']['quality']}")

# %% [markdown]
# The preset `anomalydino` has its rules, for any network. Here on the network of the form, with one
# solar cell to learn from. A transformer of DINO's kind in the form (`dinov2_small`: 88 MB are
# downloaded) makes it AnomalyDINO, but for its masks of the background and its turned copies; and
# larger images, 448 pixels.

# %%
from indad.presets import PRESETS

some = list(cells.train)[:3]
for name, preset in {"default": {}, "anomalydino": PRESETS["anomalydino"]}.items():
    model = PatchCore(**preset, **chosen.options(resize=192))
    one_by_one, unseen = model.extract(some, training=True).photos, model.extract(cells.test)
    aurocs = [evaluate(model.fit([one]).predict_features(unseen), cells.test)["image_auroc"]
              for one in one_by_one]
    print(f"{name:12} on {chosen.backbone}, one of the {cells.name}: image AUROC "
          + ", ".join(f"{value:.2f}" for value in aurocs))

# %% [markdown]
# A line for each set of rules, a number for each of three good images taken alone. With twenty cells to
# judge, a few hundredths are chance. What made AnomalyDINO good is DINOv2 more than these rules. Lesson 07
# draws whole curves.

# %% [markdown]
# ## When to use which
#
# Judgements from this lesson and the papers, not measurements:
#
# | | PatchCore | SPADE | PaDiM | student, EfficientAD | flows | rebuilding |
# |---|---|---|---|---|---|---|
# | good images needed | few to many | few | tens | hundreds | hundreds | hundreds |
# | parts must lie alike | no | no | yes | no | no; CFLOW-AD is told the place | yes, or much data |
# | logical defects | no | by the whole image, a little | if places are fixed | EfficientAD's autoencoder | hardly | a little |
# | memory | bank, share of all patches | all patches | fixed: places x numbers² | a small network | a network | a network |
# | time for an image | network + search | network + long search | network + a product | least, on a GPU | network + flow | a network |
# | training | seconds: select | none | seconds: one pass | hours, GPU | hours, GPU | hours, GPU |
# | a new good image | `update` | append | exercise 11.6 | train again | train again | train again |
#
# Begin with PatchCore: nothing to train, and its failures can be looked at, patch by patch. Leave it
# for EfficientAD if milliseconds count and there are hundreds of images; for PaDiM if parts lie alike
# and memory must not grow; add a view of the whole if boxes can be wrong.

# %% [markdown]
# ### Exercise 11.6: a Gaussian that goes on learning
#
# *Difficulty ●●●●○, 30 minutes.* A thousand new good images arrive, and the old ones are gone. PaDiM can
# learn them all the same. Of one place you have the Gaussian of the old images and that of the new ones,
# each as `(n, mean, covariance)` with n images, mean `(k,)` and covariance `(k, k)`: divided by `n - 1`,
# without ε. Return the same three for all images together, exactly as if you had them all. A side may have
# one image only, and then a covariance of zeros.

# %% tags=["exercise"]
def merged(old, new):
    """(n, mean, covariance) of two groups of photos together; of each you have only these three."""
    ...  # your code here


check("11.6", merged)

# %% [markdown] tags=["hint"]
# Undo the division first: `(n - 1) * covariance` is the sum of squares around the group's own mean.
# Around the common mean it is larger: each of the n rows is farther off by the difference of the two
# means, which adds `n * outer(difference, difference)`. Add both groups, divide by N - 1.

# %% tags=["solution"]
import numpy as np

def merged(old, new):
    count = old[0] + new[0]
    mean = (old[0] * old[1] + new[0] * new[1]) / count
    squares = sum((n - 1) * covariance + n * np.outer(one - mean, one - mean)
                  for n, one, covariance in (old, new))
    return count, mean, squares / (count - 1)

# %% [markdown]
# ## Recap
#
# - SPADE keeps all images, PaDiM a Gaussian for each place, a student a network's answers, flows a density,
#   autoencoders the image through a needle's eye. PatchCore keeps the patches that differ most.
# - On the same features what the images are like decides: on aligned parts PaDiM comes close, with a memory
#   that does not grow; where parts or textures lie anywhere, take PatchCore.
# - SPADE's memory grows with all images, PatchCore's with a tenth of them.
# - Where every patch is normal and the whole is not, PatchCore is blind. Somebody has to look at the whole.
#
# **Next:** your own photos. [08 · Your own images](08_your_own_images.ipynb).
