# %% [markdown]
# # 03 · Coreset: remember less
#
# Sixteen images left thousands of rows in the memory bank, and most of them say the same: one more piece
# of background, one more stretch of metal. **A tenth of the patches says nearly as much as all of
# them, if one picks the right tenth**: always the patch that is farthest from everything picked so
# far. Memory and search shrink tenfold. A random tenth is another matter.
#
# **You will learn** to select a coreset by hand, to measure how well it covers, to prove how far from
# the best it can be, to get all smaller coresets for free, and to keep distances in fewer dimensions.
#
# **You need** [02 · Memory bank, distance, score, map](02_memory_distance_score_map.ipynb).
#
# TIMES

# %% [markdown] tags=["teacher"]
# - Begin with the plane (section 2), on the board: 12 dots, a start, and the class says who is next. 10
#   minutes.
# - Learners pick the point farthest from the *last* pick. Ask: "how far is it from its nearest pick?"
# - Ask before the first figure: "which tenth would you keep?" Most say "the middle of the cloud".

# %% tags=["setup"]

# %% [markdown]
# ## Choose
#
# The form feeds all cells below. The text speaks of the drawn gears that it begins with.

# %% tags=["choose"]
from indad.notebook.choose import choose
chosen = choose(drawn="gear")

# %% [markdown]
# ## How little is enough?
#
# Features are computed once; what changes is which rows the bank keeps. `greedy` is the selection of
# this notebook, `random` its honest rival: the same number of rows, drawn by lot. Three seeds each.

# %%
import torch

from indad import PatchCore
from indad.coreset import greedy_coreset, random_coreset
from indad.metrics import image_metrics
from indad.neighbors import nearest

train, test = chosen.train.replaced(chosen.train[:16]), chosen.few(60)
model = PatchCore(**chosen.options(resize=192, coreset_ratio=0.01, num_neighbors=1, seed=0))
extracted = model.extract(train)
scale = model.fit_features(extracted).feature_scale_  # balances the layers; on the GPU if there is one
rows = extracted.rows.to(scale.device) * scale        # all there is to remember
queries = model.extract(test).rows.to(scale.device) * scale
print(f"{len(rows)} rows of {rows.shape[1]} numbers, {rows.numel() * 4 / 1e6:.1f} MB")

# %% [markdown]
# ### Exercise 03.1: how many rows is that?
#
# *Difficulty ●○○○○, 2 minutes.* A bank keeps a share of the rows, rounded down, but at least one. How many?
# The lesson goes on with your function once it is right.

# %% tags=["exercise"]
def rows_kept(ratio, count):
    """A share from 0 to 1, and how many rows there are -> how many the bank keeps, an int."""
    ...  # your code here


from indad.coreset import bank_size
from notebooks.checks import check

kept_of = check("03.1", rows_kept, otherwise=bank_size)

# %% [markdown] tags=["hint"]
# `int(...)` cuts off what is behind the point; `max(1, ...)` is at least 1.

# %% tags=["solution"]
def rows_kept(ratio, count):
    return max(1, int(count * ratio))

# %%
ratios = [0.003, 0.01, 0.03, 0.1, 0.25]
sizes = [kept_of(ratio, len(rows)) for ratio in ratios]
print("rows kept:", ", ".join(f"{ratio:.1%} are {size}" for ratio, size in zip(ratios, sizes)))

# %%
def aurocs(order):
    """Image AUROC of the banks that keep the first `sizes` rows of an order."""
    best, begin, found = queries.new_full((len(queries),), torch.inf), 0, []
    for size in sizes:  # a larger bank only adds rows, so only these are searched
        best = torch.minimum(best, nearest(queries, rows[order[begin:size]])[0][:, 0])
        scores = best.view(len(test), -1).amax(1)
        found.append(image_metrics(scores.cpu().numpy(), test.labels)["image_auroc"])
        begin = size
    return found


SEEDS = range(3)
orders = {"greedy": [greedy_coreset(rows, max(sizes), seed=seed).indices for seed in SEEDS],
          "random": [random_coreset(len(rows), max(sizes), seed=seed) for seed in SEEDS]}
curves = {name: [aurocs(order) for order in of_seeds] for name, of_seeds in orders.items()}
everything = nearest(queries, rows)[0].view(len(test), -1).amax(1)
with_all = image_metrics(everything.cpu().numpy(), test.labels)["image_auroc"]

