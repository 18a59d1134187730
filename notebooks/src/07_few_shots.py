# %% [markdown]
# # 07 · Few shots and reduced sets
#
# A new part goes into production on Monday, and there are four photos of it. Is that enough? **One table
# of distances answers for every number of photos and every choice of them at once**: hundreds of
# detectors, in seconds. You will see how much luck there is in few photos, how seven rotated views of
# each can replace photos that nobody took, and how the same views make a turned part invisible.
#
# **You will learn** to choose shots so that results can be compared, to draw a learning curve with its
# spread, to decide whether augmentation pays, and to say what ten test images can prove.
#
# **You need** notebooks 02 (nearest distance) and 04 (AUROC, bootstrap).
#
# TIMES

# %% tags=["setup"]

# %% [markdown]
# ## Choose
#
# The form feeds all cells below. At first they work on capsules that a program draws, and that is what
# the text speaks of; numbers that depend on the choice are printed. How many photos of real solar cells are
# enough is asked of them alone, further down.

# %% tags=["choose"]
from indad.notebook.choose import choose
chosen = choose(drawn="capsule")

# %% [markdown]
# ## Four of each
#
# This is all that a 4-shot detector has to learn from: four drawn parts, or four photos of real solar cells.

# %%
from indad.data.images import read_image
from indad.notebook.getting import solar_cells
from indad.notebook.pictures import canvas, panel
from indad.notebook.widgets import show

