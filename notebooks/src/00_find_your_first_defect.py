# %% [markdown]
# # 00 · Find your first defect
#
# Somebody photographs parts on a line. There are plenty of photos of good parts and hardly any of
# bad ones, and the next defect will be one that nobody has seen before. **A detector that learns
# from good parts only still points at it:** a few cells below, one that has seen fifty good solar
# cells finds the crack in another, and shows where.
#
# The method is PatchCore (Roth et al., [CVPR 2022](https://arxiv.org/abs/2106.08265)). This notebook
# uses it; the next three build it by hand.
#
# **You will learn** to load a dataset, to fit a detector and let it judge new images, to read a heat
# map, to count its mistakes, and what "trained on good parts only" means.
#
# **You need** Python. No GPU, no download, no knowledge of neural networks.
#
# TIMES

# %% [markdown] tags=["teacher"]
# - 5 minutes to the first picture, then stop and let everybody say what they see in it.
# - Many expect that somebody marked the crack for the detector. Ask: "where in the code did we tell
#   it what a crack is?"
# - Some take heat for probability. It is a distance; lesson 05 makes a decision of it.
# - Without `elpv-dataset` the solar cells are drawn capsules; install it before class.

# %% tags=["setup"]

# %% [markdown]
# ## Choose
#
# The form feeds all cells below, in every lesson, and asks for nothing: **Run all** works as it is. It
# begins with parts of the data set `synthetic`, which are *drawn by program*, so that nothing has to be
# downloaded. Real photos are worth a try on a GPU, or with patience: solar cells (`elpv`, 91 MB), one of
# the larger sets, or your own, in a folder with `good` and a folder for each kind of defect in it. What
# is not here yet is downloaded. (Where menus appear below the form, they do the same by clicking; run
# the cells after them again.)

# %% tags=["choose"]
from indad.notebook.choose import choose
chosen = choose(drawn="capsule")

# %% [markdown]
# ## A crack, found
#
# First, real photos: solar cells, photographed in the dark while a current makes them glow. Two lines
# do the work. `fit` cuts each good photo into small *patches* and remembers what they look like, in a
# **memory bank**. `predict` cuts up other photos: the farther a patch is from all that the bank
# remembers, the higher its number. The same two lines then learn what you chose in the form, a drawn
# part at first. (What stands in the brackets can wait: later lessons explain it.)

# %%
from indad import PatchCore, evaluate
from indad.notebook.getting import solar_cells

cells = solar_cells()
detector = PatchCore(**chosen.options(resize=192, coreset_ratio=0.02, seed=0)).fit(cells.train)
found = detector.predict(cells.test)

# %%
train, test = chosen.train, chosen.test
model = PatchCore(**chosen.options(seed=0)).fit(train)  # the backbone and the device of the form
prediction = model.predict(test)

# %%
from indad.data.images import read_image
from indad.notebook.pictures import canvas, heated, outline, panel, scale_of
from indad.notebook.widgets import show


def find(images, *wanted):
    """The place of the first defective image whose name or kind is wanted; else of any."""
    places = [i for i, item in enumerate(images) if item.label]
    return next((i for i in places if {images[i].path.stem, images[i].defect_type} & {*wanted}),
                places[0])


kinds = ["photo" if cells.real else "drawing",
         "drawing" if chosen.dataset == "synthetic" else chosen.dataset]
figure, axes = canvas(4, size=2.8)
for pair, images, told, place, title in (
        (axes[0, :2], cells.test, found, find(cells.test, "cell0376", "crack"),
         f"{kinds[0]}: {cells.name}"),
        (axes[0, 2:], test, prediction, find(test, "scratch"), f"{kinds[1]}: {chosen.category}")):
    picture = read_image(images[place].path)
    panel(pair[0], picture, title)
    panel(pair[1], heated(picture, told.maps[place], scale_of(told, images.labels)),
          f"what is unlike good ones (score {told.scores[place]:.1f})")
    if images[place].mask() is not None:
        outline(pair[0], images[place].mask())
show(figure, f"a cracked one of {cells.name} and the heat map that covers its cracks; beside it a "
     f"defective {chosen.category}, its true defect outlined in green, and its heat map")

