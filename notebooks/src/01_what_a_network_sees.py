# %% [markdown]
# # 01 · What a network sees in a patch
#
# A network that was trained to tell dogs from teapots has never seen a gear. Yet halfway through it,
# **a photo becomes a grid of vectors, and similar places get similar vectors**: pick a hole in one
# gear, and the nearest vectors in another photo are its holes. That is all that PatchCore needs from
# a network, and this notebook builds it: from pixels to *patch features*.
#
# **You will learn** to read feature maps, to measure how far one of their cells looks, to average
# neighbourhoods, to join layers of different size, to lay everything out as rows, and to recognise
# two mistakes that raise no error.
#
# **You need** [00 · Find your first defect](00_find_your_first_defect.ipynb), and to know what a
# convolution is.
#
# TIMES

# %% tags=["setup"]

# %% [markdown]
# ## A photo goes in, five grids come out
#
# A *backbone* is a network trained on ordinary photos (ImageNet), of which we use the inside only.
# Its layers hand out *feature maps*: at each cell of a coarse grid, a vector with one number for
# each *channel*. Three good gears and three defective ones go through it.

# %%
import torch

from indad import load_dataset
from indad.backbones.loading import load_backbone
from indad.data.images import read_image

train, test = load_dataset("synthetic", "gear")
items = [*train[:3], *[item for item in test if item.label][::10]]
photos = [read_image(item.path) for item in items]
extractor, transform = load_backbone("efficientnet_lite0", layers=(0, 1, 2, 3, 4), resize=256)
pixels = torch.stack([transform(photo) for photo in photos])
with torch.inference_mode():
    maps = extractor(pixels)  # a list, shallowest first

print("pixels ", tuple(pixels.shape), " (photos, colours, height, width)")
for layer, (one, stride) in enumerate(zip(maps, extractor.strides)):
    print(f"layer {layer}", tuple(one.shape), f" one cell every {stride} pixels")

# %% [markdown]
# The deeper, the fewer cells and the more channels. The distance between cells in pixels is called
# the *stride*. PatchCore takes two layers from the middle; here 2 and 3, the ones with 40 and 112
# channels.

# %% [markdown]
# ## Similar places get similar vectors
#
# Take what this notebook will have built by its end, one vector for each of 32 x 32 places. Choose a
# place in the first photo (cyan frame), and measure the distance from its vector to all vectors of
# other photos. Bright is near; the six nearest are framed.

# %%
from indad.features import layer_scales, weighted
from indad.notebook.pictures import canvas, mark_box, panel
from indad.notebook.widgets import explore, show

channels = extractor.channels[2:4]
features = weighted(maps[2:4])  # (photos, 40 + 112, 32, 32)
scales = layer_scales(features.permute(0, 2, 3, 1).flatten(0, 2), channels)
features = features * scales[:, None, None]
CELL = 256 // features.shape[-1]  # pixels


def similar_figure(row, column, others=(1, 2, 4)):
    """Where the vectors are that are nearest to that of one place of the first photo."""
    chosen = features[0, :, row, column]
    distances = (features - chosen[:, None, None]).norm(dim=1)  # (photos, 32, 32)
    figure, axes = canvas(4, size=2.5)
    panel(axes[0, 0], photos[0], f"chosen: row {row}, column {column}")
    mark_box(axes[0, 0], (column * CELL, row * CELL, (column + 1) * CELL, (row + 1) * CELL))
    for one, other in zip(axes[0, 1:], others):
        panel(one, photos[other], f"nearest in photo {other} ({items[other].defect_type})")
        one.imshow(-distances[other], cmap="inferno", alpha=0.65, extent=(0, 256, 256, 0))
        for place in distances[other].flatten().argsort()[:6].tolist():
            y, x = divmod(place, 32)
            mark_box(one, (x * CELL, y * CELL, (x + 1) * CELL, (y + 1) * CELL))
    return figure

# %%
explore(similar_figure, row=range(32), column=range(32), start={"row": 10, "column": 15},
        alt="a hole chosen in one gear, and in three other gears the places with the nearest "
            "vectors, framed: they lie at holes")

# %% [markdown]
# Nobody told the network about holes, and the gears are turned differently. (With widgets, move the
# frame: onto a tooth, the keyway, the background.) A place whose vector has no near neighbour in any
# good photo must be something new. That sentence is PatchCore.

