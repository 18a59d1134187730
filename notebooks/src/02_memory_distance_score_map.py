# %% [markdown]
# # 02 · Memory bank, distance, score, map
#
# A photo has become rows, one for each patch. What is left is surprisingly little: **remember the
# rows of good photos, and measure how far each new row is from the nearest remembered one.** The
# distances laid out on the grid are the anomaly map, and the largest is the score. No training, no
# threshold, no defect seen; and for each patch you can ask *which* good patch it was compared with.
#
# **You will learn** to search nearest neighbours in bounded memory, to turn distances into a map and
# into a score, to derive how much the paper's reweighting can change a score, and to check `PatchCore`
# against your own lines.
#
# **You need** [01 · What a network sees in a patch](01_what_a_network_sees.ipynb), and the Euclidean
# distance.
#
# TIMES

# %% [markdown] tags=["teacher"]
# - First section, 10 minutes: hide the code, show the two pictures, and let learners say how a machine
#   could tell the patch on the left from the one on the right.
# - Many look for the training of the network. There is none: fitting is remembering.
# - Ask: "what would the bank say to a good part of a new kind?" (Defective: nothing near it.)

# %% tags=["setup"]

# %% [markdown]
# ## Choose
#
# The form feeds all cells below. The text speaks of the drawn gears that it begins with.

# %% tags=["choose"]
from indad.notebook.choose import choose
chosen = choose(drawn="gear")

# %% [markdown]
# ## What was it compared with?
#
# Sixteen good images are remembered, here with all their patches (the next lesson keeps fewer). Then a
# defective one comes. Its worst patch, and the remembered patch nearest to it, side by side:

# %%
from indad import PatchCore

train, test = chosen.train.replaced(chosen.train[:16]), chosen.few(60)
model = PatchCore(**chosen.options(resize=192, coreset_ratio=1.0, num_neighbors=1, seed=0))
remembered = model.extract(train)      # one row for each patch of each image
model.fit_features(remembered)         # fills the bank, with the layers balanced
print(len(train), "images,", len(remembered.rows), "patches remembered")

# %%
from indad.notebook.pictures import browse_matches

defective = chosen.defective("clogged_hole", among=test)
browse_matches(model, train, defective)

# %% [markdown]
# Nothing in sixteen drawn gears is near this patch: even the nearest is not the same. That *is* the
# explanation of the verdict. (With widgets, move to another row and column: good patches find good
# partners, often in another image and at another place.)
#
# Now real photos. The bank remembers sixteen good solar cells, and here is the worst patch of a broken one:

# %%
from indad.notebook.getting import solar_cells

cells = solar_cells()
good_cells = cells.train.replaced(cells.train[:16])
of_cells = PatchCore(**chosen.options(resize=192, coreset_ratio=1.0, num_neighbors=1, seed=0))
of_cells.fit(good_cells)
broken = next((item for item in cells.test if item.path.stem == "cell0376"),
              next(item for item in cells.test if item.label))
browse_matches(of_cells, good_cells, broken)

# %% [markdown]
# The frame lies on a crack. The nearest that sixteen good cells have to offer is plain silicon: no good cell
# has a line at that slant, so the distance is large, and the crack needs no name. (The bars of a cell are
# darker than the crack, and no find all the same: every good cell has them at the same height.)

# %% [markdown]
# **Think:** a good cell with a speck of dust on it is judged defective. You may add ten photos of good cells
# to the bank. Which ones?

# %% [markdown] tags=["answer"]
# Ones with dust on them, if dust is to pass. Ten more spotless cells would change nothing: what counts is
# the distance to the *nearest* remembered patch, and a spotless patch is far from a dusty one however
# many there are. The other side of it: once dust is remembered, a defect that looks like dust passes,
# too. A bank knows only what was put into it, good examples and mistakes alike (lesson 10).

