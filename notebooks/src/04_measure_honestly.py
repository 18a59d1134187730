# %% [markdown]
# # 04 · Measure honestly
#
# "Our detector reaches 0.967." On which images, counted how, and would it reach that again tomorrow?
# Below, three detectors judge the same few dozen drawn parts, and two judge twenty photos of real solar
# cells. **You will see which of their differences are more than luck, what a perfect score proves, how a fine
# pixel score can hide that half of the defects were overlooked, and how easily a test set makes a useless
# detector look good.**
#
# **You will learn** to count AUROC and AUPRO by hand, to put an interval around a number, to compare
# two detectors on the same images, and to spot a leak.
#
# **You need** notebook 02, or to believe that a detector gives each image a score and each pixel a
# value, higher for more anomalous.
#
# TIMES

# %% tags=["setup"]

# %% [markdown]
# ## Choose
#
# The form feeds all cells below. The text speaks of what the drawn gears show that it begins with: pixel
# metrics need masks, which only a drawing has for every defect, down to the pixel. Photos of real cells
# come in where no mask is needed.

# %% tags=["choose"]
from indad.notebook.choose import choose
chosen = choose(drawn="gear")

# %% [markdown]
# ## Which of three detectors is the best?
#
# All three are PatchCore, at first on drawn gears. The second looks at one neighbour where the first
# averages three; the third remembers a fifth as many patches. **Image AUROC** is the usual figure: 1 is
# perfect, 0.5 is guessing.

# %%
import numpy as np

from indad import PatchCore
from indad.metrics import image_metrics

train, test = chosen.train[:100], chosen.test
labels = test.labels
common = chosen.options(resize=192, num_neighbors=3, seed=0)
detectors = {"5 % of the patches": PatchCore(**common, coreset_ratio=0.05),
             "one neighbour": PatchCore(**common | {"num_neighbors": 1}, coreset_ratio=0.05),
             "1 % of the patches": PatchCore(**common, coreset_ratio=0.01)}
first = next(iter(detectors.values()))
seen, unseen = first.extract(train, training=True), first.extract(test)
predictions = {}
for name, model in detectors.items():
    predictions[name] = model.fit_features(seen).predict_features(unseen)
    auroc = image_metrics(predictions[name].scores, labels)["image_auroc"]
    print(f"{name:20s} image AUROC {auroc:.4f}")
print(f"on {sum(labels == 0)} good and {sum(labels == 1)} defective images")

# %% [markdown]
# ## What does image AUROC count?
#
# Pairs. Take each defective image with each good one: is the defective one's score higher? Yes counts
# 1, a tie counts ½. The mean is the AUROC, so it is **the probability that a defective image scores
# above a good one**, both drawn at random. No threshold is involved.

# %%
def pairs(scores, labels):
    """Of each defective image (row) and good image (column): 1 in order, 0.5 tied, 0 not."""
    defective, good = scores[labels == 1][:, None], scores[labels == 0][None, :]
    return (defective > good) + 0.5 * (defective == good)


for prediction in predictions.values():
    by_hand = pairs(prediction.scores, labels).mean()
    assert abs(by_hand - image_metrics(prediction.scores, labels)["image_auroc"]) < 1e-9
print(f"the mean over {pairs(prediction.scores, labels).size} pairs is the package's image AUROC")

# %% [markdown]
# ### Exercise 04.1: pairs in the wrong order
#
# *Difficulty ●○○○○, 2 minutes.* To be sure that the idea is yours: in how many pairs does the good image
# score **higher** than the defective one?

# %% tags=["exercise"]
def wrong_pairs(good, defective):
    """Pairs of a good (n,) and a defective (m,) score in which the good one is higher."""
    ...  # your code here


from notebooks.checks import check

check("04.1", wrong_pairs)

# %% [markdown] tags=["hint"]
# Two loops will do: for each defective score, for each good one, add 1 if the good one is higher.

# %% tags=["solution"]
def wrong_pairs(good, defective):
    return sum(g > d for d in defective for g in good)

# %% [markdown]
# Sort both kinds by score and draw the table of pairs. Each white field is a pair in the wrong order;
# the share of blue is the AUROC, and the edge between them is the ROC curve that gave it its name.

# %%
from matplotlib import pyplot as plt
from matplotlib.colors import ListedColormap

from indad.notebook.pictures import DEFECTIVE, GOOD
from indad.notebook.widgets import show