# %% [markdown]
# ## What do the layers see?
#
# 112 numbers are no colour, but three are: *principal component analysis* finds the three directions
# in which the vectors of a layer vary most, and we show how far a vector goes along each as red, green
# and blue. Similar vectors get similar colours; the colours of two layers have nothing to do with each
# other. Titles say how much of the layer's variance these three directions hold.

# %%
def pca_colours(feature_map):
    """(b, c, h, w) -> (b, h, w, 3) from 0 to 1, and the share of variance that is shown."""
    b, c, h, w = feature_map.shape
    rows = feature_map.permute(0, 2, 3, 1).reshape(-1, c)
    rows = rows - rows.mean(0)
    values, directions = torch.linalg.eigh(rows.T @ rows)  # ascending
    colours = rows @ directions[:, -3:].flip(1)
    low, high = colours.quantile(0.01, dim=0), colours.quantile(0.99, dim=0)
    shown = ((colours - low) / (high - low)).clamp(0, 1)
    return shown.view(b, h, w, 3), float(values[-3:].sum() / values.sum())


def layers_figure(pictures, rows):
    """One row for each photo: the photo, then each layer in false colours."""
    figure, axes = canvas(len(pictures) + 1, rows=len(rows), size=1.75)
    for line, place in zip(axes, rows):
        panel(line[0], photos[place], items[place].defect_type)
        for layer, (colours, share) in enumerate(pictures):
            panel(line[layer + 1], colours[place], f"layer {layer} ({share:.0%} shown)")
    return figure

# %%
pictures = [pca_colours(one) for one in maps]
show(layers_figure(pictures, [0, 1, 4]), "three gears and their feature maps from layer 0 to 4 as "
     "colours: first edges, then teeth and holes, then rim, disc and background")

# %% [markdown]
# Layer 0 is hardly more than the photo, and layer 1 mostly edges and their direction. In layer 2,
# holes and teeth stand out; in layer 3, whole regions get a colour each: background, toothed rim,
# disc. Layer 4 has 8 x 8 cells left, which say little more than how far they are from the middle. So
# the middle layers know *what* is there and still *where*: hence 2 and 3.

# %% [markdown]
# ## How far does one cell look?
#
# Each convolution adds a rim to what a cell depends on, its *receptive field*. It can be measured:
# feed noise, and ask by backpropagation which pixels would move the middle cell at all.