# %% [markdown]
# And if a *good* part lies elsewhere, or turned? The bank has no order: a patch may find its partner at
# any place of any image. Move this one, and see what its three worst patches are nearest to:

# %%
from indad.notebook.moving import browse_moved

browse_moved(model, train, next(item for item in test if item.label == 0), right=10, turn=15)

# %% [markdown]
# The title says how far the worst patch is after the move, and how far it was before. On the drawn gear
# that is a little more: gears lie at many angles in the bank, so a turned tooth finds a turned tooth. Patch
# 1 lies at the very edge, to which only the move has brought a tooth. (The black beside it is beyond the
# picture.)

# %% [markdown]
# ## How far is one patch?
#
# The *memory bank* is a table `(m, d)`: m remembered rows of d numbers. Take one patch of the
# defective image, subtract it from every row of the bank, and look for the shortest difference.

# %%
import torch

scale = model.feature_scale_                             # (d,), on the GPU if there is one
bank = remembered.rows.to(scale.device) * scale          # (m, d), balanced as in the fit
extracted = model.extract(test)
queries = extracted.rows.to(scale.device) * scale        # (n, d), balanced alike
per_image = queries.view(len(test), extracted.patches, -1)
bad = next(i for i, item in enumerate(test) if item is defective)
print("bank", tuple(bank.shape), " test patches", tuple(queries.shape))

height, width = extracted.grid
middle = height // 2 * width + width // 2
distances = (bank - per_image[bad, middle]).norm(dim=1)  # (m,)
print(f"patch {middle} of it: nearest {float(distances.min()):.2f}, "
      f"farthest {float(distances.max()):.2f}, row {int(distances.argmin())} is the nearest")

# %% [markdown]
# ### Exercise 02.1: the same, with nothing but arithmetic
#
# *Difficulty ●○○○○, 2 minutes.* `norm` is short for something. Write it out: subtract, square, sum over the
# numbers of a row, take the root.

# %% tags=["exercise"]
def distances_to(patch, bank):
    """(d,) and (m, d) -> (m,): how far each row of the bank is, without `norm` or `cdist`."""
    ...  # your code here


from notebooks.checks import check

check("02.1", distances_to)

# %% [markdown] tags=["hint"]
# `bank - patch` subtracts the patch from every row. `.square()`, then `.sum(dim=1)`: over the numbers of a
# row, which are dimension 1. Then `.sqrt()`.

# %% tags=["solution"]
def distances_to(patch, bank):
    return (bank - patch).square().sum(dim=1).sqrt()

# %% [markdown]
# ## How far are all of them?
#
# Doing that for all patches at once by subtraction makes a block of n x m x d numbers. Multiplying out
# the square needs n x m only, and most of the work is a matrix product, the fastest thing a
# processor can do:
#
# $$\lVert q - m \rVert^2 = \lVert q \rVert^2 - 2 q \cdot m + \lVert m \rVert^2$$

# %%
def all_distances(queries, bank):
    """(n, d) and (m, d) -> (n, m)."""
    squared = (queries.square().sum(1, keepdim=True) - 2 * queries @ bank.T
               + bank.square().sum(1))
    return squared.clamp_min(0).sqrt()  # rounding may leave a square just below zero


n, m, d = len(queries), len(bank), bank.shape[1]
for what, numbers in {"by subtraction, all": n * m * d, "by product, all": n * m,
                      "by product, one image at a time": extracted.patches * m}.items():
    print(f"{what:32} {4 * numbers / 1e9:8.3f} GB")

# %% [markdown]
# One image at a time bounds the memory, whatever the number of images. A bank of any size asks for a
# second bound:

# %% [markdown]
# ### Exercise 02.2: a bank that does not fit
#
# *Difficulty ●●●○○, 20 minutes.* Find the distance to the nearest bank row, and its index, looking at
# `chunk` rows of the bank at a time and keeping the best so far. The check also watches how large a
# block you make: never more than `chunk` rows against all queries. The lesson goes on with your search
# once it is right.