# %% [markdown]
# The first is the photo of a broken solar cell: dark lines run across it, and a piece that no current
# reaches is black. Bright places in the second are unlike anything in the good cells, and they follow
# the cracks. Nobody told the detector what a crack is: it has seen good cells only. The three bars that
# run from left to right leave it cold, as every good cell has them. The black piece is less hot than the
# cracks: good cells have dark corners and bars, too.
#
# The third is a *drawing*, with a green line around its defect. Why draw, when there are photos? Nobody
# has outlined the cracks of the solar cells, so we cannot count how much of a crack was found. Whoever
# draws a defect knows each of its pixels. So in this course **real photos show that the method works on
# what a camera sees, and drawn parts serve where a true outline is needed**, or a defect made to measure.
# A drawing is called a drawing.

# %% [markdown]
# **Think:** the detector has never seen a crack. How can it find one, and what else would it find?

# %% [markdown] tags=["answer"]
# It knows no cracks; it knows what is usual. Everything that is unlike all good photos gets a high
# score: a crack, but also a thumb print, a shadow, a sticker, or a good cell of a kind that was not
# among the fifty. It finds what is *new*, and a person says what is a defect.

# %% [markdown]
# ## What is there to learn from?
#
# A dataset has two parts. The **training** images are all good. The **test** images are good and
# defective, and for a defect there may be a *mask*, an image that marks its pixels. The detector saw
# neither a defective image nor a mask before it judged. (In Python, by name:
# `train, test = indad.load_dataset("synthetic", "capsule")`.)

# %%
for name, learned, judged in ((cells.name, cells.train, cells.test), (chosen.category, train, test)):
    masks = sum(item.mask() is not None for item in judged if item.label)
    print(f"{name}: {len(learned)} training images, all good; {len(judged)} test images, "
          f"{judged.labels.sum()} of them defective, {masks} with a mask")

