# %% [markdown]
# # 08 · Your own images
#
# You have a folder of photos of good parts: no masks, no defects, no labels. **That is enough for a
# detector.** This notebook takes such a folder, finds what is wrong with it before it spoils
# the result (a part in the wrong folder, the same photo twice, a file that is cut short), fits,
# points at the most suspicious new photos, says why, and counts false alarms on good photos
# that it has not seen.
#
# **You will learn** to check a folder, to read photos of any kind without losing what is in
# them, to find a misfiled part, to estimate false alarms, and to ask a verdict for its reason.
#
# **You need** [lesson 00](00_find_your_first_defect.ipynb). Lesson 05 says more about thresholds.
#
# TIMES

# %% tags=["setup"]

# %% [markdown]
# ## Choose
#
# By default there is a sample, so that everything below runs. For photos of your own choose the data set
# `folder`, and give the path of one that has the good photos in a folder `good`. Photos to be judged lie
# beside it, in a folder of any name; without them, good ones are held out and judged instead:
#
#     bolts/good/*.jpg        bolts/new/*.jpg
#
# With `drive` Google asks for permission, and the path is below `MyDrive`. To bring photos from your own
# machine into Colab, tick `upload` in the first form, and then choose `folder` and `uploaded` in the
# second. Published photos, such as `elpv`, are taken as if they were your own.

# %%
#@title Upload, in Colab only: a dialogue asks for files, and waits { display-mode: "form" }
upload = False  #@param {type: "boolean"}
into = "good"  #@param ["good", "new"]

import sys
from pathlib import Path

from indad.notebook.getting import Unavailable

if upload and "google.colab" not in sys.modules:
    raise Unavailable("upload is ticked, which works in Colab only: give a path as folder below")
if upload:
    from google.colab import files

    place = Path("uploaded", into)
    place.mkdir(parents=True, exist_ok=True)
    for name, content in files.upload().items():
        (place / name).write_bytes(content)
    print(f'{place} has {len([*place.iterdir()])} files; choose dataset = "folder" and '
          'folder = "uploaded" below')

# %% tags=["choose"]
from indad.notebook.choose import choose
chosen = choose(drawn="weave", needs_defects=False)

# %% [markdown]
# The sample imitates what a camera's card looks like after a week: drawn cloth, numbered like photos,
# and somewhere among them the usual accidents. The next cell plants these, so that it is known what
# should be found; with photos that nobody drew it is not used. (Real solar cells come further below.)

# %%
import shutil
import tempfile

from PIL import Image

from indad import load_dataset

fine = [*chosen.train, *(item for item in chosen.test if not item.label)]
defective = [item for item in chosen.test if item.label]