# %% tags=["exercise"]
def nearest_in_chunks(queries, bank, chunk):
    """(n, d) and (m, d) -> distances (n,), indices (n,) of the nearest bank rows."""
    ...  # your code here


from indad.neighbors import nearest


def by_package(queries, bank, chunk):
    distances, indices = nearest(queries, bank)          # (n, 1) each; it knows its own blocks
    return distances[:, 0], indices[:, 0]


search = check("02.2", nearest_in_chunks, otherwise=by_package)

# %% [markdown] tags=["hint"]
# Begin with distances of infinity and indices of zero, one for each query: `queries.new_full((n,),
# torch.inf)` makes them where the queries are, on a GPU or not. For each start in `range(0, len(bank),
# chunk)`, find the nearest row within the chunk (`torch.cdist`, then `.min(1)`), and replace the best so
# far where it is nearer. An index within the chunk is not yet an index of the bank.

# %% tags=["solution"]
def nearest_in_chunks(queries, bank, chunk):
    best = queries.new_full((len(queries),), torch.inf)
    indices = torch.zeros(len(queries), dtype=torch.int64, device=queries.device)
    for start in range(0, len(bank), chunk):
        distances, rows = torch.cdist(queries, bank[start:start + chunk]).min(1)
        nearer = distances < best
        best[nearer] = distances[nearer]
        indices[nearer] = rows[nearer] + start
    return best, indices

# %% [markdown]
# The search in chunks and the product for one image at a time must agree.

# %%
by_hand = torch.cat([all_distances(image, bank).amin(1) for image in per_image])
found, matches = search(queries, bank, 2048)             # (n,) each
length = float(bank.norm(dim=1).max())                   # rounding errors grow with it
assert torch.allclose(by_hand, found, atol=1e-3 * length)
patches = found.view(len(test), -1)                      # (images, patches of an image)
print(f"largest difference {float((by_hand - found).abs().max()):.1e}")

# %% [markdown]
# ### A trap in the product
#
# Ask for the distance from the bank to itself. It is zero, but for close points the product subtracts
# large, nearly equal numbers, and float32 has seven digits. The package takes the product's finding
# and measures that distance again by subtraction.

# %%
some = bank[:500]
by_product = all_distances(some, bank).amin(1)
measured_again, _ = nearest(some, bank)
print(f"distance of a row to itself: by product up to {float(by_product.max()):.4f}, "
      f"measured again {float(measured_again.max()):.4f}")
assert float(measured_again.max()) == 0

# %% [markdown]
# ## What do good and defective images look like in distances?
#
# All patches of one good and of the defective image, as a histogram. Mind the logarithmic axis.

# %%
import numpy as np
from matplotlib import pyplot as plt

from indad.notebook.pictures import DEFECTIVE, GOOD
from indad.notebook.widgets import explore, show

good = next(i for i, item in enumerate(test) if item.label == 0)
figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
shown = patches.cpu().numpy()                            # pictures are drawn from the machine's memory
bins = np.linspace(0, shown[[good, bad]].max(), 50)
for which, colour, hatch in ((good, GOOD, None), (bad, DEFECTIVE, "//")):
    axes.hist(shown[which], bins, color=colour, hatch=hatch, alpha=0.6,
              label=f"image: {test[which].defect_type}")
    axes.axvline(shown[which].max(), color=colour, linestyle="--")
axes.set(xlabel="distance to the nearest remembered patch", ylabel="patches", yscale="log")
axes.legend()
show(figure, "histogram of patch distances of a good and of a defective image; of drawn gears the two look "
     "alike except for a tail of some patches at the right, which only the defective one has")
beyond = (shown[bad] > shown[good].max()).sum()
print(f"{beyond} of {extracted.patches} patches of the defective image are beyond all of the good one")

