# %% [markdown]
# # 06 · Backbones: ImageNet, CLIP, self-supervised, anti-aliased
#
# PatchCore learns nothing but which patches are good; how a patch *looks* to it is decided by the
# **backbone**, a network that somebody else trained for another purpose. **Changing it is one word.
# Feeding it wrongly is one word too, can cost more than another backbone gains, and raises no error.**
# Below: a drawn defect and a real one through several networks, what each must be fed with, what a
# transformer hands out instead of feature maps, and a comparison in which nothing but the backbone differs.
#
# **You will learn** to choose a backbone by family, size and licence, to feed it what it was trained with,
# to turn tokens into a map, to join two networks, and to compare fairly.
#
# **You need** lessons [01](01_what_a_network_sees.ipynb) and [02](02_memory_distance_score_map.ipynb);
# lesson 04 for what an AUROC can prove.
#
# TIMES

# %% tags=["setup"]

# %% [markdown]
# ## Choose
#
# Three backbones come with the package, so that all this runs offline. With a network connection,
# choose another line or write your own (names of the table below, or any of timm's, separated by
# commas): their weights are downloaded once. On a GPU, larger sets of photos are worth it too. The text
# speaks of the drawn gears, whose masks say where each defect is, and of the three packaged networks;
# numbers that depend on the choice are printed.

# %% tags=["choose"]
from indad.notebook.choose import choose
chosen = choose(drawn="gear", backbone="efficientnet_lite0, efficientnet_lite1, efficientnet_lite2")

# %% [markdown]
# ## One defect, several pairs of eyes
#
# All get the same images, the same share of patches and the same image size; where a network cuts the
# image into patches, the nearest size that they divide. Extracting features is what takes long, so each
# is extracted once; a fit with another seed starts from there.

# %%
import numpy as np

names = chosen.backbones

