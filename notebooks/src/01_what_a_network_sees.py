# %% [markdown]
# # 01 · What a network sees in a patch
#
# A network that was trained to tell dogs from teapots has never seen a gear. Yet halfway through it,
# **a photo becomes a grid of vectors, and similar places get similar vectors**: pick a hole in one
# drawn gear, and the nearest vectors in another are its holes; pick a crack in a solar cell, and no good
# cell has anything near it. That is all that PatchCore needs from
# a network, and this notebook builds it: from pixels to *patch features*.
#
# **You will learn** to read feature maps, to measure how far one of their cells looks, to balance
# images, to average neighbourhoods, to join layers of different size, to lay everything out as rows,
# and to recognise two mistakes that raise no error.
#
# **You need** [00 · Find your first defect](00_find_your_first_defect.ipynb), and to know what a
# convolution is.
#
# TIMES

# %% [markdown] tags=["teacher"]
# - Sections 1 and 2 take 25 minutes. Draw a grid over a photo on the board before any code.
# - Learners take a feature map for a picture. Ask: "how many numbers has one cell?" (channels), "how many
#   cells?" (height times width).
# - Many think that the network was trained on gears. Ask what ImageNet holds.

# %% tags=["setup"]

# %% [markdown]
# ## Choose
#
# The form feeds all cells below. The text speaks of drawn gears and of EfficientNet-Lite0, which it
# begins with; titles and printed lines speak of what you chose.

# %% tags=["choose"]
from indad.notebook.choose import choose
chosen = choose(drawn="gear")

# %% [markdown]
# ## An image goes in, five grids come out
#
# A *backbone* is a network trained on ordinary photos (ImageNet), of which we use the inside only.
# Its layers hand out *feature maps*: at each cell of a coarse grid, a vector with one number for
# each *channel*. Three good gears and three defective ones go through it.

# %%
import torch

from indad.data.images import read_image
from indad.engine.precision import products