# %% [markdown]
# Most patches of the defective gear are good ones, and lie where those of the good gear lie. The
# difference is the tail. So a mean over all patches would hide the defect; the maximum (dashed)
# shows it.

# %% [markdown]
# ## From distances to a map
#
# The distances go back onto the grid, are stretched to the size of the picture, and smoothed by a
# Gaussian, so that the steps of the grid disappear. `sigma` is its width in pixels.

# %%
grid = patches.cpu().view(-1, *extracted.grid)           # (images, 24, 24)
print("distances", tuple(grid.shape), " images have", extracted.size, "pixels")

# %% [markdown]
# ### Exercise 02.3: stretch the grid
#
# *Difficulty ●●○○○, 10 minutes.* Stretch the grids to the size of the picture, *bilinear*: between the
# centres of two cells, their weighted mean. The lesson goes on with your function once it is right.

# %% tags=["exercise"]
import torch.nn.functional as F


def stretch(grids, size):
    """(n, h, w) and (height, width) -> (n, height, width)."""
    ...  # your code here


from indad.scores import anomaly_maps


def by_anomaly_maps(grids, size):
    return anomaly_maps(grids, size, sigma=0)            # not smoothed


stretched = check("02.3", stretch, otherwise=by_anomaly_maps)

# %% [markdown] tags=["hint"]
# `F.interpolate(..., size, mode="bilinear")` wants channels, `(n, 1, h, w)`: put a dimension in by
# `grids[:, None]`, and take it out again. Leave `align_corners` as it is: with it, the outermost cells
# would be stretched to lie on the very edge.

# %% tags=["solution"]
def stretch(grids, size):
    return F.interpolate(grids[:, None], size, mode="bilinear")[:, 0]

# %%
from scipy.ndimage import gaussian_filter

smooth = gaussian_filter(stretched(grid[[bad]], extracted.size)[0].numpy(), sigma=4)
package_map = anomaly_maps(grid[[bad]], extracted.size, sigma=4)[0]
assert torch.allclose(torch.from_numpy(smooth), package_map, atol=1e-4 * float(smooth.max()))
print(tuple(grid[bad].shape), "->", tuple(smooth.shape), "equal to the package's map")

# %%
from indad.data.images import read_image
from indad.notebook.pictures import canvas, outline, panel

image = read_image(defective.path).resize(extracted.size[::-1])
mask = defective.mask()                                  # None if nobody drew one
limits = dict(vmin=float(grid[bad].min()), vmax=float(grid[bad].max()))


def map_figure(upsampling, sigma):
    """The image, its distances, and the map with these options; the true defect outlined."""
    one = anomaly_maps(grid[[bad]], extracted.size, upsampling=upsampling, sigma=sigma)[0]
    figure, axes = canvas(3, size=2.8)
    panel(axes[0, 0], image, f"image: {defective.defect_type}")
    axes[0, 1].imshow(grid[bad], cmap="inferno", **limits)
    axes[0, 1].set_title(f"distances of {grid[bad].numel()} patches", fontsize=9)
    picture = axes[0, 2].imshow(one, cmap="inferno", **limits)
    axes[0, 2].set_title(f"{upsampling}, sigma {sigma}: peak {one.max():.1f}", fontsize=9)
    for place in (0, 2) if mask is not None else ():
        outline(axes[0, place], model.transform_.mask(mask))
    figure.colorbar(picture, ax=axes, label="distance", shrink=0.8)
    return figure


explore(map_figure, upsampling=["bilinear", "nearest"], sigma=[0, 2, 4, 8, 16],
        start={"sigma": 4},
        alt=f"an image ({chosen.category}, {defective.defect_type}), its patch distances, and the smoothed "
            "map; of the drawn gear, hottest at the clogged hole, which is outlined")

# %% [markdown]
# The gear's map is hottest at the outline. More smoothing gives a calmer and lower map:

# %%
for sigma in (0, 2, 4, 8, 16):
    peak = float(anomaly_maps(grid[[bad]], extracted.size, sigma=sigma).max())
    print(f"sigma {sigma:2}: peak of the map {peak:5.2f}")

# %% [markdown]
# ## From distances to one score
#
# Implementations that all call themselves PatchCore differ here more than anywhere else.
#
# - `max`: the distance of the worst patch. The reference implementation does that.
# - `reweighted`: the same, times a weight (Equation 7 of the paper, below).
# - `top`: the mean of the worst 1 % of patches (AnomalyDINO).
# - `peak`: the highest point of the smoothed map.

# %% [markdown]
# ### Exercise 02.4: the worst patches
#
# *Difficulty ●●○○○, 10 minutes.* Write `max` and `top` in one: the mean of the worst `share` of each image's
# patches, rounded to a whole number of patches, but at least one.

# %% tags=["exercise"]
def worst_share(patches, share):
    """Distances (n, p) of the patches of n images, and a share from 0 to 1 -> scores (n,)."""
    ...  # your code here


check("02.4", worst_share)

# %% [markdown] tags=["hint"]
# `patches.topk(count, dim=1).values` are the largest of each row. `max(round(...), 1)` keeps the count from
# being 0; with a share of 0 the function is `max`.

# %% tags=["solution"]
def worst_share(patches, share):
    count = max(round(share * patches.shape[1]), 1)
    return patches.topk(count, dim=1).values.mean(dim=1)

# %% [markdown]
# **Think:** a dead pixel of the camera makes one patch of every image a little odd, and a faint stain covers
# a tenth of a part. Which of the two does `max` mind more, and which does `top`?

# %% [markdown] tags=["answer"]
# `max` looks at a single patch: a dead pixel can decide it, and of the stain it sees only the worst spot.
# `top` is a mean over the worst 1 %: one odd patch among six counts a sixth, while a stain fills all of
# them. For a scratch that crosses two patches it is the other way round. (A dead pixel that is in the
# good photos as well is remembered, and disturbs neither.)

# %% [markdown]
# ### The paper's score
#
# **Equation 7.** Let q be the worst patch, m* the bank row nearest to it, s* their distance, and N the
# b bank rows nearest to m*, m* itself among them:
#
# $$s = \Big(1 - \frac{\exp(s^*)}{\sum_{m \in N} \exp \lVert q - m \rVert}\Big) s^*$$

# %%
def reweight(q, bank, b):
    """Equation 7 for a single image, as printed: its weight and its score."""
    to_bank = (bank - q).norm(dim=1).cpu().double()               # exp grows beyond float32
    worst, match = to_bank.min(0)                                 # s*, m*
    to_match = (bank - bank[int(match)]).norm(dim=1).cpu()
    neighbours = to_match.topk(b, largest=False).indices          # N
    share = torch.exp(worst) / torch.exp(to_bank[neighbours]).sum()
    return float(1 - share), float((1 - share) * worst)


weight, score = reweight(per_image[bad, patches[bad].argmax()], bank, b=9)
print(f"largest distance {float(patches[bad].max()):.3f}, weight {weight:.4f}, score {score:.3f}")

# %%
from indad.engine.search import MemoryIndex
from indad.scores import IMAGE_SCORES

maps = anomaly_maps(patches.view(grid.shape), extracted.size)
inputs = (patches, per_image, matches.view(len(test), -1), MemoryIndex(bank))
scores = {name: IMAGE_SCORES[name](*inputs, 9, maps).cpu()
          for name in ("max", "reweighted", "top", "peak")}

worst_patches = [image[distances.argmax()] for image, distances in zip(per_image, patches)]
by_hand = torch.tensor([reweight(q, bank, b=9)[1] for q in worst_patches])
same = torch.isclose(by_hand, scores["reweighted"], rtol=1e-4)
assert torch.equal(patches.amax(1).cpu(), scores["max"])
worst_percent = patches.topk(max(round(0.01 * extracted.patches), 1), dim=1).values
assert torch.allclose(worst_percent.mean(1).cpu(), scores["top"])
assert torch.equal(maps.amax((1, 2)).cpu(), scores["peak"])
print(f"max, top and peak by hand are the package's; reweighted is on {int(same.sum())} of {len(same)} "
      "images (rows that are equally near m* may be taken in another order)")