def spread(items, count):
    """So many of the items, in equal steps from the first: neighbours are often of one batch."""
    return list(items)[::max(len(items) // count, 1)][:count]

learn = spread(chosen.train, 12)
judged = [*spread([item for item in chosen.test if not item.label], 12),
          *spread([item for item in chosen.test if item.label], 15)]
labels = np.array([item.label for item in judged])

# %%
from functools import cache

from indad import PatchCore


@cache
def extracted(name, **more):
    """A model with its backbone loaded, and the features of both sets of images."""
    model = PatchCore(**chosen.options(backbone=name, resize=160, coreset_ratio=0.05, **more))
    return model, model.extract(learn), model.extract(judged)

@cache
def judge(name, seed=0, ratio=0.05, **more):
    """A fitted model, and what it says about the images to be judged."""
    loaded, good, new = extracted(name, **more)
    model = PatchCore(**loaded.get_params() | dict(seed=seed, coreset_ratio=ratio))
    model.prepare(shared=loaded)
    return model.fit_features(good), model.predict_features(new)

# %%
from indad.data.images import read_image
from indad.notebook.pictures import canvas, heated, outline, panel, scale_of
from indad.notebook.widgets import show

first = judge(names[0])[1].scores
defective = np.flatnonzero(labels)
shown = [defective[np.argmax(first[defective])], defective[np.argmin(first[defective])]]
figure, axes = canvas(len(names) + 1, rows=2, size=2.4)
for line, i in zip(axes, shown):
    photo, mask = read_image(judged[i].path), judged[i].mask()
    panel(line[0], photo, judged[i].defect_type + (", outlined" if mask is not None else ""))
    if mask is not None:
        outline(line[0], mask)
    for one, name in zip(line[1:], names):
        _, prediction = judge(name)
        panel(one, heated(photo, prediction.maps[i], scale_of(prediction, labels)),
              f"{name}\nscore {prediction.scores[i]:.2f}")
show(figure, f"{chosen.category}: two defects, and the anomaly maps of each backbone for them")

# %% [markdown]
# Above, the defect that the first backbone finds most obvious; below, the one that it finds least so. All
# maps of one backbone share a scale that begins at the usual peak of a good image: no heat, no find.
# Scores of different backbones have different units: compare where maps are hot, and rankings
# (AUROC, further down), never the scores themselves.

# %% [markdown]
# ### And a real one
#
# Those were drawings. Here are photos of real solar cells: each network learns from eight good ones, and judges
# three more good ones and four with a defect that an expert saw. No mask says where it is; look for yourself.

# %%
from indad.notebook.getting import solar_cells

cells = solar_cells()
real_learn = spread(cells.train, 8)
real = [*spread([item for item in cells.test if not item.label], 3),
        *spread([item for item in cells.test if item.label], 4)]
real_labels = np.array([item.label for item in real])
verdicts = {}
for name in names:
    model = PatchCore(**extracted(name)[0].get_params())
    model.prepare(shared=extracted(name)[0])  # the network is there already
    verdicts[name] = model.fit(real_learn).predict(real)
worst = int(np.argmax(np.where(real_labels, verdicts[names[0]].scores, -np.inf)))
figure, axes = canvas(len(names) + 1, size=2.4)
photo = read_image(real[worst].path)
panel(axes[0, 0], photo, f"{cells.name}: {real[worst].defect_type}")
for one, (name, prediction) in zip(axes[0, 1:], verdicts.items()):
    usual = prediction.scores[real_labels == 0].max()
    panel(one, heated(photo, prediction.maps[worst], scale_of(prediction, real_labels)),
          f"{name}\nscore {prediction.scores[worst]:.2f}, good up to {usual:.2f}")
show(figure, f"{cells.name}: one defective, and its anomaly maps through each backbone")

# %% [markdown]
# The networks were never shown a solar cell, nor a photo that was taken like this one, in infrared light that
# the cell itself gives off. Where all maps are hot, the defect is no matter of taste.
#
# **Think:** why may scores of two backbones not be compared, while their AUROCs may?

# %% [markdown] tags=["answer"]
# A score is a distance between features, and each network's features have their own number, scale and spread: 9
# in one can be usual, and in another alarming. AUROC only asks about the *order* of the images within one
# backbone, so units cancel. (Ranks among good parts, lesson 05, can be compared too.)

# %% [markdown]
# ## Which are there?
#
# One table, the **registry**, says for each name which weights, layers, pixel statistics and image
# size belong together. `find_backbone` also finds the thousand others of
# [timm](https://github.com/huggingface/pytorch-image-models).

# %%
from indad import BACKBONES

print(f"{'name (*: packaged)':<28}{'trained as':<17}{'MB':>3}  licence")
for row in BACKBONES.values():
    name = row.name + " *" * bool(row.package)
    print(f"{name:<28}{row.family:<17}{row.weights_mb:>3}  {row.licence}")

# %% [markdown]
# - **ImageNet**: told 1.3 million photos apart by 1,000 names. The default of nearly all published results.
# - **CLIP**: learned which caption belongs to which of 400 million photos.
# - **self-supervised** (DINO and its successors): learned, without any names, that two crops of a photo
#   belong together.
# - **anti-aliased**: ImageNet again, with a blur before each step that drops pixels, so that shifting the photo by a
#   pixel hardly changes the features.
#
# Mind the licence column before you sell anything: what a network may be used for is decided by it,
# not by the licence of the program around it.

# %% [markdown]
# ### Exercise 06.1: what may be shipped?
#
# *Difficulty ●○○○○, 3 minutes.* Your product may use weights under some licences only, and its memory is small.
# Which names are left? Each row is a dict with `name`, `licence` and `weights_mb`.

# %% tags=["exercise"]
def shippable(rows, licences, most_mb):
    """Names of rows with one of `licences` and at most `most_mb`, in the order of the rows."""
    ...  # your code here


from notebooks.checks import check

check("06.1", shippable)

# %% [markdown] tags=["hint"]
# `[row["name"] for row in rows if ...]`, and two conditions with `and` between them.

# %% tags=["solution"]
def shippable(rows, licences, most_mb):
    return [row["name"] for row in rows
            if row["licence"] in licences and row["weights_mb"] <= most_mb]

# %% [markdown] tags=["teacher"]
# - 15 minutes to here. Ask first what the network was trained for, and why it should know anything of gears.
# - Wrong idea: the backbone with the best ImageNet accuracy is the best for defects. Nobody asked it for
#   scratches; to name a dog one had better ignore them.
# - Some take licences for a formality. Show one in the table that forbids selling.

# %% [markdown]
# ## What does a network have to be fed with?
#
# Every network was trained on pixels minus a **mean**, divided by a **standard deviation**, and not all used
# the same. By hand, that is one line.

# %%
import torch

lite, _ = judge("efficientnet_lite0")
transform, (height, width) = lite.transform_, lite.size_
small = read_image(judged[0].path).resize((width, height), 2)  # 2: bilinear
pixels = torch.from_numpy(np.array(small)).permute(2, 0, 1) / 255
mean, std = (torch.tensor(values)[:, None, None] for values in (transform.mean, transform.std))
by_hand = (pixels - mean) / std
assert torch.allclose(by_hand, transform(read_image(judged[0].path)), atol=1e-5)
print(f"efficientnet_lite0: mean {transform.mean}, std {transform.std}")
print(f"its pixels go from {by_hand.min():.2f} to {by_hand.max():.2f}")

# %% [markdown]
# Most published code writes the ImageNet constants (0.485, 0.456, 0.406) into the program, for
# every network. Here is what that does to one that was trained with others.

# %%
from matplotlib import pyplot as plt

from indad.metrics import image_metrics
from indad.notebook.pictures import DEFECTIVE, GOOD


def auroc(prediction):
    return image_metrics(prediction.scores, labels)["image_auroc"]

def aurocs(name, **more):
    return [auroc(judge(name, seed, **more)[1]) for seed in range(3)]

def one_for_each_seed(axes, values, place, marker="o", colour=GOOD):
    """A marker for each seed, one above the other: equal values are seen as several."""
    heights = place + 0.22 * (np.arange(len(values)) - (len(values) - 1) / 2)
    axes.plot(values, heights, marker, color=colour, alpha=0.8)
    axes.axhline(place + 0.5, color="#cccccc", linewidth=0.8)

def over_seeds(values):
    """Mean and spread in words; equal values of all seeds are said to be that."""
    if not np.ptp(values):
        return f"{values[0]:.3f} for each of {len(values)} seeds"
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f} over {len(values)} seeds"

# %%
rows = {"its own statistics": aurocs("efficientnet_lite0"),
        "ImageNet's": aurocs("efficientnet_lite0", normalization="imagenet")}
figure, axes = plt.subplots(figsize=(6.5, 1.9), layout="constrained")
for place, (name, values) in enumerate(rows.items()):
    one_for_each_seed(axes, values, place, "^" if place else "o", DEFECTIVE if place else GOOD)
    print(f"{name}: image AUROC {over_seeds(values)}")
axes.set_yticks(range(2), rows)
axes.set(xlabel="image AUROC, one marker for each seed, one above the other", ylim=(1.5, -0.5),
         title=f"efficientnet_lite0 on {chosen.category}: the same weights, other constants")
show(figure, "image AUROC with the network's own pixel statistics and with ImageNet's, three seeds each")
own, others = map(np.mean, rows.values())
print(f"ImageNet's constants change it by {others - own:+.3f}")

# %% [markdown]
# Nothing fails and no warning appears: the network answers, on the drawn gears only worse. So the
# constants belong in the registry, beside the weights. Three seeds and 27 images prove little (lesson 04); that
# something was fed wrongly needs no proof.

# %% [markdown]
# ### Exercise 06.2: other constants
#
# *Difficulty ●●○○○, 10 minutes.* An ensemble gets pictures that are already normalised for its first network, and
# must hand them to the second one as that would have normalised them. Write this step.

# %% tags=["exercise"]
def renormalise(images, mean, std, other_mean, other_std):
    """Images (n, 3, h, w) that were normalised with mean, std -> as other_mean, other_std would.

    Each of the four is a tuple of 3 numbers, one for each colour.
    """
    ...  # your code here


check("06.2", renormalise)

# %% [markdown] tags=["hint"]
# Go back to the pixels first (`images * std + mean`), then forward. Tuples become tensors of shape
# `(3, 1, 1)`, so that they apply to colours and not to columns.

# %% tags=["solution"]
import torch

def renormalise(images, mean, std, other_mean, other_std):
    mean, std, other_mean, other_std = (torch.tensor(values).view(3, 1, 1) for values in
                                        (mean, std, other_mean, other_std))
    return (images * std + mean - other_mean) / other_std

# %% [markdown]
# ## Feature maps or tokens?
#
# A **convolutional network** (CNN) hands out maps: the deeper, the coarser and the wider. A **vision
# transformer** (ViT) cuts the picture into squares, turns each into a **token**, a vector, and lets all
# tokens look at each other in every block; its grid never shrinks. No weights of a ViT are packaged,
# so the one below, a tiny one, is filled with *random* numbers: its shapes are real, its accuracy is not shown.

# %%
from indad import load_backbone

torch.manual_seed(0)
image = by_hand[None]  # the picture from above, (1, 3, height, width)
cnn, _ = load_backbone("efficientnet_lite0", layers=(1, 2, 3, 4), resize=(height, width))
random_vit, _ = load_backbone("vit_tiny_patch16_224", layers=(11,), resize=(height, width),
                              pretrained=False)
for name, network in {"efficientnet_lite0": cnn, "ViT, random": random_vit}.items():
    for stride, feature_map in zip(network.strides, network(image)):
        print(f"{name:<22} stride {stride:>2}: {tuple(feature_map.shape)}")

# %% [markdown]
# ### Exercise 06.3: how fine is the grid?
#
# *Difficulty ●●○○○, 8 minutes.* A network is a row of steps, each with a kernel, a stride and a padding. A step
# makes of n pixels ⌊(n + 2 · padding - kernel) / stride⌋ + 1. How many places does it hand out, and how many
# pixels of the photo lie between two of them? (The first step of a ViT is `(16, 16, 0)`, and there is no other.)

# %% tags=["exercise"]
def grid_of(pixels, steps):
    """-> (places, stride) after `steps`, each (kernel, stride, padding), on a side of `pixels`."""
    ...  # your code here


check("06.3", grid_of)

# %% [markdown] tags=["hint"]
# Go through the steps one by one with two numbers. The places of one step are the pixels of the next; strides
# multiply.

# %% tags=["solution"]
def grid_of(pixels, steps):
    total = 1
    for kernel, stride, padding in steps:
        pixels = (pixels + 2 * padding - kernel) // stride + 1
        total *= stride
    return pixels, total

# %% [markdown]
# ### From tokens to a map
#
# What comes out of a ViT is `(images, tokens, width)`. The first token (in some networks the first
# few) stands for no place at all: it must go. The rest lie row by row, as one reads.

# %% [markdown]
# ### Exercise 06.4: tokens to a map
#
# *Difficulty ●●●○○, 10 minutes.* Turn the tokens of a ViT into a feature map. The grid need not be
# square, and some networks have several tokens in front that stand for no place. The check plants a
# bright square and looks where it comes out. The cells below go on with yours.

# %% tags=["exercise"]
def tokens_to_map(tokens, grid, prefix):
    """Tokens (n, prefix + rows * columns, d), grid (rows, columns) -> map (n, d, rows, columns)."""
    ...  # your code here


def by_torch(tokens, grid, prefix):
    return tokens[:, prefix:].unflatten(1, grid).movedim(-1, 1)


to_map = check("06.4", tokens_to_map, otherwise=by_torch)

# %% [markdown] tags=["hint"]
# `reshape` keeps numbers in their order in memory. As it is, the d numbers of a token come one after the
# other; they must move in front of the places *before* you reshape.

# %% tags=["solution"]
def tokens_to_map(tokens, grid, prefix):
    patches = tokens[:, prefix:]
    return patches.transpose(1, 2).reshape(len(tokens), -1, *grid)

# %%
vit = random_vit.network.model
with torch.inference_mode():
    tokens = vit.forward_features(image)
    token_map = to_map(tokens, tuple(vit.patch_embed.grid_size), vit.num_prefix_tokens)
    assert torch.allclose(token_map, random_vit(image)[0], atol=1e-5)
print(f"{tuple(tokens.shape)} -> {tuple(token_map.shape)}, as the package has it")

# %% [markdown]
# ### How far does a place look?
#
# Plant a bright square in an image and see which places of each map change. (Light: a larger change, in
# powers of ten; black: none.)

# %%
planted, side = image.clone(), height // 10
planted[..., 3 * side:4 * side, 7 * side:8 * side] = 1.0
with torch.inference_mode():
    pairs = [*zip(cnn(image), cnn(planted)), (random_vit(image)[0], random_vit(planted)[0])][1:]
changes = [(after - before)[0].norm(dim=0) for before, after in pairs]
titles = [*(f"CNN, stride {stride}" for stride in cnn.strides[1:]), "ViT, patches of 16"]
figure, axes = canvas(len(changes) + 1, size=2.1)
panel(axes[0, 0], (planted[0].permute(1, 2, 0) + 1) / 2, "the planted square")
for place, (change, title) in enumerate(zip(changes, titles), start=1):
    relative = change / change.max()
    axes[0, place].imshow(relative.clamp_min(1e-6).log10().numpy(), cmap="inferno", vmin=-6)
    axes[0, place].set_title(f"{title}\n{(relative > 1e-6).float().mean():.0%} of places change",
                             fontsize=9)
show(figure, "a planted square, and where the feature maps of a CNN and the tokens of a ViT change")

# %% [markdown]
# In a CNN a place looks around itself, farther in deeper layers. In a ViT every token looks at the
# whole picture; how much it takes from where is what training decides. Both change most at
# the square, so the map has its rows and columns right.

# %% [markdown]
# ### What does "anti-aliased" mean?
#
# A CNN gets from stride 4 to stride 8 by keeping every second place. What lies between is lost, and which half
# that is depends on where the part happened to lie: shift the camera by a pixel, and the other half is kept. An
# **anti-aliased** network (Zhang, [ICML 2019](https://arxiv.org/abs/1904.11486)) blurs first, with the weights
# 1, 2, 1 in both directions, and then drops.

# %% [markdown]
# ### Exercise 06.5: blur, then drop
#
# *Difficulty ●●●●○, 30 minutes.* Write that step: the weighted mean of each place and its eight neighbours
# (1, 2, 1 times 1, 2, 1, over 16), beyond the edge the mirrored picture (the edge itself not repeated), then
# every second row and column from the first on. The cells below go on with yours.

# %% tags=["exercise"]
from timm.layers import BlurPool2d


def blur_drop(maps):
    """Maps (n, c, h, w) -> (n, c, ceil(h / 2), ceil(w / 2)): blurred, then every second place."""
    ...  # your code here


def by_timm(maps):
    return BlurPool2d(maps.shape[1])(maps)


shrink = check("06.5", blur_drop, otherwise=by_timm)

# %% [markdown] tags=["hint"]
# `torch.nn.functional.pad(maps, (1, 1, 1, 1), mode="reflect")` mirrors. Blur along rows, then along columns: with
# `p` padded, `(p[..., :-2] + 2 * p[..., 1:-1] + p[..., 2:]) / 4` is the one, and the other works alike on the
# axis before. Channels never mix.

# %% tags=["solution"]
def blur_drop(maps):
    p = torch.nn.functional.pad(maps, (1, 1, 1, 1), mode="reflect")
    p = (p[..., :-2] + 2 * p[..., 1:-1] + p[..., 2:]) / 4
    p = (p[..., :-2, :] + 2 * p[..., 1:-1, :] + p[..., 2:, :]) / 4
    return p[..., ::2, ::2]

# %%
stripes = torch.zeros(1, 1, 16, 18)
stripes[..., ::2] = 1.0
grey = torch.from_numpy(np.array(photo.convert("L"), np.float32))[None, None] / 255  # the cell above
shrunk = {"dropped": lambda maps: maps[..., ::2, ::2], "blurred, then dropped": shrink}
figure, axes = canvas(5, size=1.9)
axes[0, 0].set_title("stripes", fontsize=9)
axes[0, 0].imshow(stripes[0, 0].numpy(), cmap="gray", vmin=0, vmax=1)
for place, (left, title) in enumerate(((0, "stripes"), (1, "one pixel farther"))):
    for which, (name, small) in enumerate(shrunk.items()):
        one = axes[0, 1 + 2 * which + place]
        one.imshow(small(stripes[..., left:left + 17])[0, 0].numpy(), cmap="gray", vmin=0, vmax=1)
        one.set_title(f"{name}:\n{title}", fontsize=9)
for one in axes.flat:
    one.axis("on")  # a frame, as white on white is not seen
    one.set(xticks=[], yticks=[])
show(figure, "stripes of one pixel, dropped to half the size at two positions: all white or all black; and "
     "blurred first: grey at both")
for name, small in shrunk.items():
    here, there = (small(small(small(one))) for one in (grey[..., :-1], grey[..., 1:]))
    print(f"{cells.name}, {name}, three times: one pixel farther changes it by "
          f"{100 * float((here - there).abs().mean() / here.std()):.1f} % of its contrast")

# %% [markdown]
# The same stripes come out white or black by a shift of one pixel, and PatchCore would take the one for an
# anomaly of the other. Blurred, they come out grey at either place. Stripes of one pixel are the worst case: the
# two lines printed below them say how much it is for the cell above, shrunk three times, to stride 8. The price is
# sharpness: a hairline gets fainter too.

# %% [markdown]
# ## Which layers?
#
# Shallow layers know edges and have fine grids; deep ones know what an object is and have coarse ones. The
# registry's choice for CNNs, as in the paper, is the two in the middle.

# %%
choices = {"2 (stride 8)": (2,), "3 (stride 16)": (3,), "4 (stride 32)": (4,), "2 and 3": None}
figure, axes = plt.subplots(figsize=(6.5, 2.8), layout="constrained")
for place, layers in enumerate(choices.values()):
    more = dict(layers=layers) if layers else {}  # the registry's, which we have
    one_for_each_seed(axes, aurocs("efficientnet_lite0", **more), place)
axes.set_yticks(range(len(choices)), [f"layer{'s' * (' and ' in of)} {of}" for of in choices])
axes.set(xlabel="image AUROC, one marker for each seed, one above the other",
         title=f"efficientnet_lite0 on {chosen.category}", ylim=(len(choices) - 0.5, -0.5))
show(figure, "image AUROC by layers used, three seeds each")

# %% [markdown]
# One category is an anecdote: the best layer for a gear need not be the best for cloth. The paper leaves
# out the last layer, as it is coarse and nearest to where the network names things. On the drawn gears
# the figure neither agrees nor disagrees: one seed of layer 4 is the best of all, another the worst. Where
# seeds lie so far apart, three of them put no layer before another.

# %% [markdown]
# **Think:** a defect is 6 pixels wide. Layer 4 has a stride of 32. Can it be found there at all?

# %% [markdown] tags=["answer"]
# It can, and badly. The stride says how far apart the places are, not how far each looks: the receptive field of
# a place in layer 4 covers hundreds of pixels, so the six are in view of many places. But they are a thousandth of
# what such a place looks at, and what it says of them drowns in what it says of the rest. And the map cannot
# show where the defect is, closer than to 32 pixels.

# %% [markdown]
# ## Two networks at once
#
# `"a+b"` is an **ensemble**: the maps of both, laid together, each network fed with its own statistics.
# By hand: run both, concatenate from the finest grid to the coarsest.

# %%
from indad.engine.precision import products

pair = [*dict.fromkeys([*names, "efficientnet_lite0", "efficientnet_lite1"])][:2]
ensemble = "+".join(pair)
if chosen.choice.weights:
    print(f"no ensemble: {chosen.choice.weights} holds the weights of one network")
else:
    size, picture = chosen.size(160, ensemble), read_image(judged[0].path)  # a size that suits both
    both, transform = chosen.network(resize=size, backbone=ensemble)
    separate = []
    with torch.inference_mode(), products("float32"):
        together = both(transform(picture)[None].to(chosen.device))
        for name in pair:
            network, transform = chosen.network(resize=size, backbone=name)
            pixels = transform(picture)[None].to(chosen.device)  # with its own statistics
            separate += zip(network.strides, network(pixels))
    by_hand = [m for _, m in sorted(separate, key=lambda entry: entry[0])]
    for ours, theirs in zip(by_hand, together):
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))
    print(ensemble, [tuple(m.shape[1:]) for m in together])