defective = [item for item in chosen.test if item.label]
items = [*chosen.train[:3], *defective[::max(len(defective) // 3, 1)][:3]]
layers, taken = chosen.layers(5)  # numbers of feature maps, and which of them PatchCore takes
extractor, transform = chosen.network(tuple(layers), resize=256)
pixels = torch.stack([transform(read_image(item.path)) for item in items])
side = pixels.shape[-1]
images = [read_image(item.path).resize((side, side)) for item in items]  # to look at


def feature_maps(pixels):
    """(b, 3, h, w) -> feature maps, shallowest first; computed on the chosen device."""
    with torch.inference_mode(), products("float32"):  # not rounded, as a GPU likes to do
        return [one.cpu() for one in extractor.to(chosen.device)(pixels.to(chosen.device))]

# %%
maps = feature_maps(pixels)
print("pixels ", tuple(pixels.shape), " (images, colours, height, width)")
for layer, one, stride in zip(layers, maps, extractor.strides):
    print(f"layer {layer}", tuple(one.shape), f" one cell every {stride} pixels"
          + (", taken by PatchCore" if layer in taken else ""))

# %% [markdown]
# The deeper, the fewer cells and the more channels. The distance between cells in pixels is called
# the *stride*. PatchCore takes two layers from the middle; here 2 and 3, the ones with 40 and 112
# channels. (A transformer keeps one grid from its first layer to its last.)

# %% [markdown]
# ## Similar places get similar vectors
#
# Take what this notebook will have built by its end, one vector for each of 32 x 32 places. Choose a
# place in the first image (cyan frame), and measure the distance from its vector to all vectors of
# other images. Bright is near; the six nearest are framed.

# %%
from indad.features import balanced, layer_scales, weighted
from indad.notebook.pictures import canvas, mark_box, panel
from indad.notebook.widgets import explore, show

def of_taken(values):
    """Of one value for each layer, those of the layers that PatchCore takes."""
    return [value for layer, value in zip(layers, values) if layer in taken]


channels = of_taken(extractor.channels)
features = weighted(balanced(of_taken(maps)))  # (images, 40 + 112, 32, 32)
scales = layer_scales(features.permute(0, 2, 3, 1).flatten(0, 2), channels)
features = features * scales[:, None, None]
height, width = features.shape[-2:]
cell = side / width  # pixels
last = min(4, len(items) - 1)  # a defective one

# %%
def box(row, column):
    return column * cell, row * cell, (column + 1) * cell, (row + 1) * cell


def similar_figure(row, column):
    """Where the vectors are that are nearest to that of one place of the first image."""
    vector = features[0, :, row, column]
    distances = (features - vector[:, None, None]).norm(dim=1)  # (images, 32, 32)
    figure, axes = canvas(4, size=2.5)
    panel(axes[0, 0], images[0], f"chosen: row {row}, column {column}")
    mark_box(axes[0, 0], box(row, column))
    for one, other in zip(axes[0, 1:], (1, 2, last)):
        panel(one, images[other], f"nearest in image {other} ({items[other].defect_type})")
        one.imshow(-distances[other], cmap="inferno", alpha=0.65, extent=(0, side, side, 0))
        for place in distances[other].flatten().argsort()[:6].tolist():
            mark_box(one, box(*divmod(place, width)))
    return figure

# %%
explore(similar_figure, row=range(height), column=range(width),
        start={"row": height * 10 // 32, "column": width * 15 // 32},
        alt=f"a place chosen in one image ({chosen.category}), and in three others the places with the "
            "nearest vectors, framed; in drawn gears a hole is chosen, and they lie at holes")

# %% [markdown]
# In the drawn gears the frame begins on a hole. Nobody told the network about holes, and the gears are
# turned differently. (With widgets, move the frame: onto a tooth, the keyway, the background.) A place
# whose vector has no near neighbour in any good image must be something new. That sentence is PatchCore.

# %% [markdown]
# ### Exercise 01.1: how many patches?
#
# *Difficulty ●○○○○, 2 minutes.* Each frame is one cell, a *patch*. A layer has a cell every `stride`
# pixels, in both directions. How many cells does it have for an image of so many pixels? (The stride
# divides both sides.)

# %% tags=["exercise"]
def count_cells(height, width, stride):
    """Sides of an image in pixels, and the stride -> how many cells the grid has."""
    ...  # your code here


from notebooks.checks import check

check("01.1", count_cells)

# %% [markdown] tags=["hint"]
# 256 pixels with a cell every 8 make 32 cells in a row. And there are as many rows as the other side
# holds. `//` divides whole numbers.

# %% tags=["solution"]
def count_cells(height, width, stride):
    return (height // stride) * (width // stride)

# %% [markdown]
# ### Real photos: what has a near neighbour, and what has none?
#
# Gears are drawings, and a drawing could be too easy. So the same with photos: one broken solar cell, and
# eight good ones. For each place of the broken cell, how far is the nearest vector in the good cells?

# %%
from indad.notebook.getting import solar_cells

cells = solar_cells()
broken = next((item for item in cells.test if item.path.stem == "cell0376"),
              next(item for item in cells.test if item.label))
solar = [broken, *cells.train[:8]]
looked_at = [read_image(item.path).resize((side, side)) for item in solar]
solar_maps = feature_maps(torch.stack([transform(read_image(item.path)) for item in solar]))
vectors = weighted(balanced(of_taken(solar_maps))).permute(0, 2, 3, 1).flatten(1, 2)
vectors = vectors * layer_scales(vectors[1:].flatten(0, 1), channels)  # (9, places, numbers)
apart = torch.cdist(vectors[0], vectors[1:].flatten(0, 1))             # to all places of good cells
nearest = apart.amin(1)
usual, odd = int(nearest.argsort()[len(nearest) // 2]), int(nearest.argmax())

# %%
figure, axes = canvas(4, rows=2, size=2.4)
for line, place, word in zip(axes, (usual, odd), ("usual", "oddest")):
    panel(line[0], looked_at[0], f"{word} place: nearest at {nearest[place]:.1f}")
    mark_box(line[0], box(*divmod(place, width)))
    for good_cell, one in enumerate(line[1:], start=1):
        far = (vectors[good_cell] - vectors[0, place]).norm(dim=1)
        panel(one, looked_at[good_cell], f"good one: nearest at {far.min():.1f}")
        one.imshow(-far.view(height, width), cmap="inferno", alpha=0.65, extent=(0, side, side, 0),
                   vmin=-float(apart.max()), vmax=0)
        for match in far.argsort()[:6].tolist():
            mark_box(one, box(*divmod(match, width)))
show(figure, f"two places of a defective one of {cells.name}, and where three good ones have the nearest "
     "vectors, framed: a usual place finds its like, the oddest one only what is far")

# %% [markdown]
# Bright is near, on one scale for all six. Above, a usual place of the broken cell, between its bars: most
# of a good cell is like it. Below, the oddest place, on one of two cracks that run side by side. The framed
# places are the nearest that good cells have to offer, and they are about twice as far. Nobody trained
# the network on solar cells. (ELPV's photos; the line above the figure says whose they are.)

# %% [markdown]
# **Think:** a network learned to name dogs and teapots. Why are its vectors of any use for gears and solar
# cells?

# %% [markdown] tags=["answer"]
# To tell a thousand kinds of things apart, it had to learn what all photos are made of: edges, corners,
# stripes, textures, round and pointed shapes, and what they look like under another light. Gears and
# cracks are made of the same. What is special to dogs sits in the last layers, which PatchCore leaves
# out. Where photos are made otherwise (X-rays, say, or radar), the vectors help less, and one has to
# measure.

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
    """One row for each image: the image, then each layer in false colours."""
    figure, axes = canvas(len(pictures) + 1, rows=len(rows), size=1.75)
    for line, place in zip(axes, rows):
        panel(line[0], images[place], items[place].defect_type)
        for one, layer, (colours, share) in zip(line[1:], layers, pictures):
            panel(one, colours[place], f"layer {layer} ({share:.0%} shown)")
    return figure

# %%
pictures = [pca_colours(one) for one in maps]
show(layers_figure(pictures, [0, last]),
     f"two images ({chosen.category}) and their feature maps, shallowest first, as colours; of drawn "
     "gears first edges, then teeth and holes, then rim, disc and background")

# %% [markdown]
# With gears and EfficientNet-Lite0, layer 0 is hardly more than the image, and layer 1 mostly edges and
# their direction. In layer 2, holes and teeth stand out; in layer 3, whole regions get a colour each:
# background, toothed rim, disc. Layer 4 has 8 x 8 cells left, which say little more than how far they
# are from the middle. So the middle layers know *what* is there and still *where*: hence 2 and 3.

# %% [markdown]
# **Think:** you look for scratches that are one pixel wide, and somebody else for parts on which a whole
# hole is missing. Who should take which layers?

# %% [markdown] tags=["answer"]
# A scratch of one pixel is strong in shallow layers, whose cells are small and see little around them; in
# deep ones it is averaged away. A missing hole is no odd texture: what is there, plain metal, is found
# everywhere else on the part. It takes a cell that sees enough around itself to know that a hole
# belongs there, so a deeper layer. PatchCore takes two layers from the middle as a bet on both.

# %% [markdown]
# ## How far does one cell look?
#
# Each convolution adds a rim to what a cell depends on, its *receptive field*. It can be measured:
# feed noise, and ask by backpropagation which pixels would move the middle cell at all.

# %%
def gradient_probes(wanted, side, seed=0):
    """How much each pixel moves the middle cell of each layer, (side, side) a layer."""
    generator, probes = torch.Generator().manual_seed(seed), {}
    noise = torch.randn(1, 3, side, side, generator=generator).requires_grad_()
    for layer, one in zip(layers, extractor.cpu()(noise)):  # a single picture needs no GPU
        if layer in wanted:
            middle = one.shape[-1] // 2
            weights = torch.randn(one.shape[1], generator=generator)
            value = one[0, :, middle, middle] @ weights
            gradient = torch.autograd.grad(value, noise, retain_graph=True)[0]
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
    return 0, 0, len(probe)

# %%
strides, measured = dict(zip(layers, extractor.strides)), {}
field = 448 if len(set(extractor.strides)) > 1 else side  # transformers take the size they were made for
probes = gradient_probes(layers[1:4], field)
for layer, probe in probes.items():
    touched = (probe.sum(0) > 0).nonzero()  # columns with any influence
    measured[layer] = int(touched.max() - touched.min() + 1)
    print(f"layer {layer}: a cell every {strides[layer]:2} pixels sees {measured[layer]:3} of {field}"
          f" pixels; 90 % of the influence comes from {square_with(0.9, probe)[2]:3}")

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
    left, top, width_90 = square_with(0.9, probe)
    one.add_patch(Rectangle((left, top), width_90, width_90, fill=False, edgecolor=COLOURS[1],
                            linewidth=2, linestyle="--"))
    one.add_patch(Rectangle(((field - side) / 2,) * 2, side, side, fill=False, linestyle=":"))
    one.set(xlim=(0, field), ylim=(field, 0))
    one.set_title(f"layer {layer}: {measured[layer]} px, 90 % within {width_90} px", fontsize=10)
show(figure, f"influence of each pixel on one cell of layers {', '.join(map(str, probes))}: the "
     "receptive field is drawn as a solid blue square, the dashed orange square inside it holds 90 "
     "percent, and a dotted square is as large as one of the images")

# %% [markdown]
# All three are drawn to one scale; the dotted square is as large as our images. A field is many
# strides wide, so neighbouring cells share most of what they see. That of EfficientNet-Lite0's layer 3
# is wider than an image, but most of the influence comes from the dashed square, near the middle. So a
# cell says "what is here, and what is around it", not just "what is in my 16 pixels". (In a transformer
# each cell looks at all others, so its field is the whole picture from the first layer on.)

# %% [markdown]
# ### Exercise 01.2: the receptive field, without a network
#
# *Difficulty ●●●●○, 30 minutes.* What the gradient probe measured can be worked out from kernels and
# strides alone. This is what EfficientNet-Lite0 does up to its layer 2 (convolutions of one pixel add
# nothing):

# %%
from indad.backbones.loading import load_backbone

steps, (lite, _) = [], load_backbone("efficientnet_lite0")
for name, module in lite.network.named_modules():
    if name == "blocks.3":  # where layer 2 ends
        break
    if isinstance(module, torch.nn.Conv2d) and module.kernel_size[0] > 1:
        steps.append((module.kernel_size[0], module.stride[0]))
print("(kernel, stride) of each convolution:", steps)
if chosen.backbone == "efficientnet_lite0":
    print("measured above:", (measured[2], strides[2]))

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
# ## What if an image has less light?
#
# Draw a spot of 7 pixels onto a good image, and take both with half and with a quarter of the light: the
# same part, the same defect. The darker, the less the vectors vary over the image, and the less far the
# spot moves those that see it. So a defect in a dark image looks nearer to good than it is.

# %%
from PIL import Image, ImageDraw

good, x, y = images[0], 150 * side // 256, 100 * side // 256
spotted = good.copy()
grey = 40 if good.convert("L").getpixel((x, y)) > 60 else 220  # dark, on what is dark bright
ImageDraw.Draw(spotted).ellipse((x, y, x + 6, y + 6), fill=(grey, grey, grey))
lights = (1, 1 / 2, 1 / 4)
lit = [[image.point([int(value * light) for value in range(256)] * 3) for light in lights]
       for image in (good, spotted)]
without, with_spot = (of_taken(feature_maps(torch.stack([transform(image) for image in photos_lit])))
                      for photos_lit in lit)

# %% [markdown]
# The remedy is a division: each image's map by its own *standard deviation* over the places, all channels
# together. It asks for no other image, so it works for one that comes alone.

# %%
def balance(feature_map):
    """(b, c, h, w) -> the same shape: each image's map has a total variance of 1 over its places."""
    variance = feature_map.var(dim=(2, 3), correction=0).sum(dim=1)  # (b,): one number an image
    return feature_map / variance.sqrt()[:, None, None, None]


for layer, before, after in zip(taken, without, with_spot):
    for name, step in {"as it comes": lambda one: one, "balanced": balance}.items():
        far = (step(after) - step(before)).norm(dim=1).amax((1, 2))  # of the cell moved most
        print(f"layer {layer}, {name:11}: with full, half and quarter light the spot is "
              + ", ".join(f"{share:.0%}" for share in far / far[0]) + " as far")

for by_hand, package in zip(map(balance, of_taken(maps)), balanced(of_taken(maps))):
    assert torch.allclose(by_hand, package, rtol=1e-5, atol=1e-6 * float(package.abs().max()))

# %% [markdown]
# On the drawn gear most of the loss is made good. Not all that less light does is: it also moves the
# vectors of good places, and no factor brings them back. So the lamp above a line should stay as it is
# (lesson 09 watches it); the balance is for what differs a little from image to image.

# %% [markdown]
# ## Why average a neighbourhood?
#
# PatchCore then blurs each map over 3 x 3 cells before comparing: a good part may lie a little off, and
# single cells flicker. The paper averages plainly (each of nine cells counts 1/9); the default of
# this package takes *binomial* weights, in which the centre counts most.

# %%
import torch.nn.functional as F

none = torch.zeros(3, 3)
none[1, 1] = 1
plain = torch.ones(3, 3) / 9
line = torch.tensor([1.0, 2.0, 1.0]) / 4
binomial = line[:, None] * line
print(binomial * 16, "/ 16")


def neighbourhood(feature_map, kernel):
    """(b, c, h, w) -> the same shape: a weighted mean over 3 x 3 cells, zero beyond the edge."""
    c = feature_map.shape[1]
    return F.conv2d(feature_map, kernel.expand(c, 1, 3, 3), padding=1, groups=c)

# %% [markdown]
# ## How do two grids become one?
#
# In EfficientNet-Lite0, layer 2 has 32 x 32 cells, layer 3 has 16 x 16. The coarser grid is stretched to the finer one
# (*bilinear*: between two cells, their weighted mean), and the vectors are put end to end.

# %% [markdown]
# ### Exercise 01.3: join the grids
#
# *Difficulty ●●○○○, 10 minutes.* Stretch every map to the grid of the first, and join the channels, in the
# order of the maps. The lesson goes on with your function once it is right.

# %% tags=["exercise"]
def join(maps):
    """Maps (b, c_i, h_i, w_i), a list -> (b, sum of c_i, h_0, w_0), on the grid of the first."""
    ...  # your code here


from indad.features import single

joined = check("01.3", join, otherwise=single)

# %% [markdown] tags=["hint"]
# `F.interpolate(one, size, mode="bilinear")` stretches; the size is `maps[0].shape[-2:]`. Leave
# `align_corners` as it is. `torch.cat(several, dim=?)` joins: which dimension is that of the channels?

# %% tags=["solution"]
def join(maps):
    grid = maps[0].shape[-2:]
    same = [F.interpolate(one, grid, mode="bilinear") for one in maps]
    return torch.cat(same, dim=1)

# %% [markdown]
# Averaging and joining are the whole recipe, and the package's functions agree with it.

# %%
from indad.features import concatenate


def patch_features(maps, kernel):
    """Maps (b, c_i, h_i, w_i) -> (b, sum of c_i, h_0, w_0)."""
    return joined([neighbourhood(one, kernel) for one in maps])


for kernel, package in ((none, single), (plain, concatenate), (binomial, weighted)):
    by_hand = patch_features(of_taken(maps), kernel)
    assert torch.allclose(by_hand, package(of_taken(maps)), atol=1e-5 * float(by_hand.abs().max()))
    print(f"{package.__name__:12}", tuple(by_hand.shape), "equal to the package's")

# %% [markdown]
# ### What the average does, in one experiment
#
# Ask how far the spot on the good image moved each patch feature. Beside it, the *nuisance*: the
# same image shifted by two pixels, which is no defect and should move little.

# %%
shifted = good.transform(good.size, Image.Transform.AFFINE, (1, 0, 2, 0, 1, 0))
three = feature_maps(torch.stack([transform(one) for one in (good, spotted, shifted)]))
three = [balance(one) for one in of_taken(three)]

moved, rim = {}, height // 8
for name, kernel in {"none": none, "binomial": binomial, "plain": plain}.items():
    before, spot, shift = patch_features(three, kernel) * scales[:, None, None]
    by_spot = (spot - before).norm(dim=0)
    by_shift = (shift - before).norm(dim=0)[rim:-rim, rim:-rim].mean()
    moved[name] = by_spot
    wide = int((by_spot > by_spot.max() / 2).sum())
    print(f"{name:9} spot: {by_spot.max():5.2f} at most, {wide:2} patches above half of it; "
          f"shift: {by_shift:.2f} on average; ratio {by_spot.max() / by_shift:.2f}")

# %%
figure, axes = canvas(4, size=2.4)
panel(axes[0, 0], spotted, f"a spot on a good image ({chosen.category})")
for one, (name, change) in zip(axes[0, 1:], moved.items()):
    picture = one.imshow(change, cmap="inferno", vmin=0, vmax=float(moved["none"].max()))
    one.set_title(f"neighbourhood: {name}", fontsize=9)
figure.colorbar(picture, ax=axes, label="distance moved", shrink=0.8)
show(figure, "how far each patch feature moved because of the spot; on the drawn gear highest and "
     "narrowest without a neighbourhood, lowest and widest with the plain average, binomial between")

# %% [markdown]
# The average lowers both, the spot's trace and the harmless shift's, and spreads the spot over more
# patches. Binomial weights lie between. On the drawn gear the ratio is best without any average; one spot
# on one part settles nothing, though, and what counts is the distance to the nearest of *many* good patches:
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
print(f"drift without padding: {typical:.2f} cells (median), which is {typical * cell:.0f} pixels")

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

features = patch_features([balance(one) for one in of_taken(maps)], binomial)
b, d, h, w = features.shape
rows = features.permute(0, 2, 3, 1).reshape(b * h * w, d)
assert torch.equal(rows, as_rows(features))
image, y, x = last, h // 3, w // 2
assert torch.equal(rows[image * h * w + y * w + x], features[image, :, y, x])
print(tuple(features.shape), "->", tuple(rows.shape))

# %% [markdown]
# ### Exercise 01.4: where does this row come from?
#
# *Difficulty ●●○○○, 10 minutes.* Later, somebody asks what row 2611 of the table is. Return its image, its
# row in the grid and its column, all counted from 0.

# %% tags=["exercise"]
def place_of(row, h, w):
    """The number of a row, and the grid -> (image, y, x)."""
    ...  # your code here


check("01.4", place_of)

# %% [markdown] tags=["hint"]
# Each image has `h * w` rows, so the image is what `//` says of that, and `%` says what is left over. The
# same once more with `w`.

# %% tags=["solution"]
def place_of(row, h, w):
    image, place = divmod(row, h * w)
    y, x = divmod(place, w)
    return image, y, x

# %% [markdown] tags=["teacher"]
# - 15 minutes for rows, 01.4 and trap 2. Let them lay out a table of 2 x 2 x 3 numbers by hand.
# - The usual mistake in 01.4 swaps height and width; a square grid hides it, so the check has none.
# - Ask: which of the two traps would a test of shapes have found? (The first, before it is stretched.)
# - 01.5 is the lesson in one function; whoever has it can skip ahead to lesson 02.

# %% [markdown]
# ## Trap 2: the reshape that forgets to permute
#
# `features.reshape(-1, d)` has the right shape too, but its rows mix numbers of one channel from
# neighbouring places. Nothing raises; only a picture tells.

# %%
wrong = features.reshape(b * h * w, d)
figure, axes = canvas(3, size=2.4)
panel(axes[0, 0], images[0], "image")
for one, table, title in zip(axes[0, 1:], (rows, wrong), ("permuted, then reshaped",
                                                          "only reshaped")):
    colours, _ = pca_colours(table.view(b, h, w, d).permute(0, 3, 1, 2))
    panel(one, colours[0], title)
show(figure, "rows laid back onto the grid as colours: the part (of a gear, disc and rim) can be seen when "
     "axes were permuted, and only noise when they were just reshaped")

# %% [markdown]
# ### Exercise 01.5: patchify
#
# *Difficulty ●●●○○, 15 minutes.* The step in one function, and a shape does not tell whether
# it is right: average k x k neighbourhoods (plainly, k odd, zero beyond the edge, and those zeros count)
# and return one row for each patch.

# %% tags=["exercise"]
def patchify(feature_map, k):
    """(b, c, h, w) -> (b * h * w, c): the mean of the k x k cells around each cell."""
    ...  # your code here


check("01.5", patchify)

# %% [markdown] tags=["hint"]
# `F.avg_pool2d(feature_map, k, stride=1, padding=?)`: a window of k keeps the size if it may stick out
# by (k - 1) / 2 on each side. Then bring the channels to the end before you flatten.

# %% tags=["solution"]
def patchify(feature_map, k):
    pooled = F.avg_pool2d(feature_map, k, stride=1, padding=k // 2)
    return pooled.permute(0, 2, 3, 1).reshape(-1, feature_map.shape[1])

# %% [markdown]
# ## Does one layer drown the other?
#
# A squared distance is a sum over all numbers, so a layer with more or larger ones has more to say.
# `layer_scales` multiplies each layer by one factor, so that the total variance of both is equal: over
# all images that are learned, and after the averages. The balance of each image leaves little to do.

# %%
def variances(table):
    """Total variance of the columns of each layer."""
    return torch.stack([part.var(0).sum() for part in table.split(channels, dim=1)])


factors = (rows.shape[1] / len(channels) / variances(rows)).sqrt()
assert torch.allclose(layer_scales(rows, channels),
                      factors.repeat_interleave(torch.tensor(channels)), rtol=1e-4)
scaled = rows * layer_scales(rows, channels)
as_they_come = as_rows(patch_features(of_taken(maps), binomial))
for name, table in {"as they come": as_they_come, "images balanced": rows,
                    "layers scaled too": scaled}.items():
    shares = variances(table) / variances(table).sum()
    print(f"{name:17} share of the variance:",
          ", ".join(f"layer {layer} {share:.0%}" for layer, share in zip(taken, shares)))

# %% [markdown]
# These scaled rows are what the first figure compared, place by place, and what `PatchCore` remembers.

# %%
from indad import PatchCore

extracted = PatchCore(**chosen.options(resize=256)).extract(items)
assert torch.allclose(extracted.rows.cpu(), rows, rtol=1e-4, atol=1e-4 * float(rows.abs().max()))
print("PatchCore extracts the same", tuple(extracted.rows.shape), "rows; its fit scales them")

# %% [markdown]
# ## Look closer
#
# With widgets, choose an image: all its layers side by side.

# %%
explore(lambda image: layers_figure(pictures, [image]), image=range(len(images)),
        start={"image": 3}, alt=f"one image ({chosen.category}) and its feature maps as colours")

# %% [markdown]
# ## Recap
#
# - A feature map is a grid of vectors; places that look alike have vectors that are close.
# - A cell looks much farther than its stride, and weighs the middle most. Middle layers know what is
#   there and still where.
# - Patch features: balance each image's maps, average 3 x 3 neighbourhoods *with padding*, stretch to
#   the first grid, put end to end, one row a patch: `(b, d, h, w)` to `(b * h * w, d)`. Scale the layers.
# - Shapes do not show a missing padding or a missing permute. Pictures do.
#
# **Next:** what to do with the rows. [02 · Memory bank, distance, score,
# map](02_memory_distance_score_map.ipynb).
