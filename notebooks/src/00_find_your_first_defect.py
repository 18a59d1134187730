# %% [markdown]
# # 00 · Find your first defect
#
# Somebody photographs parts on a line. There are plenty of photos of good parts and hardly any of
# bad ones, and the next defect will be one that nobody has seen before. **A detector that learns
# from good parts only still points at it:** a few cells below, one that has seen a
# few dozen good capsules finds a scratch, and shows where.
#
# The method is PatchCore (Roth et al., [CVPR 2022](https://arxiv.org/abs/2106.08265)). This notebook
# uses it; the next three build it by hand.
#
# **You will learn** to load a dataset, to fit a detector and let it judge new photos, to read a heat
# map, and what "trained on good parts only" means.
#
# **You need** Python. No GPU, no download, no knowledge of neural networks.
#
# TIMES

# %% tags=["setup"]

# %% [markdown]
# ## Choose
#
# The form feeds all cells below, in every lesson. Parts of the data set `synthetic` are drawn by
# program, so that nothing has to be downloaded. Real photos are worth a try on a GPU, or with patience:
# solar cells (`elpv`, 91 MB), one of the larger sets, or your own, in a folder with `good` and a folder
# for each kind of defect in it. What is not here yet is downloaded. Then **Run all**. (Where menus appear
# below the form, they do the same by clicking; run the cells after them again.)

# %% tags=["choose"]
from indad.notebook.choose import choose
chosen = choose(drawn="capsule")

# %% [markdown]
# ## What is there to learn from?
#
# A dataset has two parts. The **training** images are all good. The **test** images are good and
# defective, and for a defect there may be a *mask*, an image that marks its pixels. The detector will
# see neither a defective image nor a mask before it is judged. (In Python, by name:
# `train, test = indad.load_dataset("synthetic", "capsule")`.)

# %%
train, test = chosen.train, chosen.test
print(f"{len(train)} training images, all good")
print(f"{len(test)} test images, {test.labels.sum()} of them defective")

# %%
from indad.data.images import read_image
from indad.notebook.pictures import canvas, panel
from indad.notebook.widgets import show