# %% [markdown]
# ## A fair comparison
#
# Same images, same share of patches, same size (or the nearest that suits), each network's own
# statistics, three seeds. Beside accuracy: how long a photo takes and how large the memory bank gets, as
# a wider feature makes each remembered patch cost more.

# %%
import time

compared = [*names] if chosen.choice.weights else [*names, ensemble]
milliseconds = dict.fromkeys(compared, np.inf)
for _ in range(4):  # in turn, so that a moment when the machine is busy is fair to all
    for name in compared:
        model, _ = judge(name)
        began = time.perf_counter()
        model.predict(judged[0])
        milliseconds[name] = min(milliseconds[name], 1000 * (time.perf_counter() - began))

table = {}
for name in compared:
    table[name] = dict(aurocs=aurocs(name), ms=milliseconds[name],
                       mb=judge(name)[0].memory_bank_.nbytes / 1e6)
    row = table[name]
    print(f"{name:<38} AUROC {over_seeds(row['aurocs'])}, {row['ms']:4.0f} ms, {row['mb']:.2f} MB")

# %%
figure, axes = plt.subplots(figsize=(6.5, 3.6), layout="constrained")
for (name, row), marker in zip(table.items(), "o^sDvP" * len(table)):
    axes.errorbar(row["ms"], np.mean(row["aurocs"]), np.std(row["aurocs"], ddof=1), marker=marker,
                  capsize=3, markersize=8, label=f"{name}, {row['mb']:.2f} MB", linestyle="none")