# %%
import numpy as np
from matplotlib import pyplot as plt

from indad.experiments.figures import COLOURS
from indad.notebook.widgets import explore, show

figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
for (name, found), colour, marker, line in zip(curves.items(), COLOURS, "o^", ("-", "--")):
    axes.plot(ratios, np.mean(found, 0), line, color=colour, label=f"{name}, mean of 3 seeds")
    for one in found:
        axes.plot(ratios, one, marker, color=colour, alpha=0.5)
axes.axhline(with_all, color="black", linestyle=":", label="all rows")
axes.set(xscale="log", xlabel="share of the rows that the bank keeps", ylabel="image AUROC")
axes.set_xticks(ratios, [f"{ratio:.1%}" for ratio in ratios])
axes.minorticks_off()
axes.legend(loc="lower right")
show(figure, "image AUROC over the share of rows kept, greedy and random, three seeds each; on drawn gears "
     "greedy comes near the line of all rows at a tenth, random lies below it up to a quarter")
for name, found in curves.items():
    at = np.array(found)[:, ratios.index(0.1)]
    print(f"{name} 10 %: image AUROC {at.mean():.3f}, from {at.min():.3f} to {at.max():.3f} "
          f"(all rows {with_all:.3f})")

# %% [markdown]
# With the drawn gears, greedy at a tenth is about as good as everything, random at a tenth is not. Seeds
# differ, so a single point of such a curve proves little. The rest of this notebook shows why greedy works.

# %% [markdown]
# ## Always the farthest
#
# In the plane one can watch it. There are many points of a common kind, few of a rarer kind, and a
# handful of oddities, as among the patches of a part. *Farthest-first* selection starts anywhere, and then picks
# the point whose distance to its nearest pick is largest. Again and again.

# %%
generator = torch.Generator().manual_seed(0)
points = torch.cat([
    torch.randn(600, 2, generator=generator) * 0.6,
    torch.randn(60, 2, generator=generator) * 0.9 + torch.tensor([5.0, 1.0]),
    torch.tensor([[2.0, 4.5], [-3.5, 2.5], [3.0, -3.5], [-3.0, -3.0], [7.5, -2.5]])])

print("points", tuple(points.shape))

# %% [markdown]
# How well do some picks cover the points? The *covering radius* is the distance from the worst-covered point
# to its nearest pick: circles of that radius around the picks reach every point.

# %% [markdown]
# ### Exercise 03.2: the covering radius
#
# *Difficulty ●●○○○, 10 minutes.* Each point has a distance to its *nearest* pick. Return the largest of
# these. The lesson goes on with your function once it is right.

# %% tags=["exercise"]
def worst_covered(points, picks):
    """(n, d), and indices of the picks -> the covering radius, a float."""
    ...  # your code here


def radius_by_package(points, picks):
    return float(nearest(points, points[picks])[0].max())


covering_radius = check("03.2", worst_covered, otherwise=radius_by_package)

# %% [markdown] tags=["hint"]
# `torch.cdist(points, points[picks])` has a row for each point and a column for each pick. Along which of
# the two do you take the minimum, and what is left for the maximum?

# %% tags=["solution"]
def worst_covered(points, picks):
    return float(torch.cdist(points, points[picks]).amin(dim=1).max())

# %% [markdown]
# ### Exercise 03.3: farthest-first
#
# *Difficulty ●●●○○, 30 minutes.* Now the selection itself: begin with `start`; the next pick is always the
# point whose distance to its nearest pick is largest. No point is picked twice, not even when
# nothing but copies of picks is left. Of several points that are equally far, any will do. The lesson goes
# on with your selection once it is right.

# %% tags=["exercise"]
def farthest_points(points, size, start):
    """(n, d) -> a list of `size` indices in the order of picking, beginning with `start`."""
    ...  # your code here


def greedy_by_package(points, size, start):
    return greedy_coreset(points, size, start=start).indices.tolist()


greedy = check("03.3", farthest_points, otherwise=greedy_by_package)

# %% [markdown] tags=["hint"]
# Keep for each point the distance to its nearest pick, infinity at first. A new pick can only lower it:
# `torch.minimum`. Set it to -1 for a point that was picked, so that it is never the largest. `argmax` says
# who is next.