# %%
def gradient_probes(layers, side=448, seed=0):
    """How much each pixel moves the middle cell of each layer, (side, side) a layer."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(1, 3, side, side, generator=generator).requires_grad_()
    maps, probes = extractor(noise), {}
    for layer in layers:
        middle = maps[layer].shape[-1] // 2
        weights = torch.randn(maps[layer].shape[1], generator=generator)
        cell = maps[layer][0, :, middle, middle] @ weights
        gradient = torch.autograd.grad(cell, noise, retain_graph=True)[0]
        probes[layer] = gradient[0].abs().sum(0)
    return probes


def square_with(share, probe):
    """Left, top and side of the smallest square around the centre that holds so much of a probe."""
    places = torch.arange(len(probe)) + 0.5
    x, y = (float((places * probe.sum(i)).sum() / probe.sum()) for i in (0, 1))
    for side in range(1, len(probe), 2):
        left, top = max(round(x - side / 2), 0), max(round(y - side / 2), 0)
        if probe[top:top + side, left:left + side].sum() >= share * probe.sum():
            return left, top, side

# %%
probes, measured = gradient_probes((1, 2, 3)), {}
for layer, probe in probes.items():
    touched = (probe.sum(0) > 0).nonzero()  # columns with any influence
    measured[layer] = int(touched.max() - touched.min() + 1)
    print(f"layer {layer}: a cell every {extractor.strides[layer]:2} pixels sees {measured[layer]:3}"
          f" pixels wide; 90 % of the influence comes from {square_with(0.9, probe)[2]:3}")

# %%
from indad.experiments.figures import COLOURS
from matplotlib.patches import Rectangle

figure, axes = canvas(3, size=3)
for one, (layer, probe) in zip(axes[0], probes.items()):
    one.imshow((probe / probe.max()) ** 0.3, cmap="gray_r")
    rows = (probe.sum(1) > 0).nonzero()
    columns = (probe.sum(0) > 0).nonzero()
    one.add_patch(Rectangle((columns.min(), rows.min()), measured[layer], measured[layer],
                            fill=False, edgecolor=COLOURS[0], linewidth=2))
    left, top, side = square_with(0.9, probe)
    one.add_patch(Rectangle((left, top), side, side, fill=False, edgecolor=COLOURS[1],
                            linewidth=2, linestyle="--"))
    one.add_patch(Rectangle((96, 96), 256, 256, fill=False, linestyle=":"))  # one of our photos
    one.set(xlim=(40, 440), ylim=(440, 40))
    one.set_title(f"layer {layer}: {measured[layer]} px, 90 % within {side} px", fontsize=10)
show(figure, "influence of each pixel on one cell of layers 1, 2 and 3: the receptive field is drawn "
     "as a solid blue square, the dashed orange square inside it holds 90 percent, and a dotted "
     "square is as large as one of the photos")

# %% [markdown]
# All three are drawn to one scale; the dotted square is as large as our photos. A field is many
# strides wide, so neighbouring cells share most of what they see. That of layer 3 is wider than a
# photo, but most of the influence comes from the dashed square, near the middle. So a cell says "what
# is here, and what is around it", not just "what is in my 16 pixels".

# %% [markdown]
# ## Why average a neighbourhood?
#
# PatchCore blurs each map over 3 x 3 cells before comparing: a good part may lie a little off, and
# single cells flicker. The paper averages plainly (each of nine cells counts 1/9); the default of
# this package takes *binomial* weights, in which the centre counts most.

# %%
import torch.nn.functional as F

none = torch.zeros(3, 3)
none[1, 1] = 1
plain = torch.ones(3, 3) / 9
side = torch.tensor([1.0, 2.0, 1.0]) / 4
binomial = side[:, None] * side
print(binomial * 16, "/ 16")


def neighbourhood(feature_map, kernel):
    """(b, c, h, w) -> the same shape: a weighted mean over 3 x 3 cells, zero beyond the edge."""
    c = feature_map.shape[1]
    return F.conv2d(feature_map, kernel.expand(c, 1, 3, 3), padding=1, groups=c)

# %% [markdown]
# ## How do two grids become one?
#
# Layer 2 has 32 x 32 cells, layer 3 has 16 x 16. The coarser grid is stretched to the finer one
# (*bilinear*: between two cells, their weighted mean), and the vectors are put end to end. That is
# the whole recipe, and the package's functions agree with it.

# %%
from indad.features import concatenate, single


def patch_features(maps, kernel):
    """Maps (b, c_i, h_i, w_i) -> (b, sum of c_i, h_0, w_0)."""
    pooled = [neighbourhood(one, kernel) for one in maps]
    grid = pooled[0].shape[-2:]
    same = [one if one.shape[-2:] == grid else F.interpolate(one, grid, mode="bilinear")
            for one in pooled]
    return torch.cat(same, dim=1)


for kernel, package in ((none, single), (plain, concatenate), (binomial, weighted)):
    by_hand = patch_features(maps[2:4], kernel)
    assert torch.allclose(by_hand, package(maps[2:4]), atol=1e-4)
    print(f"{package.__name__:12}", tuple(by_hand.shape), "equal to the package's")

# %% [markdown]
# ### What the average does, in one experiment
#
# Draw a dark spot of 7 pixels onto a good photo, and ask how far each patch feature moved. Beside it,
# the *nuisance*: the same photo shifted by two pixels, which is no defect and should move little.

# %%
from PIL import Image, ImageDraw

good = photos[0]
spotted = good.copy()
ImageDraw.Draw(spotted).ellipse((150, 100, 156, 106), fill=(40, 40, 40))
shifted = good.transform(good.size, Image.Transform.AFFINE, (1, 0, 2, 0, 1, 0))
with torch.inference_mode():
    three = extractor(torch.stack([transform(one) for one in (good, spotted, shifted)]))[2:4]

moved = {}
for name, kernel in {"none": none, "binomial": binomial, "plain": plain}.items():
    before, spot, shift = patch_features(three, kernel) * scales[:, None, None]
    by_spot = (spot - before).norm(dim=0)
    by_shift = (shift - before).norm(dim=0)[4:-4, 4:-4].mean()
    moved[name] = by_spot
    wide = int((by_spot > by_spot.max() / 2).sum())
    print(f"{name:9} spot: {by_spot.max():5.2f} at most, {wide:2} patches above half of it; "
          f"shift: {by_shift:.2f} on average; ratio {by_spot.max() / by_shift:.2f}")

# %%
figure, axes = canvas(4, size=2.4)
panel(axes[0, 0], spotted, "a spot on a good gear")
for one, (name, change) in zip(axes[0, 1:], moved.items()):
    picture = one.imshow(change, cmap="inferno", vmin=0, vmax=float(moved["none"].max()))
    one.set_title(f"neighbourhood: {name}", fontsize=9)
figure.colorbar(picture, ax=axes, label="distance moved", shrink=0.8)
show(figure, "how far each patch feature moved because of the spot: highest and narrowest without a "
     "neighbourhood, lowest and widest with the plain average, binomial in between")

# %% [markdown]
# The average lowers both, the spot's trace and the harmless shift's, and spreads the spot over more
# patches. Binomial weights lie between. Here the ratio is best without any average; one spot on one
# part settles nothing, though, and what counts is the distance to the nearest of *many* good patches:
# `tests/benchmarks/accuracy.py` compares them on whole test sets.

# %% [markdown]
# ## Trap 1: no padding
#
# `avg_pool2d(map, 3, stride=1)` without `padding=1` loses a rim of one cell: 32 x 32 becomes 30 x 30.
# Stretch that back to 32 x 32, as a well-known implementation does, and nothing complains. Light
# a single column of cells, and see where it ends up.

# %%
from indad.features import unpadded
from matplotlib import pyplot as plt


def drift(recipe, size=32):
    """How far, in cells, each column of a map moves to the right in the patch features."""
    lit = torch.eye(size)[:, None, None].repeat(1, 1, size, 1)  # picture i: column i is lit
    seen = recipe([lit])[:, 0].mean(1)  # (picture, column)
    centre = (seen * torch.arange(size)).sum(1) / seen.sum(1)
    return centre - torch.arange(size)


figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
inner = slice(2, 30)
axes.plot(range(2, 30), drift(concatenate)[inner], "o", color=COLOURS[0], label="padding 1")
axes.plot(range(2, 30), drift(unpadded)[inner], "^", color=COLOURS[1],
          label="padding 0, stretched back")
axes.set(xlabel="column of the lit cell", ylabel="drift (cells)")
axes.legend()
show(figure, "drift of a lit column: zero everywhere with padding; without padding it is to the left in "
     "the left half and to the right in the right half")
typical = float(drift(unpadded)[inner].abs().median())
print(f"drift without padding: {typical:.2f} cells (median), which is {typical * CELL:.0f} pixels")

# %% [markdown]
# Without padding, the left half is reported too far left and the right half too far right; only the
# very middle stays. A score of the whole image does not ask where a patch lies. A heat map does.

# %% [markdown]
# ## From maps to rows
#
# Distances are between vectors, so from here on a patch is a *row*: `(b, d, h, w)` becomes
# `(b * h * w, d)`, image by image, and within an image row by row of its grid.

# %%
from indad.features import as_rows

features = patch_features(maps[2:4], binomial)
b, d, h, w = features.shape
rows = features.permute(0, 2, 3, 1).reshape(b * h * w, d)
assert torch.equal(rows, as_rows(features))
image, y, x = 4, 10, 15
assert torch.equal(rows[image * h * w + y * w + x], features[image, :, y, x])
print(tuple(features.shape), "->", tuple(rows.shape))

# %% [markdown]
# ## Trap 2: the reshape that forgets to permute
#
# `features.reshape(-1, d)` has the right shape too, but its rows mix numbers of one channel from
# neighbouring places. Nothing raises; only a picture tells.

# %%
wrong = features.reshape(b * h * w, d)
figure, axes = canvas(3, size=2.4)
panel(axes[0, 0], photos[0], "photo")
for one, table, title in zip(axes[0, 1:], (rows, wrong), ("permuted, then reshaped",
                                                          "only reshaped")):
    colours, _ = pca_colours(table.view(b, h, w, d).permute(0, 3, 1, 2))
    panel(one, colours[0], title)
show(figure, "rows laid back onto the grid as colours: the disc and its rim can be seen when axes were "
     "permuted, and only noise when they were just reshaped")

# %% [markdown]
# ## Does one layer drown the other?
#
# A squared distance is a sum over all numbers, so a layer with more or larger ones has more to say.
# `layer_scales` multiplies each layer by one factor, so that the total variance of both is equal.

# %%
def variances(table):
    """Total variance of the columns of layer 2 and of layer 3."""
    return torch.stack([part.var(0).sum() for part in table.split(channels, dim=1)])


factors = (rows.shape[1] / 2 / variances(rows)).sqrt()
assert torch.allclose(layer_scales(rows, channels),
                      factors.repeat_interleave(torch.tensor(channels)), rtol=1e-4)
balanced = rows * layer_scales(rows, channels)
for name, table in {"as they come": rows, "balanced": balanced}.items():
    share = variances(table) / variances(table).sum()
    print(f"{name:13} layer 2 has {share[0]:.0%} of the variance, layer 3 has {share[1]:.0%}")

# %% [markdown]
# These balanced rows are what the payoff figure compared, and what `PatchCore` remembers.

# %%
from indad import PatchCore

extracted = PatchCore(resize=256, device="cpu").extract(items)
assert torch.allclose(extracted.rows, rows, atol=1e-3)
print("PatchCore extracts the same", tuple(extracted.rows.shape), "rows; its fit balances them")

# %% [markdown]
# ## Exercise 01.1: patchify
#
# *Difficulty ●●●○○, 15 minutes.* The step in one function: average k x k neighbourhoods (plainly, k
# odd, zero beyond the edge, and those zeros count) and return one row for each patch.

# %% tags=["exercise"]
def patchify(feature_map, k):
    """(b, c, h, w) -> (b * h * w, c): the mean of the k x k cells around each cell."""
    ...  # your code here


from notebooks.checks import check

check("01.1", patchify)

# %% [markdown] tags=["hint"]
# `F.avg_pool2d(feature_map, k, stride=1, padding=?)`: a window of k keeps the size if it may stick out
# by (k - 1) / 2 on each side. Then bring the channels to the end before you flatten.

# %% tags=["solution"]
def patchify(feature_map, k):
    pooled = F.avg_pool2d(feature_map, k, stride=1, padding=k // 2)
    return pooled.permute(0, 2, 3, 1).reshape(-1, feature_map.shape[1])

# %% [markdown]
# ## Exercise 01.2: the receptive field, without a network
#
# *Difficulty ●●●○○, 15 minutes.* What the gradient probe measured can be worked out from kernels and
# strides alone. This is what the backbone does up to layer 2 (convolutions of one pixel add
# nothing):

# %%
steps = []
for name, module in extractor.network.named_modules():
    if name == "blocks.3":  # where layer 2 ends
        break
    if isinstance(module, torch.nn.Conv2d) and module.kernel_size[0] > 1:
        steps.append((module.kernel_size[0], module.stride[0]))
print("(kernel, stride) of each convolution:", steps)
print("measured above:", (measured[2], extractor.strides[2]))

# %% tags=["exercise"]
def receptive_field(steps):
    """Pixels that one cell sees across, and pixels between cells, after (kernel, stride) steps."""
    ...  # your code here


check("01.2", receptive_field)

# %% [markdown] tags=["hint"]
# Go through the steps with two numbers, the field and the stride so far, both 1 at first. A kernel of
# size k reaches over k - 1 gaps between cells of the map it reads, and each gap is as wide as the
# stride *before* this step.

# %% tags=["solution"]
def receptive_field(steps):
    field, stride = 1, 1
    for kernel, step in steps:
        field += (kernel - 1) * stride
        stride *= step
    return field, stride

# %% [markdown]
# ## Look closer
#
# With widgets, choose a photo: all its layers side by side.

# %%
explore(lambda photo: layers_figure(pictures, [photo]), photo=range(6),
        start={"photo": 3}, alt="one gear and its five feature maps as colours")

# %% [markdown]
# ## Recap
#
# - A feature map is a grid of vectors; places that look alike have vectors that are close.
# - A cell looks much farther than its stride, and weighs the middle most. Middle layers know what is
#   there and still where.
# - Patch features: average 3 x 3 neighbourhoods *with padding*, stretch to the first grid, put end to
#   end, balance the layers, one row a patch: `(b, d, h, w)` to `(b * h * w, d)`.
# - Shapes do not show a missing padding or a missing permute. Pictures do.
#
# **Next:** what to do with the rows. [02 · Memory bank, distance, score,
# map](02_memory_distance_score_map.ipynb).