axes.set(xlabel="milliseconds for one image on this machine", ylabel="image AUROC, mean ± std of 3 seeds",
         title=f"{chosen.category}: {len(learn)} images learned, {len(judged)} judged")
figure.legend(fontsize=8, loc="outside lower center", ncols=2)
show(figure, "image AUROC against milliseconds for each backbone, with the spread over seeds")
good_count = int((labels == 0).sum())
print(f"one wrong pair of {good_count * int(labels.sum())} is {1 / (good_count * labels.sum()):.4f} of AUROC;"
      f" one image ranked last costs up to {1 / labels.sum():.3f}")

# %% [markdown]
# Bars that overlap say that these images cannot tell the backbones apart; and the seeds do not
# even cover the largest doubt, the choice of test images. Two networks cost what both cost, and whether they find
# more has to be measured, not assumed. (Milliseconds are of the machine that made
# this page: read their order.)

# %% [markdown]
# ### Exercise 06.6: a fair budget
#
# *Difficulty ●●●○○, 15 minutes.* The same *share* of patches was not the same *memory*: the ensemble's patches are
# twice as wide. Say that the bank may hold `budget` numbers. How many patches may each network remember? As
# many as fit, but no more than it has, and at least one. The cells below go on with yours.

# %% tags=["exercise"]
def fair_budget(widths, patches, budget):
    """Numbers a patch has and patches there are, by name -> patches to remember, by name (int)."""
    ...  # your code here