figure, axes = plt.subplots(1, 3, figsize=(10, 4.6), layout="constrained", sharey=True)
for one, (name, prediction) in zip(axes, predictions.items()):
    falling = np.argsort(-prediction.scores, kind="stable")
    table = pairs(prediction.scores[falling], labels[falling])
    one.imshow(table, origin="lower", cmap=ListedColormap(["white", "#999999", "#8EC1E3"]),
               vmin=0, vmax=1, extent=(0, table.shape[1], 0, table.shape[0]))
    one.set_title(f"{name}\n{table.mean():.4f} of the pairs in order", fontsize=10)
    one.set_xlabel("good images, highest score left")
axes[0].set_ylabel("defective images, highest score below")
show(figure, "for each detector a table of pairs of a defective and a good image, blue where the "
     "defective one scores higher; the share of blue is the AUROC")

# %% [markdown]
# ### Exercise 04.2: AUROC, ties included
#
# *Difficulty ●●○○○, 10 minutes.* Many detectors clip or round their scores, so ties are common. Write
# AUROC without a loop over pairs: sort once, and for each defective image count the good ones below it,
# and half of those level with it. The cells below go on with yours.

# %% tags=["exercise"]
def ranked(scores, labels):
    """AUROC of `scores` (n,) for `labels` (n,), 1 is defective; a tie counts half."""
    ...  # your code here


def package_auroc(scores, labels):
    return image_metrics(scores, labels)["image_auroc"]


auroc = check("04.2", ranked, otherwise=package_auroc)

# %% [markdown] tags=["hint"]
# Sort the good scores. `np.searchsorted(good, defective, side="left")` counts the good scores below
# each defective one, `side="right"` those below or level.

# %% tags=["solution"]
def ranked(scores, labels):
    good = np.sort(scores[labels == 0])
    defective = scores[labels == 1]
    below = np.searchsorted(good, defective, side="left")
    not_above = np.searchsorted(good, defective, side="right")
    return (below + not_above).mean() / 2 / len(good)

# %% [markdown] tags=["teacher"]
# - 25 minutes to here. Draw the table of pairs of three good and three defective scores on the board first.
# - Wrong ideas: AUROC 0.9 means that 90 % of the images are judged right (no threshold is involved); ties do
#   not matter (let them round all scores to whole numbers).
# - Ask: a detector gives every image the score 7. What is its AUROC, and why not 0?

# %% [markdown]
# ## How far can a few dozen images be trusted?
#
# Had we photographed other parts, the number would be another. The **bootstrap** imitates that: draw as
# many images as there are, with replacement, from those that we have, and compute the AUROC of the
# draw; do it 2,000 times. The middle 95 % of the results are the interval. Good and defective images
# are drawn separately, as their numbers were our choice and no chance.

# %%
generator = np.random.default_rng(0)
n_good, n_defective = int(sum(labels == 0)), int(sum(labels == 1))
draws = [(generator.integers(0, n_defective, n_defective), generator.integers(0, n_good, n_good))
         for _ in range(2000)]


def resampled(table):
    """AUROC of each draw, from a table of pairs: (2000,)."""
    return np.array([table[rows][:, columns].mean() for rows, columns in draws])


def interval(values):
    """The middle 95 %."""
    return np.percentile(values, [2.5, 97.5])


def told(values):
    """An interval in words. If every draw says the same, the bootstrap knows of no chance at all."""
    low, high = interval(values)
    return f"interval {low:+.3f} to {high:+.3f}" if np.ptp(values) > 1e-12 else (
        "no interval, as every draw says the same")


results = {name: resampled(pairs(p.scores, labels)) for name, p in predictions.items()}

# %% [markdown]
# The same draws serve all detectors. That pays off in the right panel: an image that is hard for one is
# often hard for the other too, so **their difference on the same draws scatters less than between
# draws of one's own**.

# %%
def whisker(axes, values, place, colour):
    """Their interval as a line at this height, or the words that there is none."""
    axes.plot(interval(values), [place, place], color=colour, linewidth=3, solid_capstyle="butt")
    if np.ptp(values) < 1e-12:
        axes.text(values[0], place - 0.1, "no interval", ha="center", va="bottom", fontsize=8)


