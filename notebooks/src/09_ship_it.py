# %% [markdown]
# # 09 · Ship it: save, ONNX, speed, monitoring
#
# A detector earns its keep elsewhere: in another process next week, on a computer at the line that has
# neither PyTorch nor this package. **One file can hold everything from pixels to verdict, and whether
# it says the same as this notebook is a number that you can check.** Its speed
# and its size are numbers too, and so is the day on which the lamp above the line begins to fade.
#
# **You will learn** to save and load a model, to export it to ONNX and prove that nothing changed, to
# measure latency as the line sees it, to halve a memory bank, and to notice drift before people do.
#
# **You need** lessons [02](02_memory_distance_score_map.ipynb) and [05](05_thresholds.ipynb).
#
# TIMES

# %% tags=["setup"]

# %% [markdown]
# ## Choose
#
# The form feeds all cells below. At first they work on capsules that a program draws, and that is what
# the text speaks of; numbers that depend on the choice are printed. Where the lamp fades, real solar
# cells are watched as well.

# %% tags=["choose"]
from indad.notebook.choose import choose
chosen = choose(drawn="capsule")

# %% [markdown]
# ## What is needed
#
# Export needs a few packages that Colab lacks. The form installs them there, and nothing that they
# would bring: torch and numpy stay as they are. Where they are missing, the cells about ONNX say so
# in one line, and the rest runs.

# %%
#@title Packages for ONNX
install_in_colab = True  #@param {type:"boolean"}

import importlib.util
import subprocess
import sys

def missing():
    return [name for name in ("onnx", "onnxruntime", "onnxscript", "onnx_ir")
            if importlib.util.find_spec(name) is None]

if missing() and install_in_colab and "google.colab" in sys.modules:
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", *missing()])
    importlib.invalidate_caches()
lacking = missing()
print(f"ONNX cells are skipped, as these are missing: {', '.join(lacking)}" if lacking
      else "ONNX: everything is there")

# %%
import tempfile
from pathlib import Path

import numpy as np

from indad import PatchCore
from indad.data.datasets import choose_shots
from indad.notebook.getting import in_words_of_a_form