# %%
figure, axes = canvas(6, rows=2, size=2)
for line, learned, judged in zip(axes, (cells.train, train), (cells.test, test)):
    defective = [item for item in judged if item.label]
    shown = [*learned[:3], *defective[::max(len(defective) // 3, 1)][:3]]
    for place, (one, item) in enumerate(zip(line, shown)):
        panel(one, read_image(item.path),
              "training: good" if place < 3 else f"test: {item.defect_type}")
show(figure, f"three good training images beside three defective test images; above {cells.name}, below "
     f"{chosen.category}")

# %% [markdown]
# Some defects are large, some are a few pixels wide, and some take an expert's eye. The drawn ones come
# in *types*, such as `crack` or `dent`; of the real cells we know only that they are defective.

# %% [markdown]
# ### Exercise 00.1: what is in the test set?
#
# *Difficulty ●○○○○, 2 minutes.* Count the images of each type. An item says its own by
# `item.defect_type`. Write where the three dots are, and keep the lines below the function, also when you
# copy a solution: later cells need them. Until you write something, the check says that the exercise is
# open, and everything else runs on.

# %% tags=["exercise"]
def count_types(items):
    """How many images of each defect type are there? Return a dict such as {"good": 3}."""
    ...  # your code here


from notebooks.checks import check

check("00.1", count_types)

# %% [markdown] tags=["hint"]
# Begin with an empty dict. For each item, add one to the entry of `item.defect_type`;
# `dict.get(key, 0)` gives 0 for a type that is not there yet. Try `count_types(test)` in a new cell.

# %% tags=["solution"]
def count_types(items):
    counts = {}
    for item in items:
        counts[item.defect_type] = counts.get(item.defect_type, 0) + 1
    return counts

# %% [markdown]
# ## One number for an image, one for each pixel
#
# `predict` gives each image an **anomaly score** (higher is more anomalous) and an **anomaly map**, one
# number for each pixel.

# %%
import numpy as np

for name, told in ((cells.name, found), (chosen.category, prediction)):
    print(f"{name}: scores from {told.scores.min():.2f} to {told.scores.max():.2f}, "
          f"one map for each image: {told.maps[0].shape} numbers")

# %% [markdown]
# Here is the verdict on the image with the highest score, and on the others for those who can click:
# the image, its map laid over it (bright is anomalous), and, where there is a mask, the true defect
# outlined in green.

# %%
from indad.notebook.pictures import browse

browse(test, prediction)

# %% [markdown]
# On the drawn capsule the map is hot where the outline is. The outline was not used for that; it is
# here to judge the judge.

# %% [markdown]
# ### Exercise 00.2: what should a person look at first?
#
# *Difficulty ●○○○○, 5 minutes.* An inspector has time for k images. Return the positions of the k
# highest scores, as a set.

# %% tags=["exercise"]
def highest(scores, k):
    """Positions of the k largest of `scores` (n,), as a set of int."""
    ...  # your code here


check("00.2", highest)

# %% [markdown] tags=["hint"]
# `np.argsort(scores)` gives positions in ascending order of scores: the last k are what you want.

# %% tags=["solution"]
def highest(scores, k):
    return set(np.argsort(scores)[-k:].tolist())

# %% [markdown]
# ## Are all defects found?
#
# A single picture proves nothing. Sort all scores: if good images score low and defective ones high,
# there is a threshold between them.

# %%
from matplotlib import pyplot as plt

from indad.notebook.pictures import DEFECTIVE, GOOD

figure, panels = plt.subplots(1, 2, figsize=(10, 3.2), layout="constrained")
for axes, name, images, told in zip(panels, (cells.name, chosen.category), (cells.test, test),
                                    (found, prediction)):
    kinds = sorted({item.defect_type for item in images}, key=lambda kind: (kind != "good", kind))
    for place, kind in enumerate(kinds):
        scores = [s for s, item in zip(told.scores, images) if item.defect_type == kind]
        axes.plot(scores, [place] * len(scores), "o" if kind == "good" else "^", alpha=0.7,
                  color=GOOD if kind == "good" else DEFECTIVE)
    axes.set_yticks(range(len(kinds)), kinds)
    axes.set(title=name, xlabel="anomaly score", ylabel="type")
    highest_good = told.scores[images.labels == 0].max()
    axes.axvline(highest_good, color="black", linestyle=":")
    above = (told.scores[images.labels == 1] > highest_good).sum()
    print(f"{name}: {above} of {images.labels.sum()} defective images score above all good ones")
show(figure, f"anomaly scores of each image, {cells.name} left and {chosen.category} right, one row for "
     "good and one for each defect type; a dotted line at the highest good score")

# %% [markdown]
# Each marker is an image, and the dotted line stands at the highest score of a good one. Defective images
# to the right of it can be told from all good ones. On the drawn capsules these are all; of the real
# cells some lie to the left. Here is the defective cell with the lowest score:

# %%
lowest = min((i for i, item in enumerate(cells.test) if item.label), key=lambda i: found.scores[i])
browse(cells.test, found, start=lowest)

# %% [markdown]
# A few faint dark strokes; good cells have such strokes, too, and nothing in the map glows. Real photos
# are harder than drawings, and people do not agree on them either. A course that showed drawings only
# would hide that.

# %% [markdown]
# ### Exercise 00.3: one number for all of it
#
# *Difficulty ●●○○○, 10 minutes.* Take every pair of a good and a defective image. In which share of the
# pairs has the defective one the higher score? 1 is perfect, 0.5 is guessing. The lesson goes on with
# your function once it is right, and until then with the package's.

# %% tags=["exercise"]
def share_in_order(good, bad):
    """Scores of good (n,) and of defective images (m,) -> the share of n * m pairs in order."""
    ...  # your code here


from indad.metrics import image_metrics


def by_package(good, bad):
    labels = np.repeat([0, 1], [len(good), len(bad)])
    return image_metrics(np.concatenate([good, bad]), labels)["image_auroc"]


in_order = check("00.3", share_in_order, otherwise=by_package)

# %% [markdown] tags=["hint"]
# Two loops, one inside the other, and a count; or `bad[:, None] > good`, which compares every one of
# `bad` with every one of `good`. Divide by the number of pairs, not by the number of images.

# %% tags=["solution"]
def share_in_order(good, bad):
    count = 0
    for b in bad:
        for g in good:
            count += b > g
    return count / (len(good) * len(bad))

# %%
for name, images, told in ((cells.name, cells.test, found), (chosen.category, test, prediction)):
    good, bad = (told.scores[images.labels == label] for label in (0, 1))
    metrics = evaluate(told, images)
    print(f"{name}: {len(good) * len(bad)} pairs, {in_order(good, bad):.4f} of them in order")
    print(f"  image AUROC {metrics['image_auroc']:.4f}; pixel AUROC "
          + (f"{metrics['pixel_auroc']:.4f}" if metrics["pixel_auroc"] is not None else
             "unknown, as there are no masks that say where the defects are"))

# %% [markdown]
# That share has a name, **image AUROC**. (Pairs of equal scores count half; lesson 04 says more, and when
# to trust it.) The *pixel* AUROC is the same over pixels of the maps. It needs masks: one more reason
# for drawn parts.

# %% [markdown] tags=["teacher"]
# - 15 minutes for 00.3; let those who finish early write it without a loop.
# - The usual mistake divides by the number of images, or compares `good > bad`.
# - Ask: what is it if all scores are multiplied by ten? (The same: only the order counts.)
# - Ask: how far would it move if one more solar cell were misjudged? (With ten and ten, up to a tenth.)

# %% [markdown]
# ## From a score to a verdict
#
# Someone has to say yes or no. Above a **threshold** an image is called defective. A good image above it
# is a *false alarm*, a defective one that is not above it is *missed*.

# %% [markdown]
# ### Exercise 00.4: two kinds of mistake
#
# *Difficulty ●●○○○, 10 minutes.* Count both. An image is called defective if its score is *greater* than
# the threshold; one that just equals it passes.

# %% tags=["exercise"]
def mistakes(scores, labels, threshold):
    """Scores (n,), labels (n,), 1 for defective -> (false alarms, missed), two numbers."""
    ...  # your code here


check("00.4", mistakes)

# %% [markdown] tags=["hint"]
# `called = scores > threshold` is true where the detector says "defective". A false alarm is called, and
# its label is 0; a missed one is not called (`~called`), and its label is 1. `int((... & ...).sum())`
# counts where both hold.

# %% tags=["solution"]
def mistakes(scores, labels, threshold):
    called = scores > threshold
    return int((called & (labels == 0)).sum()), int((~called & (labels == 1)).sum())

# %% [markdown]
# **Think:** on the solar cells, the highest threshold without a miss and the lowest one without a false
# alarm are different. Which of them would you take for cells that go onto a roof for thirty years, and
# which for a first look at cells that a person checks again?

# %% [markdown] tags=["answer"]
# It depends on what a mistake costs. For the roof, a missed crack costs a climb and a new module: take the
# one without a miss, and throw some good cells away. Where a person looks again, a false alarm costs a
# minute, and a missed cell is never looked at: the same one, as long as the person keeps up. The other is
# right where a false alarm stops the line and a weak cell costs little. Lesson 05 computes it.

# %% [markdown]
# ## Does it take a network?
#
# Could one not simply compare pixels with the mean of the good photos? One should always ask, and measure.

# %%
def grey(images, side=64):
    """(n, side, side): images as grey values from 0 to 1."""
    return np.stack([np.asarray(read_image(item.path).convert("L").resize((side, side)), float)
                     for item in images]) / 255


print("grey values:", grey(cells.train).shape, "to learn from,", grey(cells.test).shape, "to judge")

# %% [markdown]
# ### Exercise 00.5: the rival without a network
#
# *Difficulty ●●●○○, 30 minutes.* For each pixel, take the mean and the standard deviation over the good
# images. A pixel of a new image is as odd as it is far from that mean, divided by the deviation plus
# 0.05 (or pixels that never change would cry at any noise). The score of an image is its oddest pixel.
# When the check passes, run the cell below, and then read the answer under it. (On the quick way through
# the course this one may wait.)

# %% tags=["exercise"]
def pixel_rival(good, images):
    """Good images (n, h, w) and others (m, h, w) -> a score for each of the others (m,)."""
    ...  # your code here


check("00.5", pixel_rival)

# %% [markdown] tags=["hint"]
# `good.mean(axis=0)` and `good.std(axis=0)` are pictures `(h, w)`: one number for each pixel, over all
# good images. `np.abs(images - that_mean)` works for all images at once. The largest of each image:
# `.max(axis=(1, 2))`.

# %% tags=["solution"]
def pixel_rival(good, images):
    mean, deviation = good.mean(axis=0), good.std(axis=0)
    odd = np.abs(images - mean) / (deviation + 0.05)
    return odd.max(axis=(1, 2))

# %%
from contextlib import suppress

for name, learned, images, told in ((cells.name, cells.train, cells.test, found),
                                    (chosen.category, train, test, prediction)):
    line = f"{name}: PatchCore {image_metrics(told.scores, images.labels)['image_auroc']:.3f}"
    with suppress(Exception):  # as long as the rival is not right; the check has said why
        scores = pixel_rival(grey(learned), grey(images))
        line += f", pixels {image_metrics(scores, images.labels)['image_auroc']:.3f}"
    print(line)

# %% [markdown]
# **Think:** for which parts can the rival keep up, and for which not?

# %% [markdown] tags=["answer"]
# Measured with the default choice: on the solar cells about 0.8, on the drawn capsules about 0.6, where
# PatchCore has 0.98 and 1. Solar cells lie still, fill the photo and are grey, so a pixel can be compared
# with the same pixel of other cells. A capsule lies a little askew each time, so each pixel varies so
# much that nothing stands out; with the drawn gears, which are turned, it is worse than guessing. What
# PatchCore compares are not pixels but *what there is at a place*, and it looks for the like anywhere in
# the good photos. The next lesson shows how.

# %% [markdown]
# ## Paint a defect of your own
#
# Here is a good part from the test set with a dark line painted across it. If you can click, paint with
# the mouse or a finger: map and score follow. What is the smallest stroke that lifts the score over the
# limit, which comes from the good training images alone? Is a bright one found as soon as a dark one?

# %%
from indad.notebook.painting import paint_defect

painting = paint_defect(model, next(item for item in test if item.label == 0))

# %% [markdown]
# ## Another part, another network
#
# With widgets (in Colab, JupyterLab or VS Code with a kernel running), choose here what to look at:
# each click fits a detector and judges one defective image. It takes a few seconds. It begins with what
# you chose in the form; the others are drawn.

# %%
from functools import cache

from indad import load_dataset
from indad.notebook.pictures import verdict_figure

PLAIN = ("missing_tooth", "crack", "hole", "misplaced")  # defects that anybody can see


@cache
def fitted(category, backbone):
    train, test = ((chosen.train, chosen.test) if category == chosen.category
                   else load_dataset("synthetic", category))
    items = [test[find(test, *PLAIN)], *[item for item in test if not item.label][:3]]
    model = PatchCore(**chosen.options(resize=256, backbone=backbone, coreset_ratio=0.02))
    return items, model.fit(train[:16]).predict(items)


def draw(category, backbone):
    items, prediction = fitted(category, backbone)
    return verdict_figure(items[0], prediction.maps[0], scale_of(prediction),
                          score=float(prediction.scores[0]))

# %%
from indad.notebook.widgets import explore

drawn = ["gear", "capsule", "tiles", "weave", "wood", "board"]
lite = [f"efficientnet_lite{number}" for number in range(3)]
explore(draw, alt="a defective part, its anomaly map and, if known, its true defect",
        category=list(dict.fromkeys([chosen.category, *drawn])),
        backbone=list(dict.fromkeys([chosen.backbone, *lite])))

# %% [markdown]
# ## Recap
#
# - A dataset for anomaly detection has good images to learn from, and good and defective ones to be
#   tested on.
# - `PatchCore().fit(train).predict(test)` gives each image a score and each pixel a value; higher is
#   more anomalous.
# - Image AUROC is the share of good-defective pairs in the right order. A threshold makes verdicts of
#   scores, with false alarms on one side and misses on the other.
# - Real photos show that it works; drawn parts have outlines, so that one can count how well.
#
# **Next:** what it is that gets compared. [01 · What a network sees in a
# patch](01_what_a_network_sees.ipynb). (On the quick way:
# [05 · Thresholds in practice](05_thresholds.ipynb).)