cells = solar_cells()
figure, axes = canvas(4, rows=2, size=1.9)
for line, (name, images) in zip(axes, ((chosen.category, chosen.train), (cells.name, cells.train))):
    for one, item in zip(line, images[::max(len(images) // 4, 1)]):
        panel(one, read_image(item.path), name)
show(figure, f"four good ones to learn from: {chosen.category} above, {cells.name} below")

# %% [markdown]
# Would you dare to say from these what else a good one may look like? The drawn capsules differ in place, angle
# and light; the real cells in brightness, in their lines, and in what grew in the material.

# %% [markdown]
# ## Every detector at once
#
# A **shot** is a good training photo; a k-shot detector has seen k of them. If the memory bank keeps all
# patches, then a patch's distance to the nearest patch of *several* photos is the smallest of its
# distances to each single one. So for each patch of each test image measure once how far the nearest
# patch of each training image is (of 32, as there are no more drawn ones):

# %%
import numpy as np
import torch

from indad import PatchCore, load_dataset
from indad.engine.machine import as_array
from indad.engine.precision import products

category, test = chosen.category, chosen.few(100)  # 50 good, 50 defective, if there are more
step = max(len(chosen.train) // 32, 1)  # not the first ones: neighbours are often of one batch
train = chosen.train.replaced(chosen.train[::step][:32])
labels = test.labels
options = chosen.options(resize=128, balance_layers=False, coreset_ratio=1.0, num_neighbors=1)
model = PatchCore(**options)
seen, unseen = model.extract(train), model.extract(test)

# %%
def distance_table(test_features, train_features):
    """Distance of each test patch to the nearest patch of each image: (images, patches, train)."""
    queries = test_features.rows
    squares, columns = queries.square().sum(1, keepdim=True), []
    with products("float32"):
        # For each photo, or view of one:
        for bank in train_features.rows.to(queries).split(train_features.patches):
            squared = squares + bank.square().sum(1) - 2 * queries @ bank.T
            columns.append(squared.min(1).values.clamp(min=0).sqrt())
    nearest = torch.stack(columns, 1).view(len(test_features), -1, len(columns))
    return as_array(nearest.unflatten(2, (-1, train_features.views)).amin(3))


distances = distance_table(unseen, seen)
print(f"{distances.shape[0]} test images x {distances.shape[1]} patches x "
      f"{distances.shape[2]} training images")

# %% [markdown]
# An image's score is the largest of its patches' distances. Any choice of shots is now a minimum over
# some columns. The package agrees:

# %%
def few_shot_scores(distances, shots):
    """Scores of the test images for a bank with these training images only."""
    return distances[:, :, list(shots)].min(axis=2).max(axis=1)


by_package = PatchCore(**options).fit([train[i] for i in (1, 3)]).predict_features(unseen)
assert np.allclose(few_shot_scores(distances, [1, 3]), by_package.scores, rtol=1e-4)

# %% [markdown]
# ### Exercise 07.1: how many detectors are there?
#
# *Difficulty ●○○○○, 2 minutes.* A colleague reports the AUROC of "the 4-shot detector" of 32 photos. Out of how
# many is that one? (The order of the shots does not matter.)

# %% tags=["exercise"]
import math


def choices(count, k):
    """How many ways there are to pick k of `count` photos, as an int."""
    ...  # your code here


from notebooks.checks import check

check("07.1", choices)

# %% [markdown] tags=["hint"]
# Python's `math` has a function of two numbers for it. For 5 photos and 2 shots it gives 10.

# %% tags=["solution"]
def choices(count, k):
    return math.comb(count, k)

# %% [markdown]
# ## How do you choose shots fairly?
#
# For each **seed** shuffle the training images once, and take the first k. Then the shots of a seed are
# **nested**: with 4 shots one has what one had with 2, and two more. Steps of the curve show what more
# photos do, not what other photos do. `choose_shots` in the package does this; the category's name goes
# into the seed, so that no category depends on which others were run.

# %% [markdown]
# ### Exercise 07.2: nested shots
#
# *Difficulty ●●○○○, 10 minutes.* Write such a chooser: of `count` images, which k does a seed see? The same
# seed gives the same images, the k of a seed are among its k + 1, no image occurs twice, and other
# seeds see others. (Which ones exactly is up to you; plain `int` in a list.) It is yours that draws the
# first learning curve below.

# %% tags=["exercise"]
from indad.data.datasets import choose_shots


def shots_of(count, k, seed):
    """Positions of k of `count` images, as a list of int."""
    ...  # your code here


def package_shots(count, k, seed):
    return choose_shots(count, k, category=category, seed=seed)


pick = check("07.2", shots_of, otherwise=package_shots)

# %% [markdown] tags=["hint"]
# One shuffle for each seed, whatever k is: `np.random.default_rng(seed).permutation(count)`. The first k
# of it are nested by construction. Drawing k with `choice` gives other images for each k.

# %% tags=["solution"]
def shots_of(count, k, seed):
    return np.random.default_rng(seed).permutation(count)[:k].tolist()

# %% [markdown]
# The package's, by hand, and then the curves of 20 seeds:

# %%
import zlib

from indad.metrics import image_metrics

order = np.random.default_rng([3, zlib.crc32(category.encode())]).permutation(len(train))
assert order[:4].tolist() == choose_shots(len(train), 4, category=category, seed=3)
counts, seeds = [k for k in (1, 2, 4, 8, 16, 32) if k <= len(train)], range(20)


def learning_curve(distances, labels, counts, pick):
    """Image AUROC of all seeds and numbers of shots: (seeds, counts)."""
    return np.array([[image_metrics(few_shot_scores(distances, pick(distances.shape[2], k, seed)),
                                    labels)["image_auroc"] for k in counts] for seed in seeds])


aurocs = learning_curve(distances, labels, counts, pick)
print(f"{aurocs.size} detectors; with 1 shot from {aurocs[:, 0].min():.3f} "
      f"to {aurocs[:, 0].max():.3f}, with {counts[-2]} from {aurocs[:, -2].min():.3f} "
      f"to {aurocs[:, -2].max():.3f}")
if len(train) < 32:
    print(f"{category} has {len(train)} good photos to learn from: what more would do is not shown")

# %% [markdown]
# ### Exercise 07.3: mean and spread
#
# *Difficulty ●●○○○, 5 minutes.* Twenty curves are a tangle. For each number of shots, take the mean over the
# seeds and their standard deviation, the one that divides by the number of seeds less 1: the twenty are a
# sample of all that could have been drawn.

# %% tags=["exercise"]
from statistics import fmean, stdev


def mean_and_spread(values):
    """Of values (seeds, counts): their mean and their standard deviation, (counts,) each."""
    ...  # your code here


def by_statistics(values):
    return tuple(np.array([of(column.tolist()) for column in values.T]) for of in (fmean, stdev))


spread = check("07.3", mean_and_spread, otherwise=by_statistics)

# %% [markdown] tags=["hint"]
# Axis 0 are the seeds. `std` of numpy divides by n unless `ddof=1` is given.

# %% tags=["solution"]
def mean_and_spread(values):
    return values.mean(0), values.std(0, ddof=1)

# %%
from matplotlib import pyplot as plt

from indad.experiments.figures import COLOURS


def band(axes, counts, values, colour, marker, label, style="-"):
    """Mean over seeds, with a band of ± one standard deviation."""
    mean, std = spread(values)
    places = range(len(counts))
    axes.fill_between(places, mean - std, np.minimum(mean + std, 1), color=colour, alpha=0.2,
                      linewidth=0)
    axes.plot(places, mean, style, color=colour, marker=marker, label=label)
    axes.set_xticks(places, counts)
    axes.set(xlabel="shots (good training photos)", ylabel="image AUROC")


figure, axes = plt.subplots(figsize=(7, 3.8), layout="constrained")
axes.plot(aurocs.T, color="#999999", linewidth=0.5)
band(axes, counts, aurocs, COLOURS[0], "o", "mean ± std over 20 seeds")
axes.legend(loc="lower right")
show(figure, f"image AUROC of {category} over 1 to {counts[-1]} shots, a thin line for each of 20 "
     "seeds, and their mean with a band of one standard deviation")

# %% [markdown]
# Each thin line is one seed. With few shots **which** they are matters as much as how many: a
# report of a single seed says little. (Where all photos are taken, as at 32, there is only one choice,
# so no spread: that is not certainty.)

# %% [markdown]
# **Think:** the band at one shot is 20 seeds wide. Would 2,000 seeds make it narrower? And the mean more sure?

# %% [markdown] tags=["answer"]
# The band stays as wide: it says how far photos differ, and more seeds only measure that more exactly. The
# *mean* gets more sure, by one over the square root of the number of seeds; but only as a mean over these 32
# photos and these test images. Seeds draw again from what was photographed. They know nothing of what was not.

# %% [markdown] tags=["teacher"]
# - 25 minutes to here. Have each learner take another seed at one shot, and collect the AUROCs on the board: the
#   class is the band.
# - In 07.2 most draw a new sample for each k. Ask what a step of such a curve shows.
# - Wrong idea: "no spread at 32, so 32 is certain". There is only one way to take all.

# %% [markdown]
# ## What had the detector not seen?
#
# Take the worst seed at one shot. A good image that scores high there shows something that the single
# shot does not: here is the shot, that image, and the place that was farthest from everything
# remembered.

# %%
from indad.deploy.explanation import box_in_photo
from indad.notebook.pictures import mark_box

worst = int(np.argmin(aurocs[:, 0]))
shot, = pick(len(train), 1, worst)
scores = few_shot_scores(distances, [shot])
alarm = int(np.argmax(np.where(labels == 0, scores, -np.inf)))
place = divmod(int(distances[alarm, :, shot].argmax()), unseen.grid[1])
figure, axes = canvas(3, size=2.8)
panel(axes[0, 0], read_image(train[shot].path), f"the only shot of seed {worst}")
panel(axes[0, 1], read_image(test[alarm].path), f"good, but scores {scores[alarm]:.2f}")
mark_box(axes[0, 1], box_in_photo(place, unseen.grid, unseen.placements[alarm]))
nearest = distances[alarm].max(0).argmin()
panel(axes[0, 2], read_image(train[nearest].path),
      f"had this been the shot: {few_shot_scores(distances, [nearest])[alarm]:.2f}")
show(figure, f"{category}: the only training image of the worst seed, the good test image with the "
     "highest score and its worst patch framed, and the training image that would have made it "
     "score lowest")

# %% [markdown]
# Move through the choices. The left panel has the scores, the right one shows where the chosen k stands
# on the curve.

# %%
from indad.notebook.pictures import DEFECTIVE, GOOD
from indad.notebook.widgets import explore


def choice_figure(shots, seed):
    picked = pick(len(train), shots, seed)
    scores = few_shot_scores(distances, picked)
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
    bins = np.linspace(scores.min(), scores.max(), 16)
    left.hist(scores[labels == 0], bins, color=GOOD, alpha=0.7, label="good")
    left.hist(scores[labels == 1], bins, color=DEFECTIVE, alpha=0.6, hatch="//", label="defective")
    left.legend()
    left.yaxis.get_major_locator().set_params(integer=True)  # no half images
    left.set(xlabel="anomaly score (distance)", ylabel="images", title=f"training images {picked}"
             if shots <= 8 else f"{shots} training images")
    band(right, counts, aurocs, COLOURS[0], "o", "all seeds")
    right.plot(counts.index(shots), aurocs[seed, counts.index(shots)], "*", color="black",
               markersize=14, label=f"seed {seed}: {aurocs[seed, counts.index(shots)]:.3f}")
    right.legend(loc="lower right")
    return figure


explore(choice_figure, shots=counts, seed=list(seeds), start={"shots": 4, "seed": worst},
        alt="histogram of the scores for one choice of four shots, and its place on the curve")

# %% [markdown]
# ## Views instead of photos: does augmentation pay?
#
# Drawn gears lie on the mat at any angle; four pictures show four angles. The package can turn each
# training photo by 45, 90, ... 315 degrees and remember the seven views too:
# `augmentation="rotations"`, as AnomalyDINO does
# ([arXiv 2405.14529](https://arxiv.org/abs/2405.14529)). Drawn capsules lie nearly the same way. What
# does it do for each, and, if you chose others, for your own?

# %%
from indad.data.augmentation import augmented

capsules, capsules_test = load_dataset("synthetic", "capsule")
gears, gears_test = load_dataset("synthetic", "gear")
figure, axes = canvas(4, rows=2, size=1.7)
for one, view in zip(axes.flat, augmented([gears[0].path], "rotations")):
    panel(one, view.as_rgb(), "as drawn" if view.number == 0 else f"{45 * view.number}°")
show(figure, "a drawn gear and its seven rotated views")

# %% [markdown]
# The views go through the same table: a training image's column holds the distance to the nearest patch
# of any of its views. Eight pictures of each drawn part are enough here.

# %%
few = min(8, len(train))
turning = PatchCore(**options, augmentation="rotations")


def with_and_without(photos):
    """Features of the photos themselves, and of all their views."""
    views = turning.extract(photos, training=True)
    plain = views.of(range(len(photos)), budget=10**9)
    plain.rows = plain.rows.view(len(photos), views.views, views.patches, -1)[:, 0].flatten(0, 1)
    plain.views = 1
    return {"none": plain, "rotations": views}


parts = {"gear": (gears, gears_test), "capsule": (capsules, capsules_test), category: (train, test)}
banks = {part: with_and_without(good[:few]) for part, (good, _) in parts.items()}
tested = {part: (unseen if part == category else model.extract(new), new.labels)
          for part, (_, new) in parts.items()}
tables = {(part, kind): distance_table(tested[part][0], bank)
          for part, kinds in banks.items() for kind, bank in kinds.items()}
assert np.allclose(tables[category, "none"], distances[:, :, :few], atol=1e-3 * distances.max())

# %%
def shots_like(part):
    """The package's shots, which are the same whatever else is run."""
    return lambda count, k, seed: choose_shots(count, k, category=part, seed=seed)


small = (1, 2, 4)
curves = {(part, kind): learning_curve(table, tested[part][1], small, shots_like(part))
          for (part, kind), table in tables.items()}
figure, axes = plt.subplots(1, len(parts), figsize=(4.7 * len(parts), 3.4), layout="constrained",
                            sharey=True)
for one, part in zip(axes, parts):
    band(one, small, curves[part, "none"], COLOURS[0], "o", "no augmentation")
    band(one, small, curves[part, "rotations"], COLOURS[1], "s", "rotations", "--")
    gain = curves[part, "rotations"] - curves[part, "none"]
    one.set_title(f"{part}: rotations change the mean at 4 shots by {gain[:, 2].mean():+.3f}",
                  fontsize=10)
axes[1].legend(loc="lower right")
show(figure, f"image AUROC over shots without and with rotated views, of {', '.join(parts)}")

# %% [markdown]
# ### Exercise 07.4: views by right angles
#
# *Difficulty ●●○○○, 10 minutes.* A view turned by 45 degrees has corners that nobody photographed; they are
# filled by mirroring. Turns by right angles need no filling. Return the four views of a picture, turned
# counter-clockwise by 0, 90, 180 and 270 degrees.

# %% tags=["exercise"]
from indad.data.augmentation import turned


def right_angles(picture):
    """A picture (h, w, 3) -> a list of its four views; those of 90 and 270 degrees are (w, h, 3)."""
    ...  # your code here


def package_views(picture):
    from PIL import Image
    return [np.asarray(turned(Image.fromarray(picture), degrees)) for degrees in (0, 90, 180, 270)]


quarter = check("07.4", right_angles, otherwise=package_views)

# %% [markdown] tags=["hint"]
# `np.rot90(picture, k)` turns the first two axes by k right angles. Plain `transpose` mirrors.

# %% tags=["solution"]
def right_angles(picture):
    return [np.rot90(picture, k) for k in range(4)]

# %% [markdown]
# Do four views of a drawn gear do as much as eight?

# %%
gear_photos = [np.asarray(read_image(item.path)) for item in gears[:few]]
four = model.extract([np.ascontiguousarray(view) for one in gear_photos for view in quarter(one)])
table = distance_table(tested["gear"][0], four)  # a column for each view
table = table.reshape(*table.shape[:2], -1, 4).min(3)  # the nearest of a photo's four
curves["gear", "right angles"] = learning_curve(table, tested["gear"][1], small, shots_like("gear"))
for kind in ("none", "right angles", "rotations"):
    mean, std = spread(curves["gear", kind])
    print(f"gear, 4 shots, {kind:13s} image AUROC {mean[2]:.3f} ± {std[2]:.3f} over {len(seeds)} seeds")

# %% [markdown]
# For the drawn gears as this page has them, four views do a good half of what eight do: a gear may lie at any
# angle. The pairs matter here: both lines use the same shots with each seed, so compare them **seed by seed**.
# The package's benchmark reports the mean difference with Student's 95 % interval over the pairs
# (`tables.compare`). By hand it is mean ± t · s / √n:

# %%
from scipy.stats import t as student

from indad.experiments.records import VARIANT
from indad.experiments.tables import compare

def told(found):
    """What `compare` found. Where all pairs differ alike, the spread of pairs says nothing."""
    if not found.high > found.low:
        return f"{found.mean:+.4f} in each of {found.n} pairs, so no interval"
    return f"{found.mean:+.4f}, 95 % interval {found.low:+.4f} to {found.high:+.4f}, {found.n} pairs"


for part in parts:
    pairs = curves[part, "rotations"][:, 2] - curves[part, "none"][:, 2]
    half = student.ppf(0.975, len(pairs) - 1) * pairs.std(ddof=1) / np.sqrt(len(pairs))
    rows = [dict.fromkeys(VARIANT) | {"augmentation": kind, "category": part, "seed": seed,
                                      "image_auroc": curves[part, kind][seed, 2]}
            for kind in ("none", "rotations") for seed in seeds]
    found = compare(rows, "augmentation", "none", "rotations")
    assert np.allclose((found.low, found.high), (pairs.mean() - half, pairs.mean() + half))
    print(f"{part:8s} 4 shots: rotations - none {told(found)}")

# %% [markdown]
# That interval is over *seeds*: other shots, the same test images. How would it be with other test images? That
# is a bootstrap over images, as in lesson 04, but paired.

# %% [markdown]
# ### Exercise 07.5: a paired bootstrap
#
# *Difficulty ●●●○○, 15 minutes.* Is detector b better than a, on the same images? Draw images with replacement,
# good and defective ones separately, compute b's AUROC less a's **on the same draw**, and return the 2.5th and
# the 97.5th percentile over `draws` draws. If every draw gives the same, return `(math.nan, math.nan)`: such
# images know of no chance. The generator is yours; the check allows for chance. The cells below go on with
# yours.

# %% tags=["exercise"]
def paired_interval(a, b, labels, draws):
    """95 % interval of AUROC(b) - AUROC(a); `a`, `b`, `labels` are (n,). -> (low, high)"""
    ...  # your code here


def package_paired(a, b, labels, draws):
    from indad.evaluation import intervals
    counts = intervals.draws(labels, draws)  # how often each image is there, in each draw
    above = [x[labels == 1][:, None] - x[labels == 0] for x in (a, b)]
    table = (np.sign(above[1]) - np.sign(above[0])) / 2 / above[0].size
    values = (counts[:, labels == 1] @ table * counts[:, labels == 0]).sum(1)
    return tuple(intervals.middle(values)) if np.ptp(values) > 1e-12 else (math.nan, math.nan)


paired = check("07.5", paired_interval, otherwise=package_paired)

# %% [markdown] tags=["hint"]
# Two tables of pairs, as in notebook 04: `(bad[:, None] > good) + 0.5 * (bad[:, None] == good)`, one for a
# and one for b. Their difference is one table; each draw takes rows and columns of it, and means.

# %% tags=["solution"]
def paired_interval(a, b, labels, draws):
    def table(scores):
        bad, good = scores[labels == 1][:, None], scores[labels == 0]
        return (bad > good) + 0.5 * (bad == good)

    difference = table(b) - table(a)
    rows, columns = difference.shape
    generator = np.random.default_rng(0)
    drawn = [difference[generator.integers(0, rows, rows)]
             [:, generator.integers(0, columns, columns)].mean() for _ in range(draws)]
    if np.ptp(drawn) < 1e-12:
        return math.nan, math.nan
    return tuple(np.percentile(drawn, [2.5, 97.5]))

# %%
for part in parts:
    shots = shots_like(part)(few, min(4, few), 0)
    a, b = (few_shot_scores(tables[part, kind], shots) for kind in ("none", "rotations"))
    low, high = paired(a, b, tested[part][1], 2000)
    print(f"{part:8s} seed 0: over test images, rotations - none " + (
        "has no interval: every draw says the same" if math.isnan(low)
        else f"from {low:+.3f} to {high:+.3f}"))

# %% [markdown]
# The interval over images of a *single* seed is far wider than that over seeds. Each answers its own question:
# "with other shots" and "with other test images". Who wants to sell the method needs both.

# %% [markdown]
# ## When do views hurt?
#
# They teach that a turned part is a good part. If **lying wrong is the defect**, that is the wrong
# lesson. Turn the good drawn capsules of the test set by 90 degrees and call them defective:

# %%
as_drawn = [read_image(item.path) for item in capsules_test if item.label == 0]
lying_wrong = [turned(picture, 90) for picture in as_drawn]
turned_features = model.extract(lying_wrong)
shots = choose_shots(few, 4, category="capsule", seed=0)
figure, axes = plt.subplots(1, 3, figsize=(10, 3), layout="constrained",
                            gridspec_kw={"width_ratios": (1, 2, 2)})
panel(axes[0], lying_wrong[0], "a good capsule,\nlying wrong")
for one, kind in zip(axes[1:], ("none", "rotations")):
    good = few_shot_scores(tables["capsule", kind][capsules_test.labels == 0], shots)
    wrong = few_shot_scores(distance_table(turned_features, banks["capsule"][kind]), shots)
    auroc = np.mean((wrong[:, None] > good) + 0.5 * (wrong[:, None] == good))
    bins = np.linspace(min(good.min(), wrong.min()), max(good.max(), wrong.max()), 16)
    one.hist(good, bins, color=GOOD, alpha=0.7, label="as drawn")
    one.hist(wrong, bins, color=DEFECTIVE, alpha=0.6, hatch="//", label="turned by 90°")
    one.set(xlabel="anomaly score (distance)", ylabel="images")
    one.yaxis.get_major_locator().set_params(integer=True)
    one.set_title(f"augmentation {kind}: AUROC {auroc:.3f}", fontsize=10)
    one.legend()
show(figure, "a capsule turned by 90 degrees; scores of capsules as drawn and turned, without "
     "augmentation and with rotations")

# %% [markdown]
# So choose views by asking *what may vary in a good part*, before looking at any score. And views cost:
# eight times the patches to search, unless a coreset thins them.

# %% [markdown]
# **Think:** solar cells are photographed upright, each with three dark lines across. Which of these views would
# you give a detector of cracks: turns by 45 degrees, by right angles, by 180 degrees only, mirrored ones?

# %% [markdown] tags=["answer"]
# By 180 degrees and mirrored: the lines stay where they are, and a good cell that was built in the other way
# round looks just so. A turn by 90 or 45 degrees would make lines good that run down or across: no good cell has
# them, but a long crack looks like one. What may vary in a good part decides.

# %% [markdown]
# ## Real cells: how many are enough?
#
# The same table for photos of real solar cells: up to fifty good ones to learn from, and twenty to judge.

# %%
cell_labels, every = cells.test.labels, len(cells.train)
cell_table = distance_table(model.extract(cells.test), model.extract(cells.train))
cell_counts = [*(k for k in (1, 2, 4, 8, 16, 32) if k < every), every]
cell_curve = learning_curve(cell_table, cell_labels, cell_counts, shots_like(cells.name))
figure, axes = plt.subplots(figsize=(7, 3.4), layout="constrained")
axes.plot(cell_curve.T, color="#999999", linewidth=0.5)
band(axes, cell_counts, cell_curve, COLOURS[2], "D", f"{cells.name}, mean ± std over 20 seeds")
axes.legend(loc="lower right")
show(figure, f"image AUROC of {cells.name} over 1 to {every} shots, a thin line for each of 20 seeds, and their "
     "mean with a band of one standard deviation")
for k, column in zip(cell_counts, cell_curve.T):
    print(f"{k:2d} photos: image AUROC {column.mean():.3f}, " + (
        f"seeds from {column.min():.3f} to {column.max():.3f}" if np.ptp(column)
        else f"the same for all seeds, on {len(cell_labels)} images: no spread is not certainty"))

# %% [markdown]
# One photo of a real cell goes a long way, and the curve still rises at the end: whether fifty are enough, only
# more photos could say. Twenty test images are few besides; see below what they can prove.

# %% [markdown]
# ### Exercise 07.6: how many are enough?
#
# *Difficulty ●●●●○, 30 minutes.* "Enough" needs a number: at most `margin` of AUROC is missing to what all
# photos reach, and that surely. For each count, take the differences (last column less this one) seed by seed,
# and the upper end of their one-sided 95 % interval, mean + t · s / √n, with t the 0.95 quantile of Student's
# distribution with n - 1 degrees of freedom. Return the smallest count from which on **all** upper ends are at
# most `margin`. (That of the last count is 0.)

# %% tags=["exercise"]
def enough(curve, counts, margin):
    """The smallest number of shots that is surely within `margin`; curve is (seeds, counts)."""
    ...  # your code here


check("07.6", enough)

# %% [markdown] tags=["hint"]
# `missing = curve[:, -1:] - curve` has them all. `scipy.stats.t.ppf(0.95, n - 1)`; s with `ddof=1`. Then go from
# the last count backwards, and stop at the first one whose upper end is too high. Try yours:
# `enough(cell_curve, cell_counts, 0.05)`.

# %% tags=["solution"]
def enough(curve, counts, margin):
    missing, n = curve[:, -1:] - curve, len(curve)
    t = student.ppf(0.95, n - 1)
    upper = missing.mean(0) + t * missing.std(0, ddof=1) / np.sqrt(n)
    place = len(counts) - 1
    while place and upper[place - 1] <= margin:
        place -= 1
    return counts[place]

# %% [markdown] tags=["teacher"]
# - 30 minutes for views and pairs, 10 for the real cells; 07.6 is homework.
# - In 07.5 most draw other images for b than for a. Have them compare the two widths.
# - Ask: at 50 shots the AUROC is 1.000 for each seed. What would you write into the report? (Lesson 04: 0.74.)

# %% [markdown]
# ## What can ten test images prove?
#
# For quick trials there are **reduced sets**: `hazelnut_reduced`, or any category with `_reduced`, is a
# fixed part of the category, 50 training images and 10 test images of each type. Each group is drawn by
# a generator seeded with the CRC-32 of two names, so it is the same set on every machine, and no group
# depends on another:

# %%
from indad.data.datasets import reduced

# The drawn gears, made smaller still:
small_train, small_test = reduced(gears.items, gears_test.items, "gear", n_train=10, n_test=4)
rust = [item for item in gears_test if item.defect_type == "rust"]
seed = [zlib.crc32(b"gear"), zlib.crc32(b"rust")]
picked = sorted(np.random.default_rng(seed).permutation(len(rust))[:4])
assert [rust[i] for i in picked] == [item for item in small_test if item.defect_type == "rust"]
print(f"{len(gears)} + {len(gears_test)} images became {len(small_train)} + {len(small_test)}, "
      f"rust: {', '.join(rust[i].path.stem for i in picked)}")

# %% [markdown]
# What do such numbers say? Let a detector be truly at AUROC 0.95 (scores of good and defective images are
# normal, their means as far apart as that needs), and test it on 2,000 test sets of each size:

# %%
from scipy.stats import norm

generator = np.random.default_rng(0)
truth = 0.95
apart = np.sqrt(2) * norm.ppf(truth)
sizes = (5, 10, 20, 50, 100, 200)
measured = {}
for n in sizes:
    good, bad = generator.normal(size=(2000, n)), generator.normal(apart, size=(2000, n))
    both = np.argsort(np.argsort(np.concatenate([good, bad], 1), 1), 1)  # ranks, from 0
    measured[n] = (both[:, n:].sum(1) - n * (n - 1) / 2) / n**2  # pairs in the right order
figure, axes = plt.subplots(figsize=(7.5, 3.4), layout="constrained")
for place, n in enumerate(sizes):
    low, high = np.percentile(measured[n], [2.5, 97.5])
    axes.plot([place, place], [low, high], color=GOOD, linewidth=4, solid_capstyle="butt")
    axes.text(place + 0.08, low, f"{low:.2f} to {high:.2f}", fontsize=9, va="bottom")
axes.axhline(truth, color="black", linestyle="--", linewidth=1, label="the truth")
axes.set_xticks(range(len(sizes)), [f"{n} + {n}" for n in sizes])
axes.set(xlabel="good + defective test images", ylabel="measured image AUROC", xlim=(-0.3, 6))
axes.legend(loc="lower right")
show(figure, "where 95 % of measured AUROCs lie, for test sets of 5 + 5 to 200 + 200 images, if 0.95 "
     "is the truth; the range narrows slowly")
print(f"with 5 + 5 images {100 * np.mean(measured[5] == 1):.0f} % of the test sets say 1.000")

# %% [markdown]
# Four times the images halve the range. So a reduced set finds blunders (a detector that guesses, a wrong
# normalisation); it cannot rank two good detectors. For that, take all images, several categories and
# seeds, and pairs.
#
# The repository keeps such a comparison: three packaged backbones on six categories with three seeds each
# ([results/reference/sweeps](../results/reference/sweeps)). The same `compare`, over 18 pairs:

# %%
import json
from pathlib import Path

import indad

results = Path(indad.__file__).parents[1] / "results"
sweep = results / "reference/sweeps/synthetic/summary.json"
stored = json.loads(sweep.read_text()) if sweep.exists() else []  # the repository has it
rows = [row for row in stored if row["coreset_ratio"] == 0.1]
for other in ("efficientnet_lite1", "efficientnet_lite2") if rows else ():
    found = compare(rows, "backbone", "efficientnet_lite0", other)
    print(f"{other} - efficientnet_lite0: {told(found)}")

# %% [markdown]
# ## Recap
#
# - Shots of a seed are nested: a learning curve then shows what *more* photos do. Draw several seeds and
#   their spread.
# - Views pay where a good part varies like they do, and blind the detector where that is the defect.
# - Compare on the same shots and the same images; the interval of the difference decides.
# - "No spread" and "the same in every draw" are silence, not certainty.
# - Ten test images find blunders. They do not rank good detectors.
#
# **Next:** who else finds defects from good photos only. [11 · The family](11_the_family.ipynb).
