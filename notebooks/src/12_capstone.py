# %% [markdown]
# # 12 · Capstone: a week at the line
#
# A folder of pictures, a few parts that an inspector has judged, a price for each kind of mistake, and
# twenty parts that nobody has looked at. **Say which of them to throw away, and what your answer will
# cost.** The pictures are yours alone: they are drawn, and spoiled, by a seed made of your name. Nobody
# else has the same parts, accidents, costs or file names, and at the end a grader says of your report
# what is missing or wrong.
#
# **You will learn** whether you can do all of it without being led by the hand: audit, learn, choose a
# threshold, judge, and answer for it in writing.
#
# **You need** lessons [05](05_thresholds.ipynb) and [08](08_your_own_images.ipynb);
# [10](10_photos_as_they_are.ipynb) helps.
#
# TIMES

# %% tags=["setup"]

# %% [markdown]
# ## Choose
#
# Which parts you get is not for you to choose here. The form still says with which network, and on which
# device; what it prints of images plays no part, as yours are drawn below.

# %% tags=["choose"]
from indad.notebook.choose import choose
chosen = choose(drawn="gear")

# %% [markdown]
# ## Your pictures
#
# Type your name or number. (`anyone` is nobody's: its report is worth nothing.) All pictures here are
# **drawings**: only of these the truth about every one is known, and a grader can be fair. What you do with
# them is what you would do with photos.

# %%
#@title Who are you? { display-mode: "form" }
name = "anyone"  #@param {type: "string"}

import tempfile
from pathlib import Path

from indad.data.synthetic.capstone import draw_week, seed_of, week_of

week = draw_week(name, Path(tempfile.mkdtemp(prefix="indad_")) / "week")
costs = week_of(name).costs
for place in sorted(path for path in week.rglob("*") if path.is_dir() and [*path.glob("*.png")]):
    print(f"{place.relative_to(week).as_posix():<16}{len([*place.iterdir()])} pictures")
print(f"a missed defect costs {costs.miss:g} €, a false alarm {costs.alarm:g} €; "
      f"{costs.share:.0%} of parts are defective")

# %%
from indad.data.images import read_image
from indad.notebook.pictures import canvas, panel
from indad.notebook.widgets import show