figure, (left, right) = plt.subplots(1, 2, figsize=(10, 2.9), layout="constrained")
names = list(results)
for place, name in enumerate(names):
    middle = auroc(predictions[name].scores, labels)
    whisker(left, results[name], place, GOOD)
    left.plot(middle, place, "o", color="black")
    if place:
        low, high = interval(results[name] - results[names[0]])
        colour = DEFECTIVE if low > 0 or high < 0 else "#777777"
        whisker(right, results[name] - results[names[0]], place, colour)
        difference = middle - auroc(predictions[names[0]].scores, labels)
        right.plot(difference, place, "o", color="black")
        apart = np.ptp(interval(generator.permutation(results[name]) - results[names[0]]))
        print(f"{name} minus {names[0]}: {difference:+.3f}, {told(results[name] - results[names[0]])}\n    "
              + ("0 is outside" if colour == DEFECTIVE else "0 is not ruled out: may be luck")
              + f"; {high - low:.3f} wide; with draws of one's own {apart:.3f}")
left.set_yticks(range(3), names)
right.set_yticks([1, 2], names[1:])
left.set(xlabel="image AUROC, 95 % interval", ylim=(2.5, -0.5))
right.axvline(0, color="black", linestyle="--", linewidth=1)
right.set(xlabel=f"difference to “{names[0]}”, same images", ylim=(2.5, 0.5))
show(figure, "left: image AUROC of three detectors with 95 % intervals; right: their differences to "
     "the first with 95 % intervals and a line at 0")

# %% [markdown]
# This is the answer to the question at the top: a difference whose interval contains 0 is no reason to
# prefer anything. How intervals shrink as test sets grow is in notebook 07.
#
# **Think:** in the left panel the intervals of two detectors overlap, and in the right one their difference
# keeps clear of 0. Which panel is right?

# %% [markdown] tags=["answer"]
# Both. The left one asks how far each detector's number would move with other images. Most of that movement is
# common to all of them: a hard image is hard for each. The right one asks who is better *on the same images*,
# where the common part cancels. That overlapping intervals mean "no difference" is the commonest mistake in
# reading such figures; only the interval of the difference tells.

# %% [markdown]
# ### Exercise 04.3: an interval, and when there is none
#
# *Difficulty ●●●○○, 15 minutes.* Make a function of it: draw good and defective images separately, with
# replacement, and return the 2.5th and the 97.5th percentile of AUROC over the draws. If every draw gives the
# same, return `(math.nan, math.nan)`: that is not certainty, it is silence. The generator is yours; the check
# allows for chance. The cells below go on with yours.

# %% tags=["exercise"]
import math


def auroc_interval(scores, labels, draws):
    """95 % bootstrap interval of AUROC over `draws` draws -> (low, high); (nan, nan) if none."""
    ...  # your code here


def package_interval(scores, labels, draws):
    from indad.evaluation import intervals
    counts = intervals.draws(labels, draws)  # how often each image is there, in each draw
    table = pairs(scores, labels) / sum(labels == 0) / sum(labels == 1)
    values = (counts[:, labels == 1] @ table * counts[:, labels == 0]).sum(1)
    return tuple(intervals.middle(values)) if np.ptp(values) > 1e-12 else (math.nan, math.nan)


interval_of = check("04.3", auroc_interval, otherwise=package_interval)

# %% [markdown] tags=["hint"]
# Make the table of pairs once. A draw takes rows and columns of it:
# `table[generator.integers(0, m, m)][:, generator.integers(0, n, n)].mean()`. `np.ptp(values)` is the largest
# less the smallest.

# %% tags=["solution"]
def auroc_interval(scores, labels, draws):
    bad, good = scores[labels == 1][:, None], scores[labels == 0][None, :]
    table = (bad > good) + 0.5 * (bad == good)
    m, n = table.shape
    generator = np.random.default_rng(0)
    values = [table[generator.integers(0, m, m)][:, generator.integers(0, n, n)].mean()
              for _ in range(draws)]
    if np.ptp(values) < 1e-12:
        return math.nan, math.nan
    return tuple(np.percentile(values, [2.5, 97.5]))

# %% [markdown]
# ## Twenty real cells, and a perfect score
#
# Twenty photos are what many real projects have to test with. Here are twenty of solar cells, ten good and
# ten with a defect that an expert saw; one detector has learned from five photos of good cells, one from all.

# %%
from indad.notebook.getting import solar_cells

cells = solar_cells()
cell_labels, every = cells.test.labels, len(cells.train)
viewer = PatchCore(**chosen.options(resize=128, coreset_ratio=0.1, seed=0))
good_cells = [item for item in cells.test if not item.label]  # for later
learned = viewer.extract([*cells.train, *good_cells], training=True)
looked_at = viewer.extract(cells.test)