work = Path(tempfile.mkdtemp(prefix="indad_"))
good = [*chosen.train, *(item for item in chosen.test if not item.label)]
order = choose_shots(len(good), len(good), category=chosen.category, seed=0)  # shuffled
half = min(24, len(good) // 2)
learn, held_out = [good[i] for i in order[:half]], [good[i] for i in order[half:][:24]]
defective = [item for item in chosen.test if item.label]
judged = [*held_out[:12], *defective[::max(len(defective) // 10, 1)][:10]]
options = chosen.options(resize=160, coreset_ratio=0.05, num_neighbors=3)
with in_words_of_a_form():  # a photo that cannot be read is said in one line
    model = PatchCore(**options).fit(learn)
    here = model.predict(judged)
print(f"{len(model.memory_bank_)} remembered patches, {len(judged)} photos judged")

# %% [markdown]
# ## Three places, one answer?
#
# The model goes into a folder and comes back; and it goes into one ONNX file, which a different
# program (onnxruntime) runs. **ONNX** is a format for a network as a graph of simple operations,
# which many programs execute, in many languages.

# %%
from indad.errors import InputError
from indad.deploy.export import export_onnx, run_onnx
from indad.data.images import read_image

answers = {"this notebook": here.scores}
model.save(work / "saved")
again = PatchCore.load(work / "saved", device=chosen.device)
answers["saved and loaded"] = again.predict(judged).scores
exported = None
try:
    exported = export_onnx(model, work / "model.onnx", check_images=judged[:4])
    pixels = np.stack([model.transform_.pixels(read_image(item.path)) for item in judged])
    answers["onnxruntime"], onnx_maps, onnx_verdicts = run_onnx(exported.file, pixels)
except InputError as problem:
    print(f"no ONNX here: {problem}")

# %%
from matplotlib import pyplot as plt

from indad.experiments.figures import COLOURS
from indad.notebook.widgets import show

def apart(scores, others):
    """Relative differences; a photo that was learned scores 0, and 0 is no divisor."""
    return np.abs(scores - others) / np.maximum(others, 1e-6)

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
for (name, scores), marker, size, colour in zip(answers.items(), "os^", (10, 6, 3), COLOURS):
    left.plot(scores, marker, markersize=size, color=colour, label=name, fillstyle="none")
    if name != "this notebook":
        off = apart(scores, here.scores)
        right.plot(np.maximum(off, 1e-9), marker, color=colour, label=name)
        print(f"{name}: largest difference {off.max():.1e} of the score")
left.set(xlabel="photo", ylabel="anomaly score", title="the same photos, judged in several places")
right.set(xlabel="photo", ylabel="relative difference", yscale="log", ylim=(3e-10, 1e-2),
          title="how far from this notebook's (10⁻⁹: none)")
right.axhline(1e-3, color="black", linestyle="--", label="refused above this")
left.legend(fontsize=8)
right.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3)  # hides nothing there
show(figure, f"{chosen.category}: scores of each photo from several places, and how far they differ")

# %% [markdown]
# Loaded, the model gives the same numbers, on the same device to the bit. onnxruntime, which works on
# the CPU here, adds the same numbers in another order, and rounding differs: that is what a **parity
# test** bounds. `export_onnx` makes one itself and keeps no file that fails it.
#
# ### Exercise 09.1: a parity test
#
# *Difficulty ●○○○○, 3 minutes.* Two places have judged the same photos. Are they at one? Return True if
# each score of the second place differs from that of the first by `tolerance` times the first one at
# most.

# %% tags=["exercise"]
def at_one(scores, others, tolerance):
    """True if all agree; `scores` and `others` are numpy arrays of the same length."""
    ...  # your code here


from notebooks.checks import check

check("09.1", at_one)

# %% [markdown] tags=["hint"]
# `np.abs(others - scores)` and `tolerance * scores`, compared; `.all()` says whether it holds
# everywhere.

# %% tags=["solution"]
import numpy as np

def at_one(scores, others, tolerance):
    return bool((np.abs(others - scores) <= tolerance * np.abs(scores)).all())

# %% [markdown]
# **Think:** the largest relative difference is 10⁻⁶, and yet one photo gets another verdict. How?

# %% [markdown] tags=["answer"]
# Its score lies within that distance of the threshold: 9.999999 here and 10.000001 there. No tolerance
# of scores rules that out. What matters is how many photos lie so close; a parity test of verdicts alone
# would fail on such a photo for no reason, and pass on a model that is wrong by half.

# %% [markdown] tags=["teacher"]
# - Minutes: 15 for the three places, 15 for the file, 25 for distances, 15 for speed and size, 40 for drift, 5
#   for licences.
# - In Colab the ONNX packages are installed by the form; elsewhere the cells say what is missing, and go on.
# - Ask: which of your own programs would notice if a library's update changed its results by 1 %?

# %% [markdown]
# ## What is in a saved model?

# %%
import json

record = json.loads((work / "saved/model.json").read_text())
for file in sorted((work / "saved").iterdir()):
    print(f"{file.name:<20}{file.stat().st_size / 1e3:9.1f} kB")
for name, tensor in record["tensors"].items():
    print(f"   {name:<17}{tensor['dtype']:<9}{tensor['shape']}")
print("in model.json besides:", ", ".join(key for key in record if key not in ("tensors", "options")))

# %% [markdown]
# Numbers and readable text, nothing that is executed on loading (a pickle, which many programs
# save, can run anything). The backbone is not in it, only its fingerprint: the bank means
# nothing to any other network.
#
# ### Exercise 09.2: will it fit?
#
# *Difficulty ●●○○○, 5 minutes.* How many megabytes (10⁶ bytes) has the bank of a model that learns from
# `photos` photos of `side` times `side` patches, keeps the share `ratio` of them (a whole number of
# patches, rounded), each a row of `width` numbers of `size` bytes?

# %% tags=["exercise"]
def bank_megabytes(photos, side, ratio, width, size):
    """Megabytes of the memory bank."""
    ...  # your code here


check("09.2", bank_megabytes)

# %% [markdown] tags=["hint"]
# Rows first: `round(photos * side ** 2 * ratio)`. Then bytes, then a million of them.

# %% tags=["solution"]
def bank_megabytes(photos, side, ratio, width, size):
    return round(photos * side ** 2 * ratio) * width * size / 1e6

# %% [markdown]
# ### By hand: a score from the file
#
# This is all that a detector is: features, distances to the bank, the mean over three neighbours, the
# largest over the photo.

# %%
import torch
from safetensors.torch import load_file

from indad import load_backbone
from indad.features import as_rows, balanced, weighted

saved = load_file(work / "saved/model.safetensors")
backbone, transform = load_backbone(options["backbone"], resize=options["resize"],
                                    weights=options.get("weights"))
photo = transform(read_image(judged[0].path))[None]
with torch.inference_mode():
    patches = as_rows(weighted(balanced(backbone(photo)))) * saved["feature_scale"]
k = min(3, len(saved["memory_bank"]))
nearest = torch.cdist(patches, saved["memory_bank"]).topk(k, dim=1, largest=False).values
by_hand = nearest.mean(1).max()
print(f"by hand {by_hand:.5f}, by the model {here.scores[0]:.5f}")

# %% [markdown]
# ## Why is the distance the hard part?
#
# The graph of `cdist` (all distances at once) is large and slow in ONNX, and comparing every patch with
# every remembered one directly needs a number for each pair *and* dimension. The way out is school
# algebra, ‖a − b‖² = ‖a‖² + ‖b‖² − 2a·b: one matrix product. It has a trap. Move all points far from the
# origin: no distance changes, but the three terms become huge and nearly cancel.

# %%
def by_product(a, b):
    squares = (a * a).sum(1)[:, None] + (b * b).sum(1) - 2 * a @ b.T
    return squares.clamp_min(0).sqrt()

generator = torch.Generator().manual_seed(0)
a, b = (torch.rand(200, 32, generator=generator) for _ in range(2))
offsets = [0, 1, 10, 100, 1000, 10000]
errors = []
for offset in offsets:
    exact = torch.cdist((a + offset).double(), (b + offset).double())
    errors.append(float(((by_product(a + offset, b + offset) - exact).abs() / exact).max()))
figure, axes = plt.subplots(figsize=(6, 2.8), layout="constrained")
axes.plot(range(len(offsets)), errors, "o-", color=COLOURS[0])
axes.set_xticks(range(len(offsets)), offsets)
axes.set(xlabel="distance of the points from the origin, in each dimension", yscale="log",
         ylabel="largest relative error", title="the product formula in float32")
show(figure, "relative error of the product formula grows with the distance from the origin")

# %% [markdown]
# Where the line reaches 1 (10⁰), no digit is right. Features of networks do lie off the origin (many
# layers end in a ReLU, so that nothing is negative). The cure is one line more, and yours to find.

# %% [markdown]
# ### Exercise 09.3: distances from one product
#
# *Difficulty ●●●○○, 15 minutes.* Write all distances between two sets of points without `cdist`,
# without a loop and without a number for each pair and dimension; and without losing the
# digits far from the origin.

# %% tags=["exercise"]
def distances(queries, bank):
    """Euclidean distances (n, m) float32 between queries (n, d) and bank (m, d)."""
    ...  # your code here


check("09.3", distances)

# %% [markdown] tags=["hint"]
# Distances do not change when *both* sets move by the same vector. Which vector brings the
# bank to the origin? And rounding can leave a square slightly below zero, whose root is NaN.

# %% tags=["solution"]
def distances(queries, bank):
    origin = bank.mean(0)
    queries, bank = queries - origin, bank - origin
    squares = (queries * queries).sum(1)[:, None] + (bank * bank).sum(1) - 2 * queries @ bank.T
    return squares.clamp_min(0).sqrt()

# %% [markdown]
# ## How fast is it, really?
#
# At a line photos come one at a time, and what counts is not the mean: a part that waits too long is
# past the camera. So: single photos, and the median (**p50**) beside the time that one in twenty exceeds
# (**p95**).

# %%
import time


def latencies(run, count=20):
    """Milliseconds of `count` calls, after two to warm up."""
    times = []
    for i in range(count + 2):
        began = time.perf_counter()
        run(i % len(judged))
        times.append(1000 * (time.perf_counter() - began))
    return times[2:]

ready = np.stack([model.transform_.pixels(read_image(item.path)) for item in judged])
ways = {f"torch, {chosen.device}": lambda i: model.predict(ready[i])}
if exported:
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()  # or the race would not be fair
    session = onnxruntime.InferenceSession(exported.file, settings, ["CPUExecutionProvider"])
    ways["onnxruntime, cpu"] = lambda i: session.run(["score", "verdict"], {"image": ready[i:i + 1]})
measured = {name: latencies(run) for name, run in ways.items()}

# %%
figure, axes = plt.subplots(figsize=(6.5, 2.2), layout="constrained")
for place, (name, times) in enumerate(measured.items()):
    axes.plot(times, [place] * len(times), "o", color=COLOURS[place], alpha=0.5)
    for percent, end, edge in ((50, 0.32, "bottom"), (95, -0.32, "top")):  # names apart, however close
        value = np.percentile(times, percent)
        axes.plot([value] * 2, [place - 0.3, place + 0.3], color="black")
        axes.annotate(f"p{percent}", (value, place + end), ha="center", va=edge, fontsize=9)
    print(f"{name:<17} p50 {np.percentile(times, 50):4.0f} ms, p95 {np.percentile(times, 95):4.0f} ms")
axes.set_yticks(range(len(measured)), measured)
axes.set(xlabel="milliseconds for one photo", ylim=(-0.75, len(measured) - 0.3), xlim=(0, None))
show(figure, "latency of single photos, with median and 95th percentile for each way to run the model")

# %% [markdown]
# On a CPU both have the same number of threads. They were measured on the machine that made this page:
# measure on yours, with your photos, and while nothing else runs. If it is too slow, look at sizes
# first: half the side of the photo is a quarter of the patches, each of which is compared with the whole
# bank.
#
# **Think:** the mean is 40 ms, p95 is 45 ms, and a part comes every 50 ms. Once an hour a photo takes
# two seconds, as another program wakes up. What happens at the line, and which number would have told?

# %% [markdown] tags=["answer"]
# For two seconds nothing is judged, while forty parts pass or queue up; at 10 ms to spare each, it takes
# another two hundred parts to catch up. Neither mean nor p95 shows it: one in 72,000 is far beyond. Look
# at the largest of a whole day, and decide what the line does with a part without a verdict (it is not a
# good one).

# %% [markdown]
# ## How large is it?
#
# The bank grows with photos, coreset ratio and feature width, the network does not. Numbers of half the
# length (**float16**, three decimal digits) halve the bank. What do they cost?

# %%
from indad.engine.machine import as_array
from indad.engine.search import MemoryIndex
from indad.scores import score_images

rows = model.fitted_.scaled(model.extract(judged).rows)
bank = model.memory_bank_
index = MemoryIndex(bank.half().float())
in_half, _ = score_images(rows, index, model.grid_, model.size_, model.options)
change = apart(as_array(in_half), here.scores)
print(f"float32 {bank.nbytes / 1e6:.2f} MB, float16 {bank.half().nbytes / 1e6:.2f} MB")
print(f"scores change by up to {change.max():.1e}; the two closest of these photos differ by "
      f"{np.diff(np.sort(here.scores)).min() / here.scores.mean():.1e}")

# %%
figure, axes = plt.subplots(figsize=(6.5, 3), layout="constrained")
images = np.array([25, 50, 100, 200, 400])
for (name, width), marker, colour in zip({"efficientnet_lite0": 152, "wide_resnet50_2": 1536}.items(),
                                         "o^", COLOURS):
    for numbers, style in ((4, "-"), (2, "--")):
        size = images * 28 * 28 * 0.1 * width * numbers / 1e6
        axes.plot(images, size, marker + style, color=colour,
                  label=f"{name}, {'float32' if numbers == 4 else 'float16'}")
axes.set(xlabel="training photos (28 x 28 patches each, 10 % kept)", ylabel="memory bank, MB",
         yscale="log", xscale="log")
axes.set_xticks(images, images, minor=False)
axes.minorticks_off()
axes.legend(fontsize=8)
show(figure, "size of the memory bank over training photos for a narrow and a wide backbone")

# %% [markdown]
# `export_onnx(model, file, bank_precision="float16")` does the same in the file, and its parity test
# says what it cost.

# %% [markdown]
# ## Will it still work next month?
#
# A detector that learned from good photos assumes that good photos stay as they were. A lamp that fades,
# a lens that gathers dust, a new supplier: good parts begin to look different, and scores of good parts
# creep up. Here is such a lamp. Some of the good photos that were held out say what is usual; the others
# come again and again, as a line would see them. The first 36 photos are fine; after that each gets one
# percent less light.

# %%
from PIL import Image

rng = np.random.default_rng(0)


def shot(item, light):
    """The photo as a camera would take it again: other noise, other light."""
    pixels = np.asarray(read_image(item.path), float) * light
    return Image.fromarray((pixels + rng.normal(0, 2, pixels.shape)).clip(0, 255).astype(np.uint8))

known, coming = held_out[::2], held_out[1::2]
usual = model.predict([shot(known[i % len(known)], 1) for i in range(12)]).scores
mean, std = float(usual.mean()), float(usual.std(ddof=1))
lights = [1 - 0.01 * max(0, number - 35) for number in range(72)]
stream = model.predict([shot(coming[i % len(coming)], light) for i, light in enumerate(lights)]).scores
print(f"12 good photos at the start: {mean:.2f} ± {std:.2f}; the last 12: {stream[-12:].mean():.2f}")
if len(known) < 12:
    print(f"{len(known)} photos say what is usual: how much good parts vary is hardly known")

# %% [markdown]
# Single scores vary more than they drift. A **CUSUM** (cumulative sum; Page,
# [1954](https://doi.org/10.1093/biomet/41.1-2.100)) adds up by how much each score exceeds the usual
# mean, in standard deviations, less a slack so that chance does not add up, and never below zero.

# %%
def cusum(scores, mean, std, slack=0.5, most=3.0):
    """Cumulative excess of scores (n,); one score counts at most `most`: defects are not drift."""
    total, sums = 0.0, []
    for score in scores:
        total = max(0.0, total + min((score - mean) / std, most) - slack)
        sums.append(total)
    return np.array(sums)

def stream_figure(scores, mean, std, limit, fades):
    sums = cusum(scores, mean, std)
    alarm = next((i for i, value in enumerate(sums) if value > limit), None)
    figure, (top, below) = plt.subplots(2, 1, figsize=(7, 4.5), sharex=True, layout="constrained")
    top.plot(scores, "o", color=COLOURS[0], markersize=4)
    top.plot(np.arange(9, len(scores)), np.convolve(scores, np.ones(10) / 10, "valid"),
             color="black", label="mean of the last 10")
    below.plot(sums, color=COLOURS[1])
    below.axhline(limit, color="black", linestyle="--", label=f"limit {limit}")
    for axes in (top, below):
        axes.axvline(fades, color="gray", linestyle=":", label="light begins to fade")
        if alarm is not None:
            axes.axvline(alarm, color=COLOURS[1], linewidth=2, alpha=0.6, label=f"alarm at {alarm}")
    top.set(ylabel="anomaly score", title="good ones only, in fading light")
    below.set(xlabel="photo", ylabel="CUSUM, std")
    named = {name: line for axes in (below, top)
             for line, name in zip(*axes.get_legend_handles_labels())}
    figure.legend([*named.values()], [*named], fontsize=9, loc="outside lower center", ncols=2)
    return figure

# %%
from indad.notebook.widgets import explore

explore(lambda limit: stream_figure(stream, mean, std, limit, 36), limit=[2, 4, 6, 8, 12, 16, 24],
        alt=f"{chosen.category}: scores of good photos under a fading lamp, and their CUSUM",
        start={"limit": 8})
above = np.flatnonzero(cusum(stream, mean, std) > 8)
print(f"limit 8: the alarm comes at photo {above[0]}, and the light fades from 36 on" if len(above)
      else "limit 8: no alarm in 72 photos")

# %% [markdown]
# (Where a network hardly minds the light, scores do not creep up, and no alarm comes.) A low limit
# alarms early and for nothing, a high one late. How often for nothing can be tried without waiting: draw
# long streams without any drift.

# %%
calm = rng.normal(mean, std, (40, 500))
peaks = np.array([cusum(scores, mean, std).max() for scores in calm])
for limit in (2, 4, 8, 16):
    print(f"limit {limit:>2}: {np.sum(peaks > limit):>2} of 40 streams of 500 good photos alarm")

# %% [markdown]
# (Those scores are drawn from a normal distribution, which is kinder than reality: try your own.)
#
# Real good parts differ more from each other than drawn ones. Below, solar cells, photographed by their
# own light, and a camera that loses 2.5 % of it with each shot from the 24th on. What is usual is said
# twice: by mean and standard deviation, and by the median and the **median absolute deviation** (MAD,
# times 1.4826, which makes it the standard deviation where scores are normal).

# %%
from indad.notebook.getting import solar_cells

cells = solar_cells()
fine = [item for item in cells.test if not item.label][:12]
on_cells = PatchCore(**options).fit(cells.train[:20])
first = on_cells.predict([shot(item, 1) for item in fine]).scores
later = on_cells.predict([shot(fine[i % len(fine)], 1 - 0.025 * max(0, i - 23))
                          for i in range(48)]).scores
middle = float(np.median(first))
ways_to_say = {"mean and std": (float(first.mean()), float(first.std(ddof=1))),
               "median and MAD": (middle, 1.4826 * float(np.median(np.abs(first - middle))))}
for name, (usual_score, spread) in ways_to_say.items():
    alarms = np.flatnonzero(cusum(later, usual_score, max(spread, 1e-6)) > 8)
    print(f"{name:>14}: {usual_score:5.2f} ± {spread:.2f}, "
          + (f"alarm at photo {alarms[0]}" if len(alarms) else "no alarm in 48 photos"))
show(stream_figure(later, middle, max(spread, 1e-6), 8, 24),
     f"{cells.name}: scores of good ones in fading light, and their CUSUM by median and MAD")

# %% [markdown]
# On this page one of the good cells scores far above the others each time it comes. That one stretches
# the standard deviation, and next to it a drift of all the others looks small. Median and MAD hardly
# notice it, and the limit of 3 that one score may count keeps it from raising the alarm by itself. (The
# same few cells come again and again here, in other noise; at a line they are others.)
#
# After an alarm, look at the photos. Mend the lamp, or take new good photos and fit again; raising the
# threshold until it is quiet makes the detector blind.

# %% [markdown]
# ### Exercise 09.4: is this drift?
#
# *Difficulty ●●●●○, 30 minutes.* Watch the scores of a line, whose usual mean and standard deviation are
# known, and say at which photo you raise the alarm. The check has streams of 500 good photos without
# drift (no alarm, please), one with single defective parts (which are no drift), and streams in which
# good parts begin to score one standard deviation higher: these you should see within 60 photos.

# %% tags=["exercise"]
def first_alarm(scores, mean, std):
    """Position of the photo at which drift is noticed, looking at no later score; -1 if never."""
    ...  # your code here


check("09.4", first_alarm)

# %% [markdown] tags=["hint"]
# The CUSUM above will do, if its limit is high enough for 500 photos: see what share of streams
# alarmed. The mean of the last 25 scores, with a limit of its own, works as well.

# %% tags=["solution"]
def first_alarm(scores, mean, std):
    total = 0.0
    for position, score in enumerate(scores):
        total = max(0.0, total + min((score - mean) / std, 3.0) - 0.5)
        if total > 10:
            return position
    return -1

# %% [markdown] tags=["teacher"]
# - 40 minutes for drift with 09.4. Most begin with a limit on single scores: let the check tell them about 500 calm
#   photos, then ask what a second look at the neighbours would bring.
# - Ask: who gets the alarm, and what does that person do? Without an answer, no chart is needed.
# - Usual mistakes: no slack, so that chance adds up; a defect that counts in full; looking ahead.

# %% [markdown]
# ## May you?
#
# Three licences meet in a shipped detector: of the program, of the weights and of the photos that it
# learned from.

# %%
from indad import BACKBONES, CATALOG
from indad.backbones.registry import find_backbone

print("program: MIT (file LICENSE)")
print(f"this notebook: weights of {chosen.backbone}, "
      + ", ".join(find_backbone(name).licence for name in chosen.backbone.split("+")))
print(chosen.credit or f"this notebook: photos of {chosen.dataset}, drawn by program or your own")
for name in ("efficientnet_lite0", "wide_resnet50_2", "resnet50_clip", "antialiased_wide_resnet50_2",
             "dinov3_small"):
    print(f"weights of {name}: {BACKBONES[name].licence}")
for name, dataset in CATALOG.items():
    print(f"photos of {name}: {dataset.licence}")

# %% [markdown]
# NC means: not commercially. A model fitted on a research dataset is fine for learning; for a line,
# fit on your own photos, with weights whose licence allows it.

# %% [markdown]
# ## Recap
#
# - `model.save(folder)` and `PatchCore.load(folder)`: the same scores to the bit.
# - `export_onnx(model, file)` gives one file from pixels to verdict, kept only if it agrees.
# - Distances from a matrix product are fast and portable, and need the origin in the right place.
# - Measure single photos: p50 and p95, on the machine that will do the work.
# - float16 halves the bank; check what it does to your scores.
# - Watch the scores of good parts: a CUSUM sees a drift that no single score shows.
#
# **Next:** all of it at once, with nobody to lead you. [12 · Capstone](12_capstone.ipynb).