# %% tags=["solution"]
def farthest_points(points, size, start):
    distances = points.new_full((len(points),), torch.inf)
    picks = [start]
    while len(picks) < size:
        distances = torch.minimum(distances, (points - points[picks[-1]]).norm(dim=1))
        distances[picks[-1]] = -1
        picks.append(int(distances.argmax()))
    return picks

# %%
picks = greedy(points, 60, 0)
radii = [covering_radius(points, picks[:k + 1]) for k in range(60)]
print("first picks", picks[:6], " radii", [round(radius, 2) for radius in radii[:6]])

# %%
from matplotlib.patches import Circle

lots = random_coreset(len(points), 60, seed=1).tolist()
figure, axes = plt.subplots(2, 4, figsize=(10, 5), sharex=True, sharey=True, layout="constrained")
for line, (name, order) in zip(axes, {"greedy": picks, "random": lots}.items()):
    for one, k in zip(line, (2, 5, 10, 20)):
        radius = covering_radius(points, order[:k])
        for x, y in points[order[:k]].tolist():
            one.add_patch(Circle((x, y), radius, color=COLOURS[0], alpha=0.06, linewidth=0))
        one.scatter(*points.T, s=3, color="#999999")
        one.scatter(*points[order[:k]].T, s=26, color=COLOURS[1], marker="^")
        one.set_title(f"{name}, {k} picks: radius {radius:.2f}", fontsize=9)
        one.set(aspect="equal", xlim=(-6, 10), ylim=(-6, 7))
for one in axes[:, 0]:
    one.set_ylabel("feature 2")
for one in axes[1]:
    one.set_xlabel("feature 1")
show(figure, "2, 5, 10 and 20 picks among 665 points, greedy above and random below; circles of the "
     "covering radius around the picks shrink quickly above, and stay large below, where the oddities "
     "at the edge are not picked")

# %% [markdown]
# Circles of the covering radius reach every point. Greedy goes to the oddities first. Random goes where
# most points are, over and over. For anomaly detection that is fatal: a rare but good
# patch that was not remembered is a false alarm.
#
# With widgets, add picks one by one:

# %%
from indad.notebook.pictures import coreset_figure


def step(picks_so_far, selection):
    so_far = (picks if selection == "greedy" else lots)[:picks_so_far]
    radius = covering_radius(points, so_far)
    figure = coreset_figure(points.numpy(), so_far, radius, f"{selection}: radius {radius:.2f}")
    figure.axes[0].set(xlim=(-6, 10), ylim=(-6, 7), xlabel="feature 1", ylabel="feature 2")
    return figure


explore(step, picks_so_far=range(1, 61), selection=["greedy", "random"],
        start={"picks_so_far": 8},
        alt="eight greedy picks, with circles of the covering radius that reach all points")

# %% [markdown]
# **Think:** greedy goes to the oddities first. What if one of the training images is not good after all, and
# shows a defect?

# %% [markdown] tags=["answer"]
# Then its patches are the oddest of all, and greedy takes them among the first: the bank remembers the
# defect, and the next one like it passes. Random would probably miss it. What makes greedy good at rare
# good patches makes it good at rare bad ones; so look at the training images (lesson 08), or let the
# package look for suspects (lesson 10).

# %% [markdown]
# ## How good can any selection be?
#
# Finding the picks with the smallest possible radius is NP-hard. Greedy is never worse than twice
# that, and the proof fits here. Take the first k picks, with radius r, and the next one, which is at r
# from them. Any two of these k + 1 points are at least r apart, as each was that far or farther from
# all before it. Now let somebody else choose k centres: two of our k + 1 points must share a centre,
# and one of them is at least r / 2 from it. So nobody's radius is below r / 2.

# %%
for k in (5, 10, 20, 40):
    apart = torch.pdist(points[picks[:k + 1]]).min()
    assert apart >= radii[k - 1] - 1e-4
    print(f"k = {k:2}: radius {radii[k - 1]:.3f}; the first k + 1 picks are at least {apart:.3f} "
          f"apart, so no selection gets below {apart / 2:.3f}")