def cell_scores(images):
    """Scores of the test cells, for a bank with these of the images that were learned from."""
    return viewer.fit_features(learned.of(images, budget=10**9)).predict_features(looked_at).scores


few = list(range(0, every, max(every // 5, 1)))[:5]
few_scores, all_scores = cell_scores(few), cell_scores(range(every))
for name, found in (("5 photos", few_scores), (f"{every} photos", all_scores)):
    low, high = interval_of(found, cell_labels, 2000)
    print(f"{name:9s} image AUROC {auroc(found, cell_labels):.3f}, " + (
        "no interval: every draw says the same" if math.isnan(low)
        else f"95 % interval {low:.3f} to {high:.3f}"))

# %%
figure, axes = plt.subplots(figsize=(7.5, 2.2), layout="constrained")
for row, found in enumerate((few_scores, all_scores)):
    for label, marker, colour in ((0, "o", GOOD), (1, "^", DEFECTIVE)):
        values = found[cell_labels == label] / np.median(found[cell_labels == 0])
        axes.plot(values, np.full(len(values), row + (label - 0.5) / 5), marker, color=colour, alpha=0.7,
                  label=None if row else ("defective" if label else "good"))
axes.set_yticks([0, 1], ["learned from 5", f"learned from {every}"])
axes.set(xlabel="anomaly score (1: median good cell)", ylim=(1.5, -0.5))
axes.legend()
show(figure, f"{cells.name}: scores of good and defective test images for a detector that has learned from 5 "
     f"photos and for one that has learned from {every}")

# %% [markdown]
# With five photos the interval is wide: twenty images say little. With fifty, all 100 pairs of these real
# cells were in order when this page was made, though some only just (look at the gap). **A trap: the perfect score.** If all pairs are in order, so are those of each draw, and
# the bootstrap would say "1.000 to 1.000". It does not know of images that it has never seen.
#
# What is known, then? Give each defective image a good partner of its own: that makes k pairs that have no
# image in common, k the smaller of the two numbers. If the true AUROC is p, all k are in order with
# probability pᵏ. A p for which this is 5 % is the lowest that one can still believe in. The same holds for
# "k of k defects found".

# %%
def at_least(k):
    """The lowest share that is still believable (95 %) when all of k came out right."""
    return 0.05 ** (1 / k)


for k in (5, 10, 30, 100, 1000):
    print(f"{k:5d} of {k:5d} right: in truth at least {at_least(k):.3f} are (95 % sure)")

# %% [markdown]
# So ten and ten real cells, all in order, prove an AUROC of 0.74 or more. Two detectors that are both perfect
# are not shown to be alike either: a difference of up to 0.26 would have gone unseen.

# %% [markdown]
# ## The same scores, two curves: ROC and precision-recall
#
# A threshold flags all images above it. **Recall** is the share of defective images that are flagged,
# the **false-alarm rate** that of good ones; moving the threshold down draws the ROC curve.
# **Precision** is the share of *flagged* images that are defective, and depends on how many there are:
# two of three in this test set, perhaps one in a hundred on a line.

# %%
def curve(scores, labels):
    """False-alarm rate and recall at each distinct score as threshold, from high to low."""
    levels = np.unique(scores)[::-1]
    flagged = scores[None, :] >= levels[:, None]
    return flagged[:, labels == 0].mean(1), flagged[:, labels == 1].mean(1)


def precision(alarms, recall, share):
    """Share of the flagged that are defective, if `share` of all images are."""
    return share * recall / (share * recall + (1 - share) * alarms)


scores = predictions[names[0]].scores
alarms, recall = curve(scores, labels)
found = precision(alarms, recall, share=labels.mean())
average_precision = np.sum(np.diff(recall, prepend=0) * found)
x, y = np.r_[0, alarms], np.r_[0, recall]
area = np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2)  # under straight lines from point to point
metrics = image_metrics(scores, labels)
assert abs(average_precision - metrics["image_ap"]) < 1e-9
assert abs(area - metrics["image_auroc"]) < 1e-9
print(f"area under the ROC curve {area:.4f}, average precision {average_precision:.4f}")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
left.plot(np.r_[0, alarms], np.r_[0, recall], color="black")
left.set(xlabel="false-alarm rate", ylabel="recall", title="ROC: whatever the share")
for share, style, colour in ((labels.mean(), "-", GOOD), (0.01, "--", DEFECTIVE)):
    right.plot(recall, precision(alarms, recall, share), style, color=colour,
               label=f"{100 * share:.0f} % of images defective")
right.set(xlabel="recall", ylabel="precision", ylim=(0, 1.03), title="precision and recall")
right.legend()
show(figure, "left the ROC curve; right precision against recall if as many images are defective as "
     "in the test set, and if one in a hundred is: then the same false alarms cost more of it")
enough = np.argmax(recall >= 0.95)
print(f"with 95 % found, {100 * found[enough]:.0f} % of alarms are true in the test set, "
      f"{100 * precision(alarms, recall, 0.01)[enough]:.0f} % if one part in a hundred is defective")

# %% [markdown]
# The detector is the same. AUROC and ROC say how well it *ranks*; how many alarms are true depends on
# your line. So report AUROC to compare detectors, and precision only together with the share of
# defects.

# %% [markdown]
# ### Exercise 04.4: precision and recall at a threshold
#
# *Difficulty ●●○○○, 8 minutes.* An image is flagged if its score is **at least** the threshold, as in the curve
# above. If nothing is flagged, no precision exists: return `math.nan` for it.

# %% tags=["exercise"]
def precision_recall(scores, labels, threshold):
    """-> (precision, recall) of flagging all images that score at least `threshold`."""
    ...  # your code here


check("04.4", precision_recall)

# %% [markdown] tags=["hint"]
# `flagged = scores >= threshold`, `hits = flagged & (labels == 1)`. Precision divides the hits by what is
# flagged, recall by what is defective.

# %% tags=["solution"]
def precision_recall(scores, labels, threshold):
    flagged = scores >= threshold
    hits = np.sum(flagged & (labels == 1))
    return (hits / flagged.sum() if flagged.any() else math.nan), hits / np.sum(labels == 1)

# %% [markdown]
# ## Why does pixel AUROC flatter?
#
# Count pairs again, this time of a defective and a good *pixel*. Nearly all pixels are good, far away
# from anything, and easy; and each defect counts by its area. First, which areas do defects have?

# %%
from scipy import ndimage

from indad import load_dataset

judged, prediction = test, predictions[names[0]]
if not chosen.has_masks:
    print("no masks: nobody said where the defects in these photos are, so here we take drawn gears")
    drawn, judged = load_dataset("synthetic", "gear")
    prediction = PatchCore(**common, coreset_ratio=0.05).fit(drawn).predict(judged)
known = [place for place, item in enumerate(judged) if item.mask() is not None]
masks = [prediction.transform.mask(judged[place].mask()) for place in known]
regions = []  # (image, its pixels)
for place, mask in enumerate(masks):
    numbered, count = ndimage.label(mask, structure=np.ones((3, 3)))  # diagonals connect too
    regions += [(place, numbered == n) for n in range(1, count + 1)]
sizes = np.array([region.sum() for _, region in regions])
print(f"{100 * np.mean([m.mean() for m in masks]):.1f} % of all pixels are defective, in "
      f"{len(regions)} connected regions of {sizes.min()} to {sizes.max()} pixels")

# %% [markdown]
# Now two things happen. A part comes in that is **rusty over half of the picture**, which any detector
# sees: its map is hot there. And the detector goes **blind to the smaller half of the other
# defects**: their pixels get the lowest value there is. A metric should cry.

# %%
from indad.metrics import pixel_metrics

one_good = prediction.model_maps[np.flatnonzero(judged.labels == 0)[0]]
maps = [*prediction.model_maps[known], one_good.copy()]  # copies: the prediction stays what it is
rusty = np.zeros(masks[0].shape, bool)
rusty[:, :rusty.shape[1] // 2] = True
maps[-1][rusty] = prediction.model_maps.max()
whole = pixel_metrics(maps, [*masks, rusty])
half = np.argsort(sizes)[:max(len(sizes) // 2, 1)]
for place, region in [regions[number] for number in half]:
    maps[place][region] = prediction.model_maps.min()
broken = pixel_metrics(maps, [*masks, rusty])
areas = np.r_[rusty.sum(), np.sort(sizes)[::-1]]
print(f"the overlooked half has {100 * sizes[half].sum() / areas.sum():.1f} % of the defective pixels")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.4), layout="constrained")
left.bar(range(len(areas)), areas, color=GOOD)
left.bar(range(len(areas) - len(half), len(areas)), areas[-len(half):], color=DEFECTIVE, hatch="//",
         label="overlooked by the blind one")
left.set(xlabel="defects, largest first", ylabel="pixels", yscale="log")
left.legend(loc="upper right")
for place, key in enumerate(("pixel_auroc", "aupro_30")):
    for shift, values, colour, hatch in ((-0.2, whole, GOOD, ""), (0.2, broken, DEFECTIVE, "//")):
        right.bar(place + shift, values[key], 0.38, color=colour, hatch=hatch)
        right.text(place + shift, values[key] + 0.02, f"{values[key]:.3f}", ha="center")
right.set_xticks([0, 1], ["pixel AUROC", "AUPRO (to 30 %)"])
right.set(ylim=(0, 1.12), ylabel="metric (1: perfect)")
right.set_title("blue: as it is; hatched: blind to small defects", fontsize=10)
show(figure, "left: pixels of each defect on a logarithmic axis, the smaller half hatched; right: "
     "pixel AUROC and AUPRO with and without the smaller half")
for key in ("pixel_auroc", "aupro_30"):
    print(f"{key} falls by {whole[key] - broken[key]:.3f}")

# %% [markdown]
# Half of the defects are overlooked, and in the drawn gears pixel AUROC loses little: the large one has
# most of the pixels.

# %% [markdown]
# ## AUPRO by hand
#
# The second pair of bars is the **AUPRO** (Bergmann et al.,
# [IJCV 2021](https://doi.org/10.1007/s11263-020-01400-4)): the mean *overlap per region*. Each
# connected defect has the same weight, whatever its size: the share of *its* pixels above the
# threshold, averaged over all defects of all images, against the share of good pixels above it. The
# area is taken up to a false-positive rate of 30 %, and divided by that. (Its weakness is in the left
# panel too: a crumb of a single pixel weighs as much as a whole scratch.)

# %%
def aupro_by_hand(maps, masks, limit=0.3):
    labelled = [ndimage.label(mask, structure=np.ones((3, 3))) for mask in masks]
    good = np.concatenate([values[~mask] for values, mask in zip(maps, masks)])
    rates, overlaps = [0.0], [0.0]
    for level in np.unique(np.concatenate([values.ravel() for values in maps]))[::-1]:
        overlap = [np.mean(values[numbered == n] >= level)
                   for values, (numbered, count) in zip(maps, labelled)
                   for n in range(1, count + 1)]
        rates.append(np.mean(good >= level))
        overlaps.append(np.mean(overlap))
    area = 0.0  # under straight lines from point to point, the last of them cut at the limit
    for (x0, x1), (y0, y1) in zip(zip(rates, rates[1:]), zip(overlaps, overlaps[1:])):
        right = min(x1, limit)
        if x0 < right:
            cut = y0 + (y1 - y0) * (right - x0) / (x1 - x0)
            area += (right - x0) * (y0 + cut) / 2
    return area / limit

# %% [markdown]
# On small random maps with planted defects, where slow code is no trouble, it agrees with the package:

# %%
from indad.metrics import aupro

toy_masks = np.zeros((3, 12, 12), bool)
toy_masks[0, 2:8, 2:8] = toy_masks[0, 10, 10] = toy_masks[1, 5, 1:4] = True  # the third is good
toy_maps = np.round(generator.random((3, 12, 12)) + 0.6 * toy_masks, 2)  # rounded: with ties
slow, fast = aupro_by_hand(toy_maps, toy_masks), aupro(toy_maps, toy_masks)
print(f"by hand {slow:.6f}, package {fast:.6f}")
assert abs(slow - fast) < 1e-9

# %% [markdown]
# ### Exercise 04.5: two planted defects
#
# *Difficulty ●●●○○, 15 minutes.* Plant defects into a map, so that defect i has `sizes[i]` pixels, all
# of one value, and is found as a whole at the moment when a share `found_at[i]` of the good pixels
# lies above it: 0 is at once, 0.5 is like a random pixel. What are the pixel AUROC and the AUPRO up to
# `limit`? Both have a closed form, and it shows what each of them weighs.

# %% tags=["exercise"]
def planted(sizes, found_at, limit=0.3):
    """-> (pixel AUROC, AUPRO up to `limit`) of planted defects."""
    ...  # your code here


check("04.5", planted)

# %% [markdown] tags=["hint"]
# The curve of one defect is a step: 0 until the false-positive rate `found_at[i]`, then 1. Its area up
# to 1 is `1 - found_at[i]`; up to `limit` it is `limit - found_at[i]`, but never below 0. Then average:
# one metric weighs defects by their pixels, the other does not.

# %% tags=["solution"]
def planted(sizes, found_at, limit=0.3):
    sizes, found_at = np.asarray(sizes, float), np.asarray(found_at, float)
    pixel_auroc = np.sum(sizes * (1 - found_at)) / np.sum(sizes)
    return pixel_auroc, np.mean(np.maximum(limit - found_at, 0)) / limit

# %% [markdown] tags=["teacher"]
# - 25 minutes for the two sections on pixels. The wrong idea to dig out: 0.99 pixel AUROC sounds like 99 % of
#   something. Ask what share of all pixels is good.
# - In 04.5 most let a defect that is found past the limit count below nothing.
# - Ask: which of the two metrics would the maker of a scratch detector advertise, and which would a buyer ask for?

# %% [markdown]
# ## How does a test set leak?
#
# Whoever tries settings and keeps the one with the best *test* result has let the test set choose. The
# purest case: detectors that **guess**. Each gives random scores to our images; keep the best of
# them. Then show it new images.

# %%
guesses = generator.random((200, len(labels)))
guessed = np.array([auroc(one, labels) for one in guesses])
again = auroc(generator.random(len(labels)), labels)  # it guesses again, on new images
print(f"best of {len(guesses)} guessing detectors: {guessed.max():.3f}; on new images: {again:.3f}")

# %% [markdown]
# Settings of a real detector differ less, but the same happens. Search nine neighbours once, and score
# by hand in 45 ways: the mean distance to k neighbours, averaged over the t worst patches. The setting
# k = 3, t = 1 is that of the first detector above.

# %%
import torch

from indad.engine.search import MemoryIndex

model = detectors[names[0]]
most = min(9, len(model.memory_bank_))
rows = unseen.rows.to(model.device_) * model.feature_scale_
with torch.inference_mode():
    nearest, _ = MemoryIndex(model.memory_bank_).search(rows, most)
nearest = nearest.reshape(len(test), -1, most).cpu().numpy()  # images, patches, neighbours
settings = [(k, t) for k in range(1, most + 1) for t in (1, 2, 5, 10, 20)]
by_setting = np.array([np.sort(nearest[:, :, :k].mean(2), axis=1)[:, -t:].mean(1)
                       for k, t in settings])
assert np.allclose(by_setting[settings.index((min(3, most), 1))], scores, rtol=1e-4)

# %% [markdown]
# Then split the test images at random into two halves. On one half pick the best setting, and note its
# AUROC *there*, as a careless report would; and on the other half, which had no say.

# %%
def halves(count):
    """Two random halves of so many images; a single one has to be in both."""
    order = generator.permutation(count)
    return order[::2], order[min(1, count - 1)::2]


tables = np.array([pairs(one, labels) for one in by_setting])  # settings, defective, good
reported, honest = [], []
for _ in range(300):
    mine, other = [tables[:, rows][:, :, columns].mean((1, 2))
                   for rows, columns in zip(halves(n_defective), halves(n_good))]
    best = np.argmax(mine)
    reported.append(mine[best])
    honest.append(other[best])
print(f"the chosen of {len(settings)} settings: {np.mean(reported):.3f} on the half that chose it, "
      f"{np.mean(honest):.3f} on the other")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3), layout="constrained")
left.hist(guessed, 20, color="#999999")
left.axvline(guessed.max(), color=DEFECTIVE, linestyle="--", label="the one to be published")
left.set(xlabel="image AUROC", ylabel="guessing detectors", title="200 guessing detectors")
left.legend(fontsize=8)
bins = np.linspace(min(honest), 1, 20)
right.hist(honest, bins, color=GOOD, alpha=0.7, label=f"on the other half, mean {np.mean(honest):.3f}")
right.hist(reported, bins, color=DEFECTIVE, alpha=0.6, hatch="//",
           label=f"on the half that chose it, mean {np.mean(reported):.3f}")
right.set(xlabel="image AUROC of the chosen setting", ylabel="splits",
          title=f"{len(settings)} real settings")
right.legend(fontsize=8)
right.locator_params("x", nbins=5)
show(figure, "left: AUROC of 200 guessing detectors, the best marked; right: AUROC of the chosen one of many "
     "settings on the half that chose it, and on the other half")

# %% [markdown]
# The distance between the two means is what the choice pretends. So **no test image may choose
# anything**: no setting, no epoch, no threshold, no scaling of scores. If you must choose, do it on
# other categories or on images kept aside for that. (The best F1 that papers report, "F1-max", picks
# its threshold on the test set: read it as a bound.)
#
# **Think:** somebody trains for 100 epochs, tests after each, and reports the best epoch. Somebody else
# scales all scores to 0...1 by the smallest and the largest of the test set, and reports AUROC. Who leaks?

# %% [markdown] tags=["answer"]
# The first one does: the test set chose the epoch, as it chose among the 45 settings. The scaling of the second
# one reads the test set too, but keeps the order of all scores, and AUROC only knows the order: it changes
# nothing. It would leak as soon as a threshold is put on the scaled scores: on the line there is no largest
# score of a test set to divide by.

# %% [markdown]
# ## The other leak: the same part twice
#
# The second common leak is a part that appears in training *and* test. Take the detector that learned from five
# photos of real cells, and let the ten good test cells slip into its training, as happens when somebody
# shuffles a folder with two photos of each cell.

# %%
leaked = cell_scores([*few, *range(every, every + len(good_cells))])
print(f"image AUROC {auroc(few_scores, cell_labels):.3f} from five photos, "
      f"{auroc(leaked, cell_labels):.3f} with the leak")

# %% [markdown]
# The good test cells are remembered to the pixel and score next to nothing, so every defect scores above them.
# No defect was seen better. `python -m indad check` looks for such twins; you will now, too.

# %% [markdown]
# ### Exercise 04.6: find the leak
#
# *Difficulty ●●●●○, 30 minutes.* A test image leaks if, after one of the eight turns and mirrorings of a square,
# it differs from some training image by less than `limit` grey levels on average, when from each of both its
# mean is subtracted (the lamp may have changed). Return the positions of those test images.

# %% tags=["exercise"]
def leaks(train, test, limit):
    """Positions (a set of int) of images of `test` (m, s, s) that are in `train` (n, s, s); uint8."""
    ...  # your code here


check("04.6", leaks)

# %% [markdown] tags=["hint"]
# Turn numbers into floats first: differences of uint8 wrap around at 0. The eight views of an image are
# `np.rot90(image, k)` for k = 0...3, of itself and of `image[:, ::-1]`.

# %% tags=["solution"]
def leaks(train, test, limit):
    def centred(images):
        images = np.asarray(images, float)
        return images - images.mean((1, 2), keepdims=True)

    train, found = centred(train), set()
    for place, image in enumerate(centred(test)):
        views = [np.rot90(one, k) for one in (image, image[:, ::-1]) for k in range(4)]
        if any(np.abs(train - view).mean((1, 2)).min() < limit for view in views):
            found.add(place)
    return found

# %% [markdown]
# ## And the seed?
#
# The bootstrap asks for other test images. The coreset begins at a random patch, so another *seed* gives
# another detector too. The repository keeps the results of a sweep; here are the drawn gears in it, at a
# larger image size.

# %%
import json
from pathlib import Path

import indad

file = Path(indad.__file__).parents[1] / "results/reference/sweeps/synthetic/summary.json"
runs = json.loads(file.read_text()) if file.exists() else []
if not runs:
    print("the sweep's results are in the repository, and this is an installed package")
gears = [r for r in runs if r["category"] == "gear" and r["backbone"] == "efficientnet_lite0"]
for ratio in sorted({r["coreset_ratio"] for r in gears}):
    values = sorted(r["image_auroc"] for r in gears if r["coreset_ratio"] == ratio)
    print(f"{100 * ratio:4.0f} % of the patches:", ", ".join(f"{v:.4f}" for v in values),
          f"-> {np.mean(values):.4f} ± {np.std(values, ddof=1):.4f} over {len(values)} seeds"
          if np.ptp(values) > 0 else f"-> the same for {len(values)} seeds")

# %% [markdown]
# A single seed can flatter or blame a detector by the spread that you see there. Report mean and
# standard deviation over several, and compare detectors seed by seed: `python -m indad benchmark
# --seeds 3` does both.

# %% [markdown]
# ## Recap
#
# - Image AUROC is the share of pairs in the right order; ties count half. It ranks, and says nothing
#   about a threshold or about how many alarms are true.
# - With tens of test images, write the interval beside the number. Compare detectors on the same
#   images and seeds: the interval of the *difference* decides.
# - A perfect score has no interval. k of k right prove 0.05 to the power of 1 / k, and no more.
# - Pixel AUROC weighs defects by area; AUPRO weighs each defect alike. Report both.
# - What the test set has chosen, the test set cannot judge; nor can parts that were learned from.
#
# **Next:** from a score to a decision. [05 · Thresholds in practice](05_thresholds.ipynb).