def by_clipping(widths, patches, budget):
    return {name: int(np.clip(budget // widths[name], 1, patches[name])) for name in widths}


remember = check("06.6", fair_budget, otherwise=by_clipping)

# %% [markdown] tags=["hint"]
# `budget // widths[name]` is how many fit as a whole. `min` and `max` do the rest. A dict comprehension goes over
# the names.

# %% tags=["solution"]
def fair_budget(widths, patches, budget):
    return {name: max(1, min(budget // width, patches[name])) for name, width in widths.items()}

# %%
widths = {name: judge(name)[0].memory_bank_.shape[1] for name in compared}
patches = {name: len(extracted(name)[1].rows) for name in compared}
budget = min(judge(name)[0].memory_bank_.numel() for name in compared)
print(f"{budget:,} numbers for each:")
for name, count in remember(widths, patches, budget).items():
    equal = aurocs(name, ratio=count / patches[name])
    print(f"{name:<38} {count:4d} patches of {widths[name]} numbers, AUROC {over_seeds(equal)}")

# %% [markdown]
# Neither way is *the* fair one: the same share asks what a network sees, the same budget what a device can hold.
# Say which you mean. Seeds still scatter about as much as the networks differ, so it takes more categories.

# %% [markdown] tags=["teacher"]
# - 30 minutes for layers, ensembles and the comparison; 06.5 is homework.
# - In 06.4 nearly all reshape first. Let them draw the planted square on paper, where it lands, and why.
# - Ask: network b is 0.05 better in this table. How many images in the wrong order is that? (180 pairs.)
# - Wrong idea: the error bar over seeds is the doubt. The 27 images are the larger one (lesson 04).

# %% [markdown]
# ## The same, with more data
#
# This sweep is stored with the package: all six drawn categories, three coreset ratios, three seeds.
# `python -m indad benchmark` makes such files for the backbones and datasets of your choice.

# %%
import json
from pathlib import Path

import indad

results = Path(indad.__file__).parents[1] / "results"
stored = results / "reference/sweeps/synthetic/benchmark.json"
if stored.exists():
    sweep = json.loads(stored.read_text())
    rows = [row for row in sweep["rows"] if row["coreset_ratio"] == 0.1 and row["category"] != "mean"]
    kinds, nets = ([*dict.fromkeys(row[key] for row in rows)] for key in ("category", "backbone"))
    figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
    for place, net in enumerate(nets):
        ours = [row for row in rows if row["backbone"] == net]
        axes.errorbar([kinds.index(row["category"]) + 0.15 * (place - 1) for row in ours],
                      [row["image_auroc"]["mean"] for row in ours],
                      [row["image_auroc"]["std"] for row in ours], marker="o^s"[place % 3],
                      linestyle="none", capsize=2, label=net)
    axes.set_xticks(range(len(kinds)), kinds)
    axes.set(ylabel="image AUROC, mean ± std", title="coreset ratio 10 %, three seeds")
    axes.legend(fontsize=8)
    show(figure, "image AUROC of three backbones on six categories")

# %%
for c in sweep["comparisons"] if stored.exists() else ():
    if c["metric"] == "image_auroc" and c["axis"] == "backbone" and c["high"] is not None:
        print(f"{c['b']} minus {c['a']}: {100 * c['mean']:+.2f} points, 95 % interval "
              f"{100 * c['low']:+.2f} to {100 * c['high']:+.2f}, {c['n']} pairs of runs")

# %% [markdown]
# The figure shows one ratio, 10 %; the lines below it pool all three. Each comparison is *paired*: same
# category, ratio and seed, only the backbone differs, so that the difference between categories, which
# dwarfs all else in the figure, cancels. An interval that contains 0 says that these data give no reason
# to switch. On your own parts the order may be another: test there.

# %% [markdown]
# ## What others measured
#
# Larger backbones and real photos (MVTec AD, fifteen categories), as published; the file with sources and
# caveats is `indad/experiments/published.json`.

# %%
from indad.experiments.published import PUBLISHED

tables = {entry["id"]: entry for entry in json.loads(PUBLISHED.read_text())["tables"]}
figure, axes = plt.subplots(figsize=(7, 2.8), layout="constrained")
rows = tables["paper-backbones"]["rows"]
nets = [*dict.fromkeys(row["backbone"] for row in rows)]
for ratio, marker, colour in ((0.1, "o", GOOD), (0.01, "^", DEFECTIVE)):
    ours = [row for row in rows if row["coreset_ratio"] == ratio]
    axes.plot([row["mean"]["image_auroc"] for row in ours],
              [nets.index(row["backbone"]) for row in ours], marker, color=colour,
              label=f"coreset {ratio:.0%}")
axes.set_yticks(range(len(nets)), nets)
axes.set(xlabel="image AUROC on MVTec AD, %", title="the paper's backbones (second-hand copy)")
axes.legend()
show(figure, "published image AUROC of five ImageNet backbones at two coreset ratios")

# %%
for key in ("wrn50", "clip-rn50", "clip-rn101"):
    entry = tables[f"palladino-10-{key}"]
    print(f"{entry['backbone']:<16} image AUROC {entry['mean']['image_auroc']} %")
for entry in tables["fewshot-winclip-mvtec"]["methods"]:
    if entry["method"] in ("PatchCore", "AnomalyDINO-S 448"):
        print(f"with one photo, {entry['method']}: image AUROC {entry['shots']['1']['image_auroc']} %")

# %% [markdown]
# Mind the axis: all five lie within a point of each other on a benchmark that is nearly solved. The
# first lines under the figure are one project's comparison with two CLIP networks (four of its fifteen
# categories are reduced, so its numbers compare with each other only). The last ones are PatchCore
# on an ImageNet network and AnomalyDINO, the same idea on the tokens of a DINOv2 transformer, given a single
# photo: where photos are few, such choices weigh more ([lesson 07](07_few_shots.ipynb)).

# %% [markdown]
# ## Look for yourself
#
# Every judged defect through every backbone (computed above).

# %%
from indad.notebook.pictures import verdict_figure

defects = {f"{item.defect_type}/{item.path.name}": i for i, item in enumerate(judged) if item.label}
scales = {name: scale_of(judge(name)[1], labels) for name in names}


def draw(image, backbone):
    i, prediction = defects[image], judge(backbone)[1]
    return verdict_figure(judged[i], prediction.maps[i], scales[backbone],
                          score=float(prediction.scores[i]))

# %%
from indad.notebook.widgets import explore

explore(draw, alt=f"{chosen.category}: a defective part and its anomaly map through a backbone",
        image=[*defects], backbone=list(names),
        start={"image": next(name for name, i in defects.items() if i == shown[0])})

# %% [markdown]
# ## Recap
#
# - `PatchCore(backbone=NAME)`: the registry knows weights, layers, statistics, size and licence.
# - Wrong pixel statistics raise no error and cost accuracy.
# - CNNs hand out maps of several strides; ViTs hand out tokens, which become a map without the
#   prefix and in the right order.
# - `"a+b"` joins two networks, for the time and memory of both.
# - Anti-aliased networks blur before they drop places: a shift by a pixel then changes little.
# - Compare on the same images, with seeds, paired, and with the cost beside the score. Say whether the share of
#   patches was the same, or the memory.
#
# **Next:** how many photos does it take? [07 · Few shots and reduced sets](07_few_shots.ipynb).