# %% [markdown]
# ## The same in 152 dimensions
#
# The images' rows cannot be drawn (152 numbers with the backbone of the beginning, more with others), but
# their radius can. Random is drawn with five seeds.

# %%
radii_of_rows = greedy_coreset(rows, max(sizes), seed=0).radii.cpu()
figure, axes = plt.subplots(figsize=(7, 3.4), layout="constrained")
axes.plot(range(1, len(radii_of_rows) + 1), radii_of_rows, color=COLOURS[0], label="greedy")
steps = [*(size for size in (10, 30, 100, 300, 1000) if size < max(sizes)), max(sizes)]
for seed in range(5):
    lot = random_coreset(len(rows), max(sizes), seed=seed)
    covered = [float(nearest(rows, rows[lot[:size]])[0].max()) for size in steps]
    axes.plot(steps, covered, "^--", color=COLOURS[1], alpha=0.6,
              label="random, five seeds" if seed == 0 else None)
axes.set(xscale="log", xlabel="rows kept", ylabel="covering radius")
axes.legend()
show(figure, "covering radius over the number of rows kept: both fall, and the five random lines stay "
     "well above the greedy one")
as_good = int((radii_of_rows > covered[-1]).sum()) + 1
print(f"{as_good} greedy rows cover as well as {steps[-1]} random ones (last seed)")

# %% [markdown]
# Random rows leave some rare patch far from all of them, however many there are; only a larger number
# makes it likelier that it is drawn itself.

# %% [markdown]
# ## In the package: the same picks, lazily
#
# A plain selection looks at every row for every pick. This is the package's, as every paper prints it:

# %%
import inspect

from indad.coreset import greedy_coreset_one_at_a_time

source = inspect.getsource(greedy_coreset_one_at_a_time)
print(source[source.index("    indices, radii"):])

# %% [markdown]
# But a distance to the nearest pick only ever falls, so an old one is an upper bound, and a row need not be
# looked at again until its bound could make it the next pick. `greedy_coreset` does that, and makes the
# same picks in the same order.

# %%
import time