def make_sample(good, new):
    """40 good photos with five accidents among them, and 12 new ones, half of them defective."""
    for number, item in enumerate(fine[:40]):
        shutil.copy(item.path, good / f"IMG_{number:04}.png")
    shutil.copy(good / "IMG_0007.png", good / "IMG_0007 (1).png")  # saved twice
    whole = (good / "IMG_0019.png").read_bytes()
    (good / "IMG_0019.png").write_bytes(whole[:len(whole) // 2])  # the battery was empty
    Image.open(fine[25].path).resize((120, 120)).save(good / "IMG_0025.png")  # a preview
    Image.open(fine[31].path).convert("L").save(good / "IMG_0031.png")  # another camera
    shutil.copy(defective[0].path, good / "IMG_0012.png")  # a bad part in the wrong box
    for number, item in enumerate([*defective[2::4][:6], *fine[40:46]]):
        shutil.copy(item.path, new / f"IMG_{100 + number:04}.png")

# %% [markdown]
# Whatever the source, the photos are copied into a temporary folder: nothing here changes yours, and a
# disk is faster than Drive. Of a published set, a hundred of each kind are enough.

# %%
from indad.data.layouts import images_in

sample, own = chosen.dataset == "synthetic", chosen.dataset in ("folder", "drive")
work = Path(tempfile.mkdtemp(prefix="indad_"))
good, new = work / "photos/good", work / "new"
for place in (good, new):
    place.mkdir(parents=True)
if sample:
    make_sample(good, new)
else:
    for items, place in ((fine, good), (defective, new)):
        some = items if own else items[::max(len(items) // 100, 1)][:100]
        for number, item in enumerate(some):  # numbered, as two may have one name
            shutil.copy(item.path, place / f"{number:03} {item.path.name}")
print(f"{len(images_in(good))} good photos, {len(images_in(new))} new ones")

# %% [markdown]
# ## Straight to a verdict
#
# `load_dataset` takes a folder with `good` in it, and holds out a fifth of the photos as a test. No
# mask and no defect is asked for. `strict=False` goes on past a file that cannot be read, and lists
# it.

# %%
from indad import PatchCore
from indad.notebook.getting import in_words_of_a_form

options = chosen.options(resize=224, coreset_ratio=0.05)
with in_words_of_a_form():  # whatever is wrong with a folder is said in one line
    learn, held_out = load_dataset(work / "photos")
    hasty = PatchCore(**options).fit(learn, strict=False)
to_judge = images_in(new) or [item.path for item in held_out]
print(f"learned from {len(learn) - len(hasty.skipped_)} photos; skipped:",
      ", ".join(learn[i].path.name for i, _ in hasty.skipped_) or "none")

# %%
import numpy as np

from indad.data.images import read_image
from indad.notebook.pictures import canvas, heated, panel, scale_of
from indad.notebook.widgets import show


def judged(model, paths):
    """The prediction for all photos that can be read."""
    with in_words_of_a_form():
        prediction = model.predict(paths, strict=False)
    if not len(prediction.scores):
        raise Unavailable(f"none of {len(paths)} photos to be judged can be read: mend the files, "
                          "or leave them out")
    return prediction

def suspicious_figure(paths, prediction, k=4):
    """The k photos with the highest scores above their anomaly maps, the worst first."""
    worst, scale = np.argsort(-prediction.scores)[:k], scale_of(prediction)
    figure, axes = canvas(k, rows=2, size=2.2)
    for place, i in enumerate(worst):
        photo = read_image(paths[prediction.indices[i]])
        panel(axes[0, place], photo, paths[prediction.indices[i]].name)
        panel(axes[1, place], heated(photo, prediction.maps[i], scale),
              f"score {prediction.scores[i]:.2f}")
    return figure

show(suspicious_figure(to_judge, judged(hasty, to_judge)),
     f"{chosen.category}: the new photos with the highest scores, and their anomaly maps below")

# %% [markdown]
# Where a map is hot, a look at the photo above says whether that place is a defect.
#
# ### Exercise 08.1: the worst first
#
# *Difficulty ●○○○○, 2 minutes.* Somebody at the line has time for k parts. Which? Return the names of
# the k photos with the highest scores, the worst first; if there are fewer, all of them.

# %% tags=["exercise"]
def worst_first(names, scores, k):
    """The names of the k highest scores, in descending order of score."""
    ...  # your code here


from notebooks.checks import check

check("08.1", worst_first)

# %% [markdown] tags=["hint"]
# `np.argsort(scores)` gives the positions from the lowest to the highest; `[::-1]` turns it round,
# `[:k]` takes the first k.

# %% tags=["solution"]
import numpy as np

def worst_first(names, scores, k):
    return [names[i] for i in np.argsort(scores)[::-1][:k]]

# %% [markdown]
# That was the easy part. Would you let it sort parts tomorrow? Two questions come first: is the
# folder what you think it is, and how often does a good part raise an alarm?

# %% [markdown] tags=["teacher"]
# - Minutes: 10 to here, 30 for the folder, 10 for what files hide, 25 for cross-fitting, 35 for alarms, 10 for
#   reasons. With photos of the learners' own, twice that.
# - Have them bring twenty photos of one thing each. A telephone will do; the table is a fine texture.
# - Let them find a misfiled part by eye first, in forty photos, with a watch. Then by cross-fitting.

# %% [markdown]
# ## What is in the folder?
#
# A folder's names are its labels, and that is where it begins to go wrong.
#
# ### Exercise 08.2: what does the path say?
#
# *Difficulty ●●○○○, 5 minutes.* In published code one finds `label = 0 if "good" in path else 1`.
# It works until somebody's data lie in `/home/goodman` or a photo is called `not_so_good.png`. Write
# it properly: the type of a photo is the name of the folder that it lies in, but only folders
# *below* the dataset's own folder count. A photo directly in the dataset's folder is "unknown".

# %% tags=["exercise"]
def defect_type(path, folder):
    """Type of the photo at `path` in the dataset at `folder`, such as "good" or "scratch"."""
    ...  # your code here


check("08.2", defect_type)

# %% [markdown] tags=["hint"]
# `Path(path).relative_to(folder).parts` is what lies below the dataset's folder, as a tuple whose last
# entry is the file's name.

# %% tags=["solution"]
def defect_type(path, folder):
    below = Path(path).relative_to(folder).parts[:-1]
    return below[-1] if below else "unknown"

# %% [markdown]
# `audit` opens every photo once and reports what would change a result without any error. (The
# same on the command line: `python -m indad check FOLDER`.)

# %%
from indad import audit

report = audit(work / "photos")
print(str(report).replace(str(work), "."))

# %% [markdown]
# A **fault** is something to mend, a note is something to know, and `L` is Pillow's word for grey. In
# the sample, four of the five accidents are found, the copy twice: by its picture and by its name. The
# fifth is a bad part among good ones, which no look at files can see. A duplicate matters more than it
# seems: if one copy is learned and the other held out, a test on it is a test of memory, and false
# alarms look rarer than they are.

# %% [markdown]
# ### By hand: the same picture twice
#
# Two files hold the same picture when their pixels are equal, whatever the files are called. A
# **hash** turns the pixels into a short fingerprint, so that equal ones meet in a dict.

# %%
import hashlib

from indad.errors import InputError

seen, by_hand, readable = {}, set(), []
for path in images_in(good):
    try:
        photo = read_image(path)
    except InputError:
        continue  # cut short: another kind of fault
    readable.append(path)
    fingerprint = hashlib.sha256(repr(photo.size).encode() + photo.tobytes()).hexdigest()
    if fingerprint in seen:
        by_hand.add(frozenset({seen[fingerprint].name, path.name}))
    seen.setdefault(fingerprint, path)
pairs = {frozenset(Path(name).name for name in fault.paths) for fault in report.faults
         if ": the same picture" in fault.message}
print("\n".join(" and ".join(sorted(pair)) for pair in by_hand) or "no picture is there twice")
same = set().union(*by_hand) == set().union(*pairs)
print("audit says the same" if same else "audit and this cell differ: only here blank pictures count, "
      "and only there photos are compared by the grey levels that all of them have")
if len(readable) < 4:
    raise Unavailable(f"only {len(readable)} of {len(images_in(good))} good photos can be read; the "
                      "rest of this lesson needs 4")

# %% [markdown]
# The package finds near duplicates too (saved again as JPEG, brightened, turned), by comparing
# fine detail: good parts look alike, but no two photos share their grain.
#
# **Think:** a colleague doubles the training set by adding each photo once more, mirrored. The held-out
# photos now raise hardly any alarm. What happened?

# %% [markdown] tags=["answer"]
# Photos were mirrored before some were held out, so many held-out photos have their mirror image among
# the learned ones: nearly the same patches, nearly no distance. Nothing about new parts was learned.
# Hold out first, and all copies of a photo go to the same side. `audit` would have said so.

# %% [markdown]
# ### Exercise 08.3: an audit of your own
#
# *Difficulty ●●●○○, 15 minutes.* Write a check that finds three kinds of fault in a folder of
# photos. Go through the files in the order of their names. A file that cannot be read to its end
# is "corrupt". Among the others, one whose size differs from the most common size is an
# "odd size", and one whose pixels equal those of an earlier file is a "duplicate".

# %% tags=["exercise"]
def find_faults(folder):
    """Name of each faulty file -> "corrupt", "odd size" or "duplicate"; nothing of the others."""
    ...  # your code here


check("08.3", find_faults)

# %% [markdown] tags=["hint"]
# `Image.open` reads only the beginning of a file: `image.load()` reads the rest, and raises
# an `OSError` where the file ends too soon. Collect the pictures in a dict first, find the most common
# size with `collections.Counter`, then compare `image.convert("RGB").tobytes()`.

# %% tags=["solution"]
from collections import Counter

def find_faults(folder):
    pictures, faults = {}, {}
    for path in sorted(Path(folder).iterdir()):
        try:
            with Image.open(path) as image:
                pictures[path.name] = image.convert("RGB")  # reads all of it
        except OSError:
            faults[path.name] = "corrupt"
    sizes = Counter(picture.size for picture in pictures.values())
    usual = sizes.most_common(1)[0][0] if sizes else None
    seen = set()
    for name, picture in pictures.items():
        pixels = (picture.size, picture.tobytes())
        if picture.size != usual:
            faults[name] = "odd size"
        elif pixels in seen:
            faults[name] = "duplicate"
        seen.add(pixels)
    return faults

# %% [markdown]
# ## What can a file hide?
#
# Cameras and scanners write more than 8-bit RGB. Below, one photo is stored in four ways: with 16 bits a
# pixel, with transparency, in grey, and lying on its side with a note (EXIF) saying so, as phones do.
# The obvious line, `Image.open(path).convert("RGB")`, reads all four without an error.

# %%
photo = read_image(readable[0])
photo.thumbnail((512, 512))
photo = photo.crop((0, 0, photo.width, max(photo.height * 2 // 3, 1)))  # not square: one sees its side
odd = work / "odd"
odd.mkdir()
grey = np.asarray(photo.convert("L")).astype(np.uint16)
Image.fromarray(grey * 257).save(odd / "16 bits.png")
corner = photo.convert("RGBA")
corner.paste((0, 0, 0, 0), (0, 0, photo.width // 3, photo.height // 3))  # see-through
corner.save(odd / "transparent.png")
photo.convert("L").save(odd / "grey.png")
side, exif = photo.transpose(Image.Transpose.ROTATE_90), Image.Exif()
exif[0x0112] = 6  # "turn me by a quarter, clockwise"
side.save(odd / "on its side.jpg", exif=exif, quality=95)

# %%
figure, axes = canvas(4, rows=2, size=2.2)
figure.set_facecolor("#cccccc")  # so that white shows
for place, path in enumerate(sorted(odd.iterdir())):
    with Image.open(path) as image:
        panel(axes[0, place], image.convert("RGB"), f"{path.stem}\nPillow's convert")
    panel(axes[1, place], read_image(path), "read_image")
show(figure, "four files read by Pillow's convert, above, and by read_image, below")

# %%
shifts = {}
for path in sorted(odd.iterdir()):
    with Image.open(path) as image:
        plain = image.convert("RGB")
    right = np.asarray(read_image(path), float)
    shifts[path.stem] = ("turned" if plain.size != right.shape[1::-1] else
                         f"{np.abs(np.asarray(plain, float) - right).mean():.1f} grey levels off")
for name, said in shifts.items():
    print(f"{name + ', converted:':<24}{said}")
off = np.abs(np.asarray(read_image(odd / "16 bits.png"), float)[..., 0] - grey).max()
print(f"read_image: the photo of 16 bits is {off:.0f} grey levels off at most")

# %% [markdown]
# Whatever `convert` clips to white, takes for black or leaves on its side is a photo of another
# part to the network. `read_image`, which `fit` and `predict` use, scales 16 bits to 8, lays transparent
# places over white, and turns the photo upright. Grey needs no care, except that a model
# of colour photos should not be given grey ones: `audit` reports those as `odd_mode`.

# %% [markdown]
# ## Does a bad part hide among the good ones?
#
# No file check finds a defective part in the wrong folder; the detector itself does. Take all photos
# without faults, split them in two halves, let each half judge the other (**cross-fitting**),
# and look at the highest scores. A bad part cannot hide: the bank that judges it has not seen it.
#
# ### Exercise 08.4: nobody judges himself
#
# *Difficulty ●●●●○, 20 minutes.* Halves learn from half of the photos only. Write it for any number of
# **folds**: photo i belongs to fold i modulo `folds`; each fold is judged by a bank of all the other
# folds. `judge(learned, judged)` takes two lists of photos and returns the scores of the second. With
# more folds than photos, each photo is a fold of its own, and no fold is empty.

# %% tags=["exercise"]
def cross_fitted(photos, folds, judge):
    """The score of each photo, in the order of `photos`, as a list."""
    ...  # your code here


def in_halves(photos, folds, judge):
    """Until yours is right: two halves, whatever `folds` says."""
    first, second = photos[::2], photos[1::2]
    scores = [None] * len(photos)
    scores[::2], scores[1::2] = judge(second, first), judge(first, second)
    return scores

cross_fit = check("08.4", cross_fitted, otherwise=in_halves)

# %% [markdown] tags=["hint"]
# `photos[fold::folds]` are the photos of a fold, and `scores[fold::folds] = ...` puts their scores where
# they belong. The others: `[photo for i, photo in enumerate(photos) if i % folds != fold]`. First make
# `folds` no larger than `len(photos)`.

# %% tags=["solution"]
def cross_fitted(photos, folds, judge):
    folds, scores = min(folds, len(photos)), [0.0] * len(photos)
    for fold in range(folds):
        others = [photo for i, photo in enumerate(photos) if i % folds != fold]
        scores[fold::folds] = [float(score) for score in judge(others, photos[fold::folds])]
    return scores

# %% [markdown]
# Now with all photos that have no faults (of two copies, one stays):

# %%
faulty = {Path(fault.paths[0]).name for fault in report.faults  # of two copies, one stays
          if fault.kind != "odd_name"}  # which changes no result
clean = [path for path in images_in(good) if path.name not in faulty]
print(f"left out: {len(faulty)} photos", *sorted(faulty)[:6], sep=", ")
if len(clean) < 4:
    clean = readable
    print("so few are left that all are taken after all")

def judge(learned, judged):
    return PatchCore(**options).fit(learned).predict(judged).scores.tolist()

scores = dict(zip(clean, cross_fit(clean, 2, judge)))
ranked = sorted(scores, key=scores.get, reverse=True)
print(f"{len(clean)} photos left; the strangest:", ", ".join(path.name for path in ranked[:3]))
planted = good / "IMG_0012.png"
if sample and planted in ranked:
    print(f"the defective part among them, {planted.name}, is number {ranked.index(planted) + 1}")

# %%
from matplotlib import pyplot as plt

from indad.notebook.pictures import DEFECTIVE, GOOD

figure, (axes, first, second) = plt.subplots(1, 3, figsize=(9, 2.8), layout="constrained",
                                             width_ratios=(2, 1, 1))
axes.plot(range(1, len(ranked) + 1), [scores[path] for path in ranked], "o", color=GOOD, ms=4)
axes.plot([1], [scores[ranked[0]]], "^", color=DEFECTIVE, ms=9)
axes.annotate(ranked[0].name, (1, scores[ranked[0]]), (8, -4), textcoords="offset points")
axes.set(xlabel="rank among the good photos", ylabel="anomaly score", title="judged by the other half")
axes.set_xticks([1, *(rank for rank in axes.get_xticks() if 1 < rank <= len(ranked) and rank % 1 == 0)])
panel(first, read_image(ranked[0]), f"strangest: {ranked[0].name}")
panel(second, read_image(ranked[1]), f"second: {ranked[1].name}")
show(figure, f"{chosen.category}: scores of all good photos in descending order; beside them, "
     "the photos of the two highest scores")

# %% [markdown]
# A point that stands apart from a smooth row deserves a look. Do not delete it just because its score is
# high: if it is a good part that looks different (another batch, another light), it belongs
# into the memory bank, and more of its kind with it. In the sample, IMG_0012 is defective, so it goes.
# `remove` is what you decided after looking.
#
# **Think:** two photos of the same bad part lie in the folder, one in each half. What does
# cross-fitting say about them?

# %% [markdown] tags=["answer"]
# Little: each finds its twin in the other half, so both score low. What helps is to count by *parts*:
# photos of one part into the same fold (lesson 10 asks instead how many other photos know a patch).

# %%
remove = {planted.name} if sample else set()
kept = [path for path in clean if path.name not in remove]
checked = work / "checked/good"
checked.mkdir(parents=True)
for path in kept:
    shutil.copy(path, checked)
print(f"{len(kept)} photos remain, {len(audit(checked.parent).faults)} faults")

# %% [markdown]
# ## How often will a good part raise an alarm?
#
# Fit once more, on what remains. The **threshold** comes from the good photos alone: each learned photo
# is judged by the bank without its own patches (`calibration_scores_`), and with n of these, a new
# good photo exceeds the ⌈(n + 1)(1 − a)⌉-th smallest with a probability of at most a, provided that it
# is of the same kind (lesson 05).

# %%
import math

from indad.calibration import conformal_threshold

rate = 0.1  # of good parts that may be flagged
with in_words_of_a_form():
    learn, held_out = load_dataset(checked.parent)
    model = PatchCore(**options).fit(learn)
n = len(model.calibration_scores_)
if not n:
    raise Unavailable("all good photos are one and the same picture: take some of other parts")
rank = math.ceil(round((n + 1) * (1 - rate), 9))  # 9.000000000000002 is 9
threshold = np.sort(model.calibration_scores_)[min(rank, n) - 1]
print("as the package has it:", threshold == conformal_threshold(model.calibration_scores_, rate))
unseen = model.predict(held_out).scores if len(held_out) else np.array([])
print(f"threshold {threshold:.2f} from {n} good photos; wanted: at most {rate:.0%} false alarms")
print(f"{int((unseen > threshold).sum())} of {len(unseen)} held-out good photos are flagged")
if 1 / (n + 1) > rate:
    print(f"so few photos cannot promise less than {1 / (n + 1):.0%}")

# %%
verdicts = judged(model, to_judge)
figure, axes = plt.subplots(figsize=(7, 2.4), layout="constrained")
rows = {"good, learned": model.calibration_scores_, "good, held out": unseen, "to be judged": verdicts.scores}
for place, (name, values) in enumerate(rows.items()):
    axes.plot(values, [place] * len(values), "^" if name == "to be judged" else "o", alpha=0.7,
              color=DEFECTIVE if name == "to be judged" else GOOD)
axes.axvline(threshold, color="black", linestyle="--", label="threshold")
axes.set_yticks(range(3), rows)
axes.set(xlabel="anomaly score", ylim=(-0.5, 2.5))
axes.legend(loc="lower right", bbox_to_anchor=(1, 1))  # above, where no score is
show(figure, "scores of learned, held-out and new photos, with the threshold as a dashed line")
flagged = [to_judge[verdicts.indices[i]].name for i in np.flatnonzero(verdicts.scores > threshold)]
print(f"{len(flagged)} of {len(verdicts.scores)} new photos are flagged", *flagged[:12], sep=", ")

# %% [markdown]
# A marker that touches the line may lie just below it: what is printed counts the scores. With so few
# held-out photos, no alarm or two say little about the true rate (lesson 04); a hundred photos would
# say more. The dots of the held-out photos should mix with the learned ones: if they lie clearly to the
# right, there are too few photos, or the two groups differ.
#
# ### Exercise 08.5: how bad may it be?
#
# *Difficulty ●●●●○, 30 minutes.* Of n held-out good photos, k raised an alarm. Which false-alarm rates
# go with that? If the rate is p, k alarms or fewer come with probability Σ C(n, i) pⁱ (1 − p)ⁿ⁻ⁱ over i
# from 0 to k, which falls as p grows. Find the p at which it is 5 %: were the rate higher, so few alarms
# would be a rare luck. If all n raise an alarm, p is 1.

# %% tags=["exercise"]
def at_most(alarms, photos):
    """The false-alarm rate that is exceeded with 5 % risk only, right to 0.001."""
    ...  # your code here


check("08.5", at_most)

# %% [markdown] tags=["hint"]
# Bisect: begin with `low, high = 0.0, 1.0`, look at the middle, and keep the half in which the
# probability crosses 0.05; sixty times. `math.comb(n, i)` is C(n, i). For k = 0 it is 1 − 0.05^(1/n):
# compare.

# %% tags=["solution"]
import math

def at_most(alarms, photos):
    if alarms >= photos:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(60):
        rate = (low + high) / 2
        luck = sum(math.comb(photos, i) * rate ** i * (1 - rate) ** (photos - i)
                   for i in range(alarms + 1))
        low, high = (rate, high) if luck > 0.05 else (low, rate)
    return low

# %% [markdown]
# With 7 photos and no alarm the rate may be 35 %, with 7 and one alarm 52 %; with 100 photos and none,
# 3 %. That is what more photos buy.

# %% [markdown] tags=["teacher"]
# - 35 minutes with 08.5, which needs the binomial distribution; for those without it, draw: throw 7 coins.
# - Usual mistakes: the probability of exactly k alarms, not of k or fewer; the normal approximation, which
#   says 0 for no alarm.
# - Ask: how many held-out photos do you need to promise 1 %? (300, without any alarm.)

# %% [markdown]
# ## Why this photo?
#
# A verdict that can be asked for its reason is worth more. The score is the distance of the photo's
# worst patches to the nearest remembered ones, so the reason is a pair: the patch, and the good patch
# that comes nearest to it. (Black beside a patch lies outside the photo.) With widgets you can ask about
# any patch.

# %%
from indad.data.layouts import Item
from indad.notebook.pictures import browse_matches

worst = to_judge[verdicts.indices[int(verdicts.scores.argmax())]]
browse_matches(model, learn, Item(worst, "new"))

# %% [markdown]
# The same question to a real photo, a solar cell that lights up under current (electroluminescence):

# %%
from indad.notebook.getting import solar_cells

cells = solar_cells()
on_cells = PatchCore(**options).fit(cells.train[:24])
broken = [item for item in cells.test if item.label][:8]
told = on_cells.predict(broken)
browse_matches(on_cells, cells.train, broken[told.indices[int(told.scores.argmax())]])

# %% [markdown]
# Only the patch that is farthest from all remembered ones is marked. It need not lie on the fault that
# strikes you first: another place of the same part may be nearly as far, and a large black area may even
# have black neighbours in the bank.
#
# If the two patches look alike to you, the alarm is about something that you do not see or do not
# mind, such as the light; then photos taken in that light belong into the folder. If nothing good
# looks like the patch, the alarm is right.

# %% [markdown]
# ## Recap
#
# - A folder of good photos is enough: `load_dataset(folder)`, `PatchCore().fit(learn)`, no masks.
# - Look before you fit: `audit(folder)` finds duplicates, unreadable files, odd sizes and modes;
#   cross-fitting finds what was filed wrongly.
# - Read photos with one function that knows 16 bits, transparency and EXIF.
# - Hold out good photos and count alarms on them; few photos without an alarm promise little.
# - A flagged patch and its nearest good patch, side by side, are the reason for a verdict.
#
# **Next:** photos that are large, cluttered or askew.
# [10 · Photos as they are](10_photos_as_they_are.ipynb). If yours are not:
# [09 · Ship it](09_ship_it.ipynb).