learn = sorted((week / "learn/good").iterdir())
known = {kind: sorted((week / "known" / kind).iterdir()) for kind in ("good", "defective")}
judge = sorted((week / "judge").iterdir())
figure, axes = canvas(6, size=1.8)
for place, path in enumerate([*known["good"][:2], *known["defective"][:2], *judge[:2]]):
    panel(axes[0, place], read_image(path), ("good", "defective", "to be judged")[place // 2])
show(figure, "two drawn parts that an inspector called good, two called defective, two to be judged")

# %% [markdown]
# `learn/good` is what somebody swept together on a busy day: supposed to be good. `known` was looked at
# by an inspector; believe it. In `judge` nothing is known. That folder holds far more defective parts
# than the line makes: it was put together for this exam, so its share says nothing about costs.
#
# ### Exercise 12.1: what does a part cost?
#
# *Difficulty ●○○○○, 3 minutes.* Of all parts the share `share` is defective. A rate `misses` of the
# defective ones is missed, and a rate `alarms` of the good ones raises a false alarm. What do mistakes
# cost per part, on average?

# %% tags=["exercise"]
def expected_cost(misses, alarms, share, miss, alarm):
    """Euros per part; `miss` and `alarm` are what one of each costs."""
    ...  # your code here


from notebooks.checks import check

check("12.1", expected_cost)

# %% [markdown] tags=["hint"]
# Of a hundred parts, how many are defective, how many of these are missed, and what does that cost? Then
# the same for the good ones. Add, and divide by a hundred.

# %% tags=["solution"]
def expected_cost(misses, alarms, share, miss, alarm):
    return share * misses * miss + (1 - share) * alarms * alarm

# %% [markdown]
# **Think:** without any detector, two decisions are possible: sell everything, or throw everything away.
# What do they cost here, and what must a detector beat?

# %% [markdown] tags=["answer"]
# To sell everything misses all defects: `share * miss` euros a part. To throw everything away costs
# `(1 - share) * alarm`. The cheaper one of the two is what the detector has to beat; the grader asks for
# three quarters of it.

# %% [markdown] tags=["teacher"]
# - Three hours alone, or two in pairs. Parts cannot be shared, thoughts can.
# - Names are seeds: `week_of("their name")` in `indad.data.synthetic.capstone` gives you the truth. A student who
#   reads it there has learned to read source code; ask for the reasons in words.
# - Collect `report_*.json`; `grade_report(json.loads(text))` gives the list of what is missing.

# %% [markdown]
# ## 1 · Audit
#
# First the files. What `audit` finds in `learn`:

# %%
from indad import audit

found = audit(week / "learn")
print(str(found).replace(str(week), "."))

# %% [markdown]
# ### Exercise 12.2: which files do not enter?
#
# *Difficulty ●●○○○, 10 minutes.* A fault has a `kind` and `paths`, relative to the folder. From a list
# of them make two lists of file names, sorted, without folders: of files that are "unreadable", and of
# **copies**. Two files hold one picture where the kind is "duplicate", "near_duplicate" or
# "train_test_leak"; keep the one whose name comes first, and leave out the other. Of three files of one
# picture, two are left out. Other kinds change nothing here.

# %% tags=["exercise"]
def to_leave_out(faults):
    """{"unreadable": [file names], "copies": [file names]}"""
    ...  # your code here


def audited(faults):
    """Until yours is right: what cannot be read is left out, and copies stay."""
    return {"unreadable": sorted(Path(fault.paths[0]).name for fault in faults
                                 if fault.kind == "unreadable"), "copies": []}

leave_out = check("12.2", to_leave_out, otherwise=audited)

# %% [markdown] tags=["hint"]
# `Path(path).name` is the file's name. Of a pair, `sorted(names)[1:]` is the one that goes. Three copies
# give three pairs: collect in a set, so that nothing is in the list twice.

# %% tags=["solution"]
from pathlib import Path

def to_leave_out(faults):
    unreadable, copies = set(), set()
    for fault in faults:
        names = sorted(Path(path).name for path in fault.paths)
        if fault.kind == "unreadable":
            unreadable.update(names)
        elif fault.kind in ("duplicate", "near_duplicate", "train_test_leak"):
            copies.update(names[1:])
    return {"unreadable": sorted(unreadable), "copies": sorted(copies)}

# %%
left_out = leave_out(found.faults)
clean = [path for path in learn if path.name not in {*left_out["unreadable"], *left_out["copies"]}]
print(f"{len(clean)} of {len(learn)} pictures stay")
for why, files in left_out.items():
    print(f"left out, {why}:", ", ".join(files) or "none")

# %% [markdown]
# Then the parts. Each half of the pictures judges the other (lesson 08), so that a bad part is judged by a
# bank that has not seen it.

# %%
from indad import PatchCore

options = chosen.options(resize=160, seed=0)
strange = {}
for ours, theirs in ((clean[::2], clean[1::2]), (clean[1::2], clean[::2])):
    scores = PatchCore(**options).fit(ours).predict(theirs).scores
    strange |= {path.name: float(score) for path, score in zip(theirs, scores, strict=True)}
ranked = sorted(strange, key=strange.get, reverse=True)
figure, axes = canvas(6, size=1.8)
for place, file in enumerate(ranked[:6]):
    panel(axes[0, place], read_image(week / "learn/good" / file), f"{file}\n{strange[file]:.1f}")
show(figure, "the six strangest of the drawn parts to learn from, with their scores")

# %% [markdown]
# ### Exercise 12.3: how strange is too strange?
#
# *Difficulty ●●●○○, 10 minutes.* A limit helps the eye. Take the median m of the scores, and s, the
# median of |score − m|; beyond m + 6 s a part deserves a look. But never call more than a quarter of the
# pictures strange: if more scores are beyond, the limit is the lowest number that lets only a quarter of
# them (rounded down) exceed it.

# %% tags=["exercise"]
def limit(scores):
    """Scores above it deserve a look; `scores` is a list of numbers."""
    ...  # your code here


def robust(scores):
    """Until yours is right: the limit that `robust=True` takes."""
    return robust_limit(np.asarray(scores))[0]

import numpy as np

from indad.learned.suspects import robust_limit

limit_of = check("12.3", limit, otherwise=robust)

# %% [markdown] tags=["hint"]
# Sort downwards. If a quarter of n, rounded down, is q, then the score at place q (counted from 0) is
# exceeded by at most q scores. The limit is the larger one of the two.

# %% tags=["solution"]
import numpy as np

def limit(scores):
    scores = np.sort(np.asarray(scores, float))[::-1]
    middle = np.median(scores)
    return float(max(middle + 6 * np.median(np.abs(scores - middle)), scores[len(scores) // 4]))

# %%
line = limit_of([*strange.values()])
print(f"beyond {line:.2f}:", ", ".join(file for file in ranked if strange[file] > line) or "none")

# %% [markdown]
# A limit decides nothing. Look at the six above, and type the names of those that **you** call bad, with
# commas between them; or leave it empty, if none is. Then run this cell and the ones below again.

# %%
#@title Bad parts among those to learn from { display-mode: "form" }
bad_parts = ""  #@param {type: "string"}

bad = sorted({part.strip() for part in bad_parts.split(",") if part.strip()})
unknown = [file for file in bad if file not in strange]
print(f"not among the pictures: {', '.join(unknown)}" if unknown else f"bad parts: {', '.join(bad) or 'none'}")
kept = [path for path in clean if path.name not in bad]

# %% [markdown]
# **Think:** one of the six is good, but strange: in another light, or turned farther than the rest. What
# if you throw it out as well, and what if you leave a bad one in?

# %% [markdown] tags=["answer"]
# A good one thrown out makes the bank a little poorer: parts like it will raise alarms. A bad one left
# in hides every defect of its kind, and raises the threshold. With misses so much dearer than alarms the
# second is worse. The grader allows two good parts among those that you throw out, and no bad one that
# stays.

# %% [markdown] tags=["teacher"]
# - 40 minutes. In about one week of seven there is no bad part: those who throw out three all the same lose points.
# - Ask: what in the picture made you say bad? Who cannot say it should look again.

# %% [markdown]
# ## 2 · Learn, and choose a threshold
#
# The scores of good parts come from the pictures learned from, each judged by the bank without it (lesson
# 05); the scores of defective ones from those that the inspector has found. Of copies that are still
# there, one is learned, so there may be fewer scores than pictures.

# %%
model = PatchCore(**options).fit(kept)
good_scores = model.calibration_scores_.tolist()
bad_scores = model.predict(known["defective"]).scores.tolist()
print(f"{len(good_scores)} good scores, at most {max(good_scores):.2f}; "
      f"{len(bad_scores)} defective ones, {min(bad_scores):.2f} at least")

# %% [markdown]
# ### Exercise 12.4: the cheapest threshold
#
# *Difficulty ●●●●○, 20 minutes.* Parts whose score is *above* the threshold are thrown away. The rates
# of misses and of alarms are those of the given scores. Which threshold costs least per part? Between
# two scores nothing changes, so it is enough to try each score, and one number below all of them (which
# throws everything away).

# %% tags=["exercise"]
def cheapest(good, bad, share, miss, alarm):
    """A threshold of the least expected cost; `good` and `bad` are lists of scores."""
    ...  # your code here


def conformal(good, bad, share, miss, alarm):
    """Until yours is right: one good part in ten may raise an alarm, whatever that costs."""
    return conformal_threshold(np.asarray(good), 0.1)

from indad.calibration import conformal_threshold

threshold_of = check("12.4", cheapest, otherwise=conformal)

# %% [markdown] tags=["hint"]
# `min(candidates, key=cost)`, where `cost` is a function of the threshold: the share of bad scores that
# are not above it, the share of good scores above it, and the formula of the first exercise.

# %% tags=["solution"]
import numpy as np

def cheapest(good, bad, share, miss, alarm):
    good, bad = np.asarray(good, float), np.asarray(bad, float)

    def cost(threshold):
        return (share * np.mean(bad <= threshold) * miss
                + (1 - share) * np.mean(good > threshold) * alarm)

    every = np.concatenate([good, bad])
    return float(min([every.min() - 1, *every], key=cost))

# %%
from matplotlib import pyplot as plt

from indad.notebook.pictures import DEFECTIVE, GOOD

threshold = threshold_of(good_scores, bad_scores, costs.share, costs.miss, costs.alarm)
scores = dict(zip([path.name for path in judge], model.predict(judge).scores.tolist(), strict=True))
figure, axes = plt.subplots(figsize=(7, 2.4), layout="constrained")
rows = {"good": (good_scores, "o", GOOD), "defective": (bad_scores, "^", DEFECTIVE),
        "to be judged": ([*scores.values()], "s", "#666666")}
for place, (values, marker, colour) in enumerate(rows.values()):
    axes.plot(values, [place] * len(values), marker, color=colour, alpha=0.7)
axes.axvline(threshold, color="black", linestyle="--", label=f"threshold {threshold:.2f}")
axes.set_yticks(range(3), rows)
axes.set(xlabel="anomaly score", ylim=(-0.5, 2.5))
axes.legend(loc="lower right", bbox_to_anchor=(1, 1))  # above, where no score is
show(figure, "scores of good, defective and unjudged drawn parts, with the threshold")

# %% [markdown]
# **Think:** that threshold was chosen on the same eight defective parts that tell what it costs. Is the
# expected cost to be believed?

# %% [markdown] tags=["answer"]
# It is too low, a little: among all thresholds the one was picked that suits just these parts, so chance
# is on its side. And with eight defects no rate of misses below one in eight can be seen at all: zero of
# eight is compatible with three in ten (lesson 04). An honest report gives the number and says that.

# %% [markdown]
# ## 3 · Judge, and hand in
#
# ### Exercise 12.5: the report
#
# *Difficulty ●●●●●, 45 minutes.* Write the function that makes the report from what you have, a dict
# with
#
# - `name` as typed, and `seed`: what `seed_of(name)` gives;
# - `audit`: a dict with `unreadable`, `copies` and `bad`, three lists of file names;
# - `good_scores`, `bad_scores`, as given, and `scores`: file name → score of each part to be judged;
# - `threshold`: the cheapest, and `expected_cost`: euros per part at it, from the given scores;
# - `verdicts`: file name → "defective" where the score is above the threshold, "good" else;
# - `words`: thirty words at least, yours: what you found, why this threshold, what you would not promise.
#
# The check calls it with the numbers of other students. Whether *your* report is right is said below.

# %% tags=["exercise"]
def hand_in(name, left_out, bad, good_scores, bad_scores, scores, costs, words):
    """The report; `left_out` is that of 12.2, `costs` has `share`, `miss` and `alarm`."""
    ...  # your code here


check("12.5", hand_in)

# %% [markdown] tags=["hint"]
# `{"audit": {**left_out, "bad": bad}, ...}` joins dicts. Use `cheapest` and `expected_cost` of yours,
# which take the fields of `costs` one by one; rates are means of comparisons, as in 12.4.

# %% tags=["solution"]
import numpy as np

from indad.data.synthetic.capstone import seed_of

def hand_in(name, left_out, bad, good_scores, bad_scores, scores, costs, words):
    good, defective = np.asarray(good_scores), np.asarray(bad_scores)

    def cost(threshold):
        return float(costs.share * costs.miss * np.mean(defective <= threshold)
                     + (1 - costs.share) * costs.alarm * np.mean(good > threshold))

    every = np.concatenate([good, defective])
    threshold = float(min([every.min() - 1, *every], key=cost))
    return {"name": name, "seed": seed_of(name), "audit": {**left_out, "bad": list(bad)},
            "good_scores": list(good_scores), "bad_scores": list(bad_scores),
            "scores": dict(scores), "threshold": threshold, "expected_cost": cost(threshold),
            "verdicts": {file: "defective" if score > threshold else "good"
                         for file, score in scores.items()}, "words": words}

# %%
words = """
Here is room for what you found, why you chose this threshold, and what you would not promise.
"""
into = ""  # a folder to write the report to; if empty, the temporary one with the pictures

import json

report = hand_in(name, left_out, bad, good_scores, bad_scores, scores, costs, words) or {}
handed_in = Path(into or week.parent) / f"report_{seed_of(name)}.json"
handed_in.write_text(json.dumps(report, indent=1, default=str), encoding="utf-8")
try:
    from notebooks.checks.lesson_12 import grade_report
except ImportError:  # an installed package comes without the checks
    print("the grader is in the repository")
else:
    problems = grade_report(report)
    print(*problems or ["Everything is there, and right. Well done."], sep="\n")
print(f"written: {handed_in.name}")

# %% [markdown]
# The grader draws the truth from your seed again. It says what is missing or wrong, never what would be
# right. When it is content, set `into` above to a folder where you find the file again, and hand it in.

# %% [markdown] tags=["teacher"]
# - 60 minutes with the writing. Read the words; the grader can only count them.
# - A report that passes need not be perfect: verdicts must cost less than three quarters of the cheaper of selling
#   everything and throwing everything away.
# - What to ask in an oral: why did you (not) throw out this part? What if misses cost ten times as much?

# %% [markdown]
# ## Recap
#
# - Look at files, then at parts, before anything is learned; a name in a list is a decision to answer for.
# - The threshold comes from costs, shares and scores, and is as sure as the parts that it was taken from.
# - A report says what was done, what it will cost, and what is not known.