some, count = rows[:4096], min(400, len(rows) // 4)
by_hand = greedy(some, count, 7)
began = time.perf_counter()
literal = greedy_coreset_one_at_a_time(some, count, start=7)
between = time.perf_counter()
lazy = greedy_coreset(some, count, start=7)
done = time.perf_counter()
for name, selection in {"one at a time": literal, "lazily": lazy}.items():
    same = np.mean(selection.indices.cpu().numpy() == by_hand)
    print(f"{name}: {same:.0%} of {count} picks are those by hand, in the same order "
          "(ties within rounding may differ)")
covered = covering_radius(some, lazy.indices.tolist())  # measured: the last radius says the same
assert abs(covered - float(lazy.radii[-1])) < 1e-3 * float(lazy.radii[0])
print(f"one at a time {between - began:.2f} s, lazily {done - between:.2f} s")

# %% [markdown]
# ## All smaller coresets are free
#
# The first k picks *are* the coreset of size k: the loop never looks ahead. One selection serves all
# ratios, which is how the first figure got its greedy curve.

# %%
for k in (max(count // 40, 1), max(count // 8, 1), count // 4):
    smaller = greedy_coreset(some, k, start=7).indices
    assert smaller.tolist() == lazy.first(k).indices.tolist() == lazy.indices[:k].tolist()
    print(f"the coreset of {k} is the beginning of the coreset of {count}")

# %% [markdown]
# ### Exercise 03.4: all radii in one pass
#
# *Difficulty ●●●○○, 15 minutes.* Above, the radius of each beginning was computed anew: the first pick was
# looked at sixty times. Return the radii of all beginnings, and look at each pick once.

# %% tags=["exercise"]
def radii_of(points, picks):
    """(n, d), and indices in the order of picking -> a list: entry i is the radius of picks[:i + 1]."""
    ...  # your code here


check("03.4", radii_of)

# %% [markdown] tags=["hint"]
# The same table as in farthest-first: for each point the distance to its nearest pick so far, infinity at
# first. Take one pick after the other, lower the table by `torch.minimum`, and note its maximum.

# %% tags=["solution"]
def radii_of(points, picks):
    distances = points.new_full((len(points),), torch.inf)
    radii = []
    for pick in picks:
        distances = torch.minimum(distances, (points - points[pick]).norm(dim=1))
        radii.append(float(distances.max()))
    return radii

# %% [markdown] tags=["teacher"]
# - 03.3 takes half an hour with a class; 03.2 before it is what makes it doable.
# - The usual mistakes: the distance to the last pick only; a maximum over picks where a minimum belongs.
# - Ask: what does one more pick cost, in distances? (n: so size times n in all; then why lazily.)
# - Whoever is quick: does the order of `picks` matter for the last entry of 03.4? (No. For the others, yes.)

# %% [markdown]
# ## Where in the images are the picks?
#
# Each pick is a patch of a training image. Here is where the first 3 % lie in four of them.

# %%
from indad.data.images import read_image
from indad.notebook.pictures import canvas, panel

height, width = extracted.grid


def places(order, image):
    """Rows and columns in the grid of one image of the rows that were picked from it."""
    order = order.cpu()
    inside = order[order // (height * width) == image] % (height * width)
    return inside // width, inside % width


def picks_figure(images, orders):
    """Four images, and the places of the picks of each order in them."""
    figure, axes = canvas(4, rows=len(orders), size=2.3)
    for line, (name, order) in zip(axes, orders.items()):
        for image, one in enumerate(line):
            y, x = places(order, image)
            panel(one, read_image(images[image].path).resize((256, 256)),
                  f"{name}: {len(y)} picks in image {image}")
            one.scatter((x + 0.5) * 256 / width, (y + 0.5) * 256 / height, s=14, color="#00FFFF",
                        marker="o" if name == "greedy" else "^", edgecolors="black", linewidths=0.5)
    return figure


kept = int(0.03 * len(rows))
show(picks_figure(train, {name: of_seeds[0][:kept] for name, of_seeds in orders.items()}),
     f"four images ({chosen.category}) with the places of the picks; on drawn gears greedy ones "
     "crowd on the gear, random ones are spread evenly over gear and background")

# %%
def share_outside(order):
    """Share of picks more than 100 of 256 pixels from the middle of the image."""
    y, x = (order % (height * width)) // width, order % width
    return float((torch.hypot((x + 0.5) / width - 0.5, (y + 0.5) / height - 0.5) > 100 / 256)
                 .float().mean())


everywhere = torch.arange(len(rows))
for name, order in {"all rows": everywhere, "greedy": orders["greedy"][0][:kept],
                    "random": orders["random"][0][:kept]}.items():
    print(f"{name:9} {share_outside(order):.0%} far from the middle")

# %% [markdown]
# Far from the middle of a drawn gear there is background. The random share of it is that of all rows.
# Greedy spends less of its budget there, because one piece of background covers many others.
#
# On real photos it is less tidy. Four of sixteen good solar cells, and 1 % of their patches:

# %%
from indad.notebook.getting import solar_cells

cells = solar_cells()
good_cells = cells.train.replaced(cells.train[:16])
of_cells = PatchCore(**chosen.options(resize=192, coreset_ratio=0.01, num_neighbors=1, seed=0))
remembered = of_cells.extract(good_cells)
balance = of_cells.fit_features(remembered).feature_scale_
cell_rows = remembered.rows.to(balance.device) * balance
kept_cells = kept_of(0.01, len(cell_rows))
cell_orders = {"greedy": greedy_coreset(cell_rows, kept_cells, seed=0).indices,
               "random": random_coreset(len(cell_rows), kept_cells, seed=0)}
show(picks_figure(good_cells, cell_orders),
     f"four good ones of {cells.name} with the places of the picks, greedy above and random below")
for name, order in cell_orders.items():
    count = [len(places(order, image)[0]) for image in range(len(good_cells))]
    print(f"{name}: from {min(count)} to {max(count)} picks an image")

# %% [markdown]
# Greedy spends its picks on ends of bars, on corners, and on the dark wedge at the corner of the second cell,
# which people took for good all the same. Bright, even silicon gets few, as one piece of it
# covers all others; with random picks it is the other way round, and only luck remembers the wedge.

# %% [markdown]
# **Think:** greedy takes many picks from some of the images and few from others. Is that good?

# %% [markdown] tags=["answer"]
# It is what it is for. An image that looks like those before it adds nothing, so it gets few picks; one with
# another frame, another light or a rare spot is needed, and gets many. (The real cell with dashed bars gets
# a single pick, odd as it looks beside the other three: half a dozen of the sixteen have such bars.) An
# image with far more picks than all others deserves a look: either it is a rare good one, or it is none.
# With picks by lot only luck makes the numbers differ, and the rare one is left out as often as any.

# %% [markdown]
# ## Fewer numbers a row
#
# Wide backbones have rows of 1,000 numbers and more, and each distance costs as many multiplications.
# A random matrix brings them down: by the lemma of *Johnson and Lindenstrauss*, n points keep, with
# good probability, all their squared distances within a factor 1 ± eps in
#
# $$k \ge \frac{4 \ln n}{\epsilon^2 / 2 - \epsilon^3 / 3}$$
#
# dimensions, whatever they had before. Rows that keep all nine neighbours are wide enough to try.

# %%
wider = PatchCore(**chosen.options(patch_features="unfolded", resize=192))
wide = wider.extract(train[:2]).rows.cpu()                 # (n, 9 * 152)
print("rows", tuple(wide.shape))

# %% [markdown]
# ### Exercise 03.5: a projection that keeps distances
#
# *Difficulty ●●●○○, 15 minutes.* Project rows to `dim` dimensions by a matrix of random numbers, one
# matrix for all rows, drawn from `seed` alone. Distances must stay the same on average: mind the
# scale.

# %% tags=["exercise"]
def project(rows, dim, seed):
    """(n, d) -> (n, dim), with about the same distances; the same seed, the same result."""
    ...  # your code here


check("03.5", project)

# %% [markdown] tags=["hint"]
# `torch.randn(..., generator=torch.Generator().manual_seed(seed))`. A sum of `dim` squares of standard
# normal numbers is `dim` on average; a squared length should grow by a factor of 1.

# %% tags=["solution"]
def project(rows, dim, seed):
    generator = torch.Generator().manual_seed(seed)
    return rows @ torch.randn(rows.shape[1], dim, generator=generator) / dim ** 0.5

# %%
generator = torch.Generator().manual_seed(0)


def projected(rows, k):
    """(n, d) -> (n, k): as in the exercise; each call draws another matrix."""
    return rows @ torch.randn(rows.shape[1], k, generator=generator) / k ** 0.5


def guaranteed(k, n):
    """The smallest eps that the lemma promises for k dimensions; nan if it promises nothing."""
    eps = np.linspace(0.01, 0.999, 1000)
    enough = 4 * np.log(n) / (eps ** 2 / 2 - eps ** 3 / 3) <= k
    return float(eps[enough][0]) if enough.any() else float("nan")


before = torch.pdist(wide).square()
near = before > 1e-6 * before.mean()  # equal rows stay equal: no ratio there
dims = (8, 32, 128, 512, 2048)
worst, typical = [], []
for k in dims:
    change = (torch.pdist(projected(wide, k)).square()[near] / before[near] - 1).abs()
    worst.append(float(change.max()))
    typical.append(float(change.median()))
    print(f"{k:5} dimensions: squared distances change by {typical[-1]:.1%} (median), "
          f"{worst[-1]:.0%} at worst of {int(near.sum()):,} pairs")

# %%
figure, axes = plt.subplots(figsize=(6.5, 3.4), layout="constrained")
axes.plot(dims, [guaranteed(k, len(wide)) for k in dims], "k:s", label="promised by the lemma")
axes.plot(dims, worst, "^-", color=COLOURS[1], label="worst pair, measured")
axes.plot(dims, typical, "o-", color=COLOURS[0], label="median pair, measured")
axes.set(xscale="log", yscale="log", xlabel="dimensions after projection (before: "
         f"{wide.shape[1]:,})", ylabel="relative change\nof squared distance")
axes.set_xticks(dims, [str(k) for k in dims])
axes.set_yticks([0.02, 0.1, 0.5, 2], ["2 %", "10 %", "50 %", "200 %"])
axes.minorticks_off()
axes.legend()
show(figure, "relative change of squared distances over the number of dimensions, falling with its "
     "root; the worst measured pair lies below what the lemma promises, where it promises anything")

# %% [markdown]
# The lemma is a promise for any points at all, so it is cautious: where the dotted line ends, it
# promises nothing, and for a small eps it wants *more* dimensions than these rows have. A coreset can
# do with fewer, as only the selection looks at the projection, and the bank keeps the true rows:

# %%
size = len(wide) // 10
for k in (8, 32, 128):
    picked = greedy_coreset(projected(wide, k), size, start=0).indices
    print(f"picked in {k:4} dimensions: true covering radius {covering_radius(wide, picked):.1f}")
print(f"picked in {wide.shape[1]:4} dimensions: true covering radius "
      f"{covering_radius(wide, greedy_coreset(wide, size, start=0).indices):.1f}")
print(f"random:                    true covering radius "
      f"{covering_radius(wide, random_coreset(len(wide), size)):.1f}")

# %% [markdown]
# Roughly, the more dimensions, the nearer to the selection that sees everything. Each line is one draw of
# a matrix, and one draw may be luckier than the next. On the drawn gears even the coarsest view covers
# better than rows drawn by lot. Published code projects to 128 dimensions or so, to bear the cost of the
# literal loop. The lazy selection can do without, so this package projects only if a preset asks for it
# (`PatchCore(projection="linear")`).

# %% [markdown]
# ## Or look at a part of the bank only
#
# The search is exact in all lessons: it passes over blocks of the bank only once it is *certain* that
# nothing nearer lies there. Banks of millions of rows make that slow, and then one may give up the
# certainty. `search="ivfpq"` looks into the 16 most promising of 512 cells, `search="hnsw"` walks along
# a graph from neighbour to neighbour. `tests/benchmarks/approximate.py` measured what that saves and
# what it misses, in banks made of good magnetic tiles:

# %%
import json
from pathlib import Path

import indad

stored = (Path(indad.__file__).parents[1]
          / "results/reference/benchmarks/approximate.json")
if stored.exists():
    measured = json.loads(stored.read_text())["rows"]
    names = {"exact": "exact", "ivfpq": "ivfpq", "ivfpq-1": "ivfpq, one cell", "hnsw": "hnsw"}
    sizes = [*dict.fromkeys(row["rows"] for row in measured)]
    figure, panels = plt.subplots(1, len(sizes), figsize=(3.2 * len(sizes), 3.2), sharey=True,
                                  layout="constrained")
    for size, axes in zip(sizes, panels, strict=True):
        for row, marker in zip([row for row in measured if row["rows"] == size], "os^D"):
            axes.plot(row["ms"], row["image_auroc"], marker)
            place = {"exact": (6, -29), "ivfpq": (-6, 9), "ivfpq-1": (0, 8),
                     "hnsw": (0, 8) if size < 1_000_000 else (0, -29)}[row["search"]]
            axes.annotate(f"{names[row['search']]}\n(recall {row['recall']:.0%})",
                          (row["ms"], row["image_auroc"]), place, textcoords="offset points",
                          ha="right" if place[0] < 0 else "center", fontsize=9)
        axes.set(xscale="log", xlabel="milliseconds an image, one thread",
                 title=f"{size:,} rows")
        axes.margins(x=0.5, y=0.35)
    panels[0].set_ylabel("image AUROC")
    show(figure, "image AUROC over milliseconds an image, for exact and approximate searches in banks "
         "of several sizes; one cell is much faster and loses AUROC")

# %% [markdown]
# *Recall* is the share of patches whose nearest row was found. A patch whose nearest row was missed got
# another one that lies hardly farther, so the AUROC falls far less than the recall, until a single
# cell is looked into, as the reference implementation does. `hnsw` was slower than the exact search in the
# smallest bank. In a million rows it took a fifth of the time, once its graph had been built in 211 s
# (exact: 6 s); but it missed one row in twenty, and those cost AUROC. In the largest bank it was not
# measured.

# %% [markdown]
# ## Recap
#
# - Most rows repeat each other. Farthest-first picks keep the rare ones, random picks lose them.
# - The covering radius says how far the worst row is from the bank, and greedy is within twice the best.
# - Picks are nested: select once, and every smaller ratio is a beginning of it.
# - Laziness makes the same picks sooner. Random projections keep distances roughly, in fewer numbers.
# - Seeds move the AUROC of a small test set; compare with several, and with the random baseline.
#
# **Next:** which number to believe, and how far. [04 · Measure honestly](04_measure_honestly.ipynb).