# %% [markdown]
# ### How much can the weight do?
#
# m* is the nearest row to q, so its term exp(s*) is the *smallest* of b terms, and its share is at most
# 1/b. All terms are positive, so it is above 0. Hence the weight lies in **[1 - 1/b, 1)**: with b = 9
# two images can swap places only if their distances differ by less than a ninth of the larger one.
# And with b = 1 the formula gives 0 for every image, which is why implementations treat that case
# apart.

# %%
from indad.experiments.figures import COLOURS

weights = {b: [reweight(q, bank, b)[0] for q in worst_patches] for b in (2, 3, 5, 9, 20)}
figure, axes = plt.subplots(figsize=(6.5, 3.2), layout="constrained")
for place, (b, found) in enumerate(weights.items()):
    assert min(found) >= 1 - 1 / b - 1e-4 and max(found) <= 1
    axes.plot([place] * len(found), found, "o", color=COLOURS[0], alpha=0.3,
              label="weight of an image" if place == 0 else None)
    axes.plot([place - 0.3, place + 0.3], [1 - 1 / b] * 2, color=COLOURS[1], linewidth=2,
              label="1 - 1/b" if place == 0 else None)
axes.set_xticks(range(len(weights)), [f"b = {b}" for b in weights])
axes.set(xlabel="rows around m* that are looked at", ylabel="weight")
axes.legend(loc="lower right")
show(figure, "weights of all test images for five values of b: all lie above the bound 1 - 1/b and "
     "below 1")

# %% [markdown]
# **Think:** with b = 9, one image's worst patch is at 10 and another's at 8. Can the weight make the second
# one score higher? And at 9?

# %% [markdown] tags=["answer"]
# The weight is at least 8/9 and below 1. So the first scores at least 8.89, and the second less than 8: no.
# With 9 against 10 it can: 9 times nearly 1 is more than 8.89. They swap where the second one's
# neighbourhood is dense (large terms beside a small one: a weight near 1) and the first one's rows are all
# about equally far (a weight near 8/9).

# %% [markdown]
# ### Exercise 02.5: Equation 7, safely
#
# *Difficulty ●●●●○, 30 minutes.* `reweight` above is fine for these distances, but three things break
# it: exp overflows at 89 in float32, which other features easily exceed; the bank may have fewer than b
# rows (take them all); and b = 1 should return s*. Write a score that survives all three.

# %% tags=["exercise"]
def reweighted_score(q, bank, b):
    """The worst patch q (d,), the bank (m, d) and b -> the score, a number."""
    ...  # your code here


check("02.5", reweighted_score)

# %% [markdown] tags=["hint"]
# A fraction of exponentials stays what it is if you subtract the same number from all exponents, the
# largest say. `torch.logsumexp` does that for you: the share is the exponential of s* minus it.

# %% tags=["solution"]
def reweighted_score(q, bank, b):
    to_bank = (bank - q).norm(dim=1)
    worst, match = to_bank.min(0)
    if b == 1:
        return float(worst)
    to_match = (bank - bank[match]).norm(dim=1)
    around = to_match.topk(min(b, len(bank)), largest=False).indices
    share = torch.exp(worst - torch.logsumexp(to_bank[around], 0))
    return float((1 - share) * worst)

# %% [markdown]
# ### Small changes, other scores
#
# Small changes to the formula do something else altogether. One well-known implementation leaves m*
# out of N and divides distances by the square root of d before the exponential. Its terms are then
# nearly equal, and the weights of all images lie close together:

# %%
for name in ("reweighted", "ind_knn_ad"):
    found = IMAGE_SCORES[name](*inputs, 3, maps).cpu() / scores["max"]
    print(f"{name:10} with b = 3: weights from {found.min():.4f} to {found.max():.4f}")

# %% [markdown] tags=["teacher"]
# - 02.5 is the hard one: 30 minutes, best in pairs. Who is stuck writes it for three rows on paper first.
# - The usual mistake takes the rows around q instead of those around m*, or leaves m* out.
# - Ask: why is `exp(1000)` no problem for the fraction, and one for the computer?
# - Ask: does the weight ever change the order of two images here? (Let them count swaps.)

# %% [markdown]
# ## Does the choice matter?
#
# All images under all four scores. Scales differ, so each is divided by its largest good score:
# defects to the right of 1 are found without any false alarm.

# %%
from indad.metrics import image_metrics

labels = test.labels
figure, axes = plt.subplots(figsize=(7.5, 3), layout="constrained")
for place, (name, values) in enumerate(scores.items()):
    relative = (values / values[labels == 0].max()).numpy()
    for label, colour, marker in ((0, GOOD, "o"), (1, DEFECTIVE, "^")):
        axes.plot(relative[labels == label], [place + 0.24 * label] * (labels == label).sum(),
                  marker, color=colour, alpha=0.6,
                  label=("good", "defective")[label] if place == 0 else None)
    auroc = image_metrics(values.numpy(), labels)["image_auroc"]
    print(f"{name:11} image AUROC {auroc:.4f}, {(relative[labels == 1] > 1).sum()} of "
          f"{labels.sum()} defects above all good images")
axes.axvline(1, color="black", linestyle="--")
axes.set_yticks(range(len(scores)), list(scores))
axes.set(xlabel="score / largest score of a good image")
axes.invert_yaxis()
axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
show(figure, "scores of good and defective images under four rules, a row each; defective ones right "
     "of the dashed line score higher than every good image")

# %% [markdown]
# On the drawn gears the rules agree on the clear defects and differ in the middle. One category is not
# enough to choose one: lesson 04 says how to compare. What matters at once is to *say which one a number
# was made with*.

# %% [markdown]
# ### One neighbour or several?
#
# A patch's distance may also be the mean over its k nearest rows, so that a single odd row in the bank
# excuses less. Published PatchCore takes k = 1, and so does this lesson; the package takes k = 3 unless
# `num_neighbors` says otherwise.

# %%
nine, _ = nearest(queries, bank, 9)                      # (n, 9), ascending
for k in (1, 3, 9):
    mean_distances = nine[:, :k].mean(1).view(len(test), -1)
    auroc = image_metrics(mean_distances.amax(1).cpu().numpy(), labels)["image_auroc"]
    print(f"mean of the {k} nearest: image AUROC {auroc:.4f}")

# %% [markdown]
# ## The whole of it
#
# Lines from the cells above, against the package: this is all that `predict` does.

# %%
prediction = model.predict_features(extracted)
highest = float(scores["max"].max())
assert np.allclose(prediction.scores, scores["max"], rtol=1e-4)
assert np.allclose(prediction.model_maps, anomaly_maps(grid, extracted.size), atol=1e-4 * highest)
print(f"PatchCore's {len(prediction.scores)} scores and maps are those computed here")

# %% [markdown]
# ## Recap
#
# - The memory bank is a table of good rows; a patch is as anomalous as it is far from the nearest one.
# - Distances to a large bank are a matrix product, taken in chunks, and measured again where it counts.
# - The map is those distances, stretched and smoothed. The score is their maximum, or a relative of it.
# - Equation 7 multiplies by a weight in [1 - 1/b, 1): it can only reorder close scores.
# - Each verdict can be explained: here is the patch, and here is the nearest thing ever seen.
#
# **Next:** most remembered rows are near copies of each other. [03 · Coreset: remember
# less](03_coreset.ipynb).