defective = [item for item in test if item.label]
figure, axes = canvas(6, size=2)
for place, item in enumerate([*train[:3], *defective[::max(len(defective) // 3, 1)][:3]]):
    panel(axes[0, place], read_image(item.path), "training: good" if place < 3 else
          f"test: {item.defect_type}")
show(figure, "three good training images beside three defective test images")

# %% [markdown]
# Some defects are large, some are a few pixels wide, and some take an expert's eye. Nobody tells the
# detector what to look for.

# %% [markdown]
# ## Fit, then judge
#
# Two lines do the work. `fit` remembers what good parts look like; `predict` gives each new image an
# **anomaly score** (one number; higher is more anomalous) and an **anomaly map** (one number for each
# pixel).

# %%
from indad import PatchCore, evaluate

model = PatchCore(**chosen.options(seed=0)).fit(train)  # the backbone and the device of the form
prediction = model.predict(test)
print(f"scores from {prediction.scores.min():.2f} to {prediction.scores.max():.2f}")
print(f"one map for each photo: {prediction.maps[0].shape} numbers")

# %% [markdown]
# Here is the verdict on the image with the highest score, and on the others for those who can click:
# the photo, its map laid over it (bright is anomalous), and, where there is a mask, the true defect
# outlined in green.

# %%
from indad.notebook.pictures import browse

browse(test, prediction)

# %% [markdown]
# On the drawn capsule the map is hot where the outline is, although the model has never seen a defect.
# It only noticed that nothing in the good photos looks like that place.

# %% [markdown]
# ## Are all defects found?
#
# A single picture proves nothing. Sort all scores: if good images score low and defective ones high,
# there is a threshold between them.

# %%
from matplotlib import pyplot as plt

from indad.notebook.pictures import DEFECTIVE, GOOD

kinds = sorted({item.defect_type for item in test}, key=lambda kind: kind != "good")
figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
for place, kind in enumerate(kinds):
    scores = [s for s, item in zip(prediction.scores, test) if item.defect_type == kind]
    axes.plot(scores, [place] * len(scores), "o" if kind == "good" else "^", alpha=0.7,
              color=GOOD if kind == "good" else DEFECTIVE)
axes.set_yticks(range(len(kinds)), kinds)
axes.set(xlabel="anomaly score (distance in feature space)", ylabel="type")
show(figure, "anomaly scores of each image, one row for good and one for each defect type")
highest_good = prediction.scores[test.labels == 0].max()
above = (prediction.scores[test.labels == 1] > highest_good).sum()
print(f"{above} of {test.labels.sum()} defective images score above all good ones")

# %% [markdown]
# Each marker is an image. Rows whose markers lie right of all good ones are found without a mistake.
# One number sums that up: the **image AUROC**, the share of pairs of a good and a defective image in
# which the defective one has the higher score (1 is perfect, 0.5 is guessing). Lesson 04 says when to
# trust it.

# %%
metrics = evaluate(prediction, test)
print(f"image AUROC {metrics['image_auroc']:.4f}")
print(f"pixel AUROC {metrics['pixel_auroc']:.4f}" if chosen.has_masks else
      "pixel AUROC: unknown, as there are no masks that say where the defects are")

# %% [markdown]
# ## By hand: that number is a count
#
# Count the pairs, and it comes out the same.

# %%
good = prediction.scores[test.labels == 0]
bad = prediction.scores[test.labels == 1]
pairs = [float(b > g) + 0.5 * float(b == g) for b in bad for g in good]
by_hand = sum(pairs) / len(pairs)
print(f"{len(pairs)} pairs, {by_hand:.4f} of them in the right order")
assert abs(by_hand - metrics["image_auroc"]) < 1e-9

# %% [markdown]
# ## Exercise 00.1: what is in the test set?
#
# *Difficulty ●○○○○, 5 minutes.* Write a function that counts the images of each defect type. Until
# you do, the check says that the exercise is open, and everything else runs on.

# %% tags=["exercise"]
def count_types(items):
    """How many images of each defect type are there? Return a dict such as {"good": 3}."""
    ...  # your code here


from notebooks.checks import check

check("00.1", count_types)

# %% [markdown] tags=["hint"]
# Begin with an empty dict. For each item, add one to the entry of `item.defect_type`;
# `dict.get(key, 0)` gives 0 for a type that is not there yet.

# %% tags=["solution"]
def count_types(items):
    counts = {}
    for item in items:
        counts[item.defect_type] = counts.get(item.defect_type, 0) + 1
    return counts

# %% [markdown]
# ## Exercise 00.2: what should a person look at first?
#
# *Difficulty ●○○○○, 5 minutes.* An inspector has time for k images. Return the positions of the k
# highest scores, as a set.

# %% tags=["exercise"]
def highest(scores, k):
    """Positions of the k largest of `scores` (n,), as a set of int."""
    ...  # your code here


check("00.2", highest)

# %% [markdown] tags=["hint"]
# `np.argsort` sorts ascending: the last k positions are what you want.

# %% tags=["solution"]
import numpy as np

def highest(scores, k):
    return set(np.argsort(scores)[-k:].tolist())

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
# each click fits a detector on drawn parts and judges one defective image. It takes a few seconds.

# %%
from functools import cache

from indad.notebook.pictures import scale_of, verdict_figure


from indad import load_dataset


@cache
def fitted(category, backbone):
    train, test = load_dataset("synthetic", category)
    items = [item for item in test if item.label][:1] + [i for i in test if not i.label][:3]
    return items, PatchCore(
        backbone=backbone, device=chosen.device, coreset_ratio=0.02).fit(train[:16]).predict(items)


def draw(category, backbone):
    items, prediction = fitted(category, backbone)
    return verdict_figure(items[0], prediction.maps[0], scale_of(prediction),
                          score=float(prediction.scores[0]))

# %%
from indad.notebook.widgets import explore

explore(draw, alt="a defective part, its anomaly map and its true defect",
        category=["gear", "capsule", "tiles", "weave", "wood", "board"],
        backbone=["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"])

# %% [markdown]
# ## Recap
#
# - A dataset for anomaly detection has good images to learn from, and good and defective ones to be
#   tested on.
# - `PatchCore().fit(train).predict(test)` gives each image a score and each pixel a value; higher is
#   more anomalous.
# - Image AUROC is the share of good-defective pairs in the right order.
#
# **Next:** what it is that gets compared. [01 · What a network sees in a
# patch](01_what_a_network_sees.ipynb).
