"""The three synthetic objects: gear, capsule, circuit board.

As with the textures, `part` decides everything a good part has and `flaw` only the defect, so that
the same `part` generator gives exact twins.
"""

import math

import numpy as np

from .parts import (
    Canvas,
    blob,
    box,
    clouds,
    crack,
    crumb,
    disc,
    fibre,
    mix,
    path,
    planes,
    repeated,
    scratch,
    soft,
    stain,
    tinted,
    whole,
)

Generator = np.random.Generator


def _jitter_pose(part: Generator, shift: float, turn: float) -> Canvas:
    """A part laid down by a machine: never twice in quite the same place."""
    shift_x, shift_y = part.uniform(-shift, shift, 2).tolist()
    return Canvas.posed(shift_x, shift_y, part.uniform(-turn, turn))


# --- gear ----------------------------------------------------------------------------------------

TEETH, ROOT, TIP = 18, 84.0, 101.0
BOLTS, BOLT_CIRCLE, BOLT_RADIUS = 6, 52.0, 8.0


def draw_gear(part: Generator, defect: str, flaw: Generator) -> np.ndarray:
    """A turned steel gear, at any rotation, on a dark mat."""
    canvas = _jitter_pose(part, 6.0, math.pi)
    radius, angle = disc(canvas.u, canvas.v, 0.0), np.arctan2(canvas.v, canvas.u)
    outline = _teeth(canvas, radius, angle, defect, flaw)
    mat = mix((0.10, 0.12, 0.15), (0.15, 0.17, 0.20), 0.5 + 0.4 * clouds(part, 100))
    canvas.pixels[:] = mat * (1.0 + 0.06 * clouds(part, 4))
    canvas.paint((0.02, 0.02, 0.03), 0.7 * soft(np.roll(outline, (6, 5), (0, 1)), 9.0))
    canvas.paint(_steel(part, radius, angle + canvas.turn, outline), soft(outline))
    reach, towards = flaw.uniform(42, 75), flaw.uniform(0, 2 * math.pi)
    at = (reach * math.cos(towards), reach * math.sin(towards))
    if defect == "scratch":
        scratch(flaw, canvas, *at, length=flaw.uniform(30, 50), width=1.8, strength=0.9)
    elif defect == "rust":
        stain(flaw, canvas, *at, radius=flaw.uniform(7, 11), colour=(0.62, 0.36, 0.2),
              strength=0.8)
    _bore(canvas)  # holes come after the surface, as a scratch does not cross them
    clogged = int(flaw.integers(BOLTS)) if defect == "clogged_hole" else -1
    for number in range(BOLTS):
        _bolt_hole(part, canvas, number, clogged == number)
    if defect == "contamination":
        fibre(flaw, canvas, *at, length=flaw.uniform(20, 30), colour=(0.80, 0.62, 0.20), width=2.2)
    return canvas.pixels


def _teeth(canvas: Canvas, radius: np.ndarray, angle: np.ndarray, defect: str,
           flaw: Generator) -> np.ndarray:
    """-> distance to the outline; one tooth is missing or bent where the defect says so."""
    number = int(flaw.integers(TEETH))
    centre = (number + 0.5) * 2 * math.pi / TEETH - math.pi
    near_tooth = np.abs(angle - centre) < math.pi / TEETH
    if defect == "bent_tooth":
        lean = flaw.choice([-1.0, 1.0]) * flaw.uniform(0.08, 0.105)
        raised = np.clip((radius - ROOT) / (TIP - ROOT), 0.0, 1.0)
        angle = np.where(near_tooth, angle - np.float32(lean) * raised, angle)
    # A clipped cosine has flat tips and flat roots joined by slanted flanks.
    tooth = np.clip(0.5 - 1.3 * np.cos((angle + math.pi) * TEETH), 0.0, 1.0)
    # Dividing by the slope of the flanks keeps their edge about one pixel soft.
    flank = (tooth > 0.0) & (tooth < 1.0)
    outline = (radius - (ROOT + (TIP - ROOT) * tooth)) / (1.0 + 2.5 * flank.astype(np.float32))
    if defect == "missing_tooth":  # broken off along a slanted line
        stump = ROOT + flaw.uniform(0.0, 5.0) + flaw.uniform(-20, 20) * (angle - centre)
        outline = np.where(near_tooth, np.maximum(outline, radius - stump), outline)
    return outline


def _steel(part: Generator, radius: np.ndarray, angle: np.ndarray,
           outline: np.ndarray) -> np.ndarray:
    """Steel turned on a lathe: fine rings, and the bow-tie of light that such rings reflect."""
    ring_noise = np.interp(radius, np.arange(140), part.normal(0, 1, 140)).astype(np.float32)
    glint = np.cos(angle - part.uniform(0, math.pi)) ** 2
    grey = 0.46 + 0.26 * glint * glint * glint + 0.03 * ring_noise + 0.02 * clouds(part, 5)
    grey = grey * (1.0 + 0.05 * part.uniform(-1, 1))
    web = soft(np.abs(radius - BOLT_CIRCLE) - 22.0, 3.0)  # the ring milled lower than hub and rim
    grey = grey - 0.11 * web
    for step, lit in ((30.0, -1.0), (74.0, 1.0)):  # its two walls, lit from the upper left
        wall = np.exp(-(((radius - step) / 1.6) ** 2))
        grey = grey + 0.28 * lit * wall * np.cos(angle - 0.25 * math.pi)
    grey = grey + 0.12 * np.exp(-(((outline + 2.0) / 1.5) ** 2))  # chamfer along the teeth
    return np.clip(grey, 0, 1) * planes((0.97, 1.0, 1.04))


def _bore(canvas: Canvas) -> None:
    """The shaft hole with its keyway."""
    view = canvas.near(0, 0, 26)
    hole = np.minimum(disc(view.u, view.v, 15.0), box(view.u - 15.0, view.v, 5.0, 4.0, 0.5))
    view.paint((0.86, 0.88, 0.92), 0.6 * soft(np.abs(hole - 1.2) - 0.8))
    view.paint((0.05, 0.06, 0.08), soft(hole))


def _bolt_hole(part: Generator, canvas: Canvas, number: int, clogged: bool) -> None:
    angle = 2 * math.pi * number / BOLTS
    view = canvas.near(BOLT_CIRCLE * math.cos(angle), BOLT_CIRCLE * math.sin(angle), 14)
    distance = disc(view.u, view.v, BOLT_RADIUS)
    view.paint((0.85, 0.87, 0.90), 0.55 * soft(np.abs(distance - 1.0) - 0.8))
    depth = 0.09 + 0.04 * part.uniform()
    view.paint((depth, depth, depth * 1.15), soft(distance))
    if clogged:  # swarf left from drilling fills most of the hole
        plug = disc(view.u - 1.5, view.v - 1.0, BOLT_RADIUS - 1.5)
        shade = 0.34 + 0.10 * np.cos(1.1 * view.u + 0.8 * view.v)
        view.paint(planes((1.0, 0.95, 0.86)) * shade, soft(np.maximum(plug, distance), 1.5))


# --- capsule -------------------------------------------------------------------------------------

HALF_LENGTH, CAPSULE_RADIUS = 62.0, 37.0
SHELLS = ((0.78, 0.22, 0.17), (0.91, 0.86, 0.74))
INK = (0.16, 0.12, 0.14)
# The imprint "A7": polylines in units of one letter height, around the letters' middle.
LETTERS = (
    ((-0.85, 0.5), (-0.5, -0.5), (-0.15, 0.5)),
    ((-0.72, 0.15), (-0.28, 0.15)),
    ((0.15, -0.5), (0.8, -0.5), (0.4, 0.5)),
)


def draw_capsule(part: Generator, defect: str, flaw: Generator) -> np.ndarray:
    """A two-coloured hard capsule with an imprint, on a light tray."""
    canvas = _jitter_pose(part, 9.0, 0.22)
    u, v = canvas.u, canvas.v
    tray = tinted(part, (0.70, 0.73, 0.76), 0.05)
    canvas.pixels[:] = tray * (1.0 + 0.02 * clouds(part, 4) + 0.015 * clouds(part, 120))
    spot_u, spot_v = flaw.uniform(-60, 60), flaw.uniform(-16, 16)
    radius = CAPSULE_RADIUS + 1.8 * soft(u)  # the cap goes over the body
    if defect == "dent":
        radius = radius - _dent(flaw, canvas, spot_u)
    outline = _rod(u, v) - radius
    canvas.paint((0.12, 0.13, 0.15), 0.55 * soft(_rod(u - 5, v - 9) - CAPSULE_RADIUS, 14.0))
    canvas.paint(_shell(part, canvas, radius), soft(outline))
    _imprint(part, canvas, defect, flaw)
    if defect == "crack":
        crack(flaw, canvas, spot_u, spot_v, length=flaw.uniform(30, 45),
              heading=flaw.uniform(0, math.pi), colour=(0.22, 0.10, 0.08))
    elif defect == "scratch":
        scratch(flaw, canvas, spot_u, spot_v, length=flaw.uniform(28, 42), width=1.6, strength=0.7)
    elif defect == "contamination":
        crumb(flaw, canvas, spot_u, spot_v, radius=flaw.uniform(3.0, 4.5),
              colour=(0.30, 0.26, 0.20))
    return canvas.pixels


def _rod(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Distance to the capsule's axis."""
    beyond = np.maximum(np.abs(u) - HALF_LENGTH, 0.0)
    return np.sqrt(beyond * beyond + v * v)


def _dent(flaw: Generator, canvas: Canvas, spot_u: float) -> np.ndarray:
    """How far the shell is pushed in, on one of the two long sides only."""
    side = flaw.choice([-1.0, 1.0]).astype(np.float32)
    depth, width = flaw.uniform(5, 8), flaw.uniform(9, 14)
    return depth * np.exp(-(((canvas.u - spot_u) / width) ** 2)) * (canvas.v * side > 0)


def _shell(part: Generator, canvas: Canvas, radius: np.ndarray) -> np.ndarray:
    """Glossy round shell: brightness from the slope of its surface, and one long highlight."""
    u, v = canvas.u, canvas.v
    tilt = np.clip(_rod(u, v) / radius, 0.0, 1.0)
    upwards = np.sqrt(1.0 - tilt**2)
    seam = part.uniform(-4, 4)
    body = mix(tinted(part, SHELLS[0], 0.07), tinted(part, SHELLS[1], 0.05), soft(-(u - seam)))
    shade = 0.42 + 0.62 * upwards - 0.18 * v / radius
    shade = shade * (1.0 - 0.35 * np.exp(-(((u - seam - 2.0) / 2.0) ** 2)) * (u > seam))
    middle = np.maximum(np.abs(u) - HALF_LENGTH + 6, 0.0)
    gloss = np.exp(-((v / radius + 0.48) ** 2) / 0.012 - (middle / 9.0) ** 2)
    gloss = gloss * (0.45 + 0.15 * part.uniform(-1, 1))
    return np.clip(body * shade + gloss, 0.0, 1.0)


def _imprint(part: Generator, canvas: Canvas, defect: str, flaw: Generator) -> None:
    """Print the letters in ink; a faulty print is shifted and turned, or lacks a stroke."""
    at_u, at_v, turn = 38.0 + part.normal(0, 1.5), 4.0 + part.normal(0, 1.0), 0.0
    letters = list(LETTERS)
    if defect == "misplaced_print":
        turn = flaw.choice([-1.0, 1.0]) * flaw.uniform(0.4, 0.8)
        at_u, at_v = at_u + flaw.uniform(-6, 6), at_v + flaw.uniform(-4, 4)
    elif defect == "incomplete_print":
        letters.pop(int(flaw.integers(len(letters))))
    strength = 0.85 + 0.1 * part.uniform(-1, 1)
    view = canvas.near(at_u, at_v, 34, turn)
    nearest = np.min([path(view.u, view.v, 24.0 * np.array(line)) for line in letters], axis=0)
    view.paint(INK, strength * soft(nearest - 1.7))


# --- board ---------------------------------------------------------------------------------------

# Where things sit, in pixels from the board's centre: (u, v) and for chips (half u, half v).
CHIPS = ((-42, -30, 30, 22), (57, 34, 22, 26), (-58, 52, 18, 14))
RESISTORS = tuple((24 + 24 * i, -78, math.pi / 2) for i in range(4)) + (
    (14, -18, 0.0), (14, 0, 0.0), (14, 18, 0.0), (-22, 48, math.pi / 2), (2, 48, math.pi / 2),
    (-22, 80, 0.0), (4, 84, 0.0))
CAPACITORS = ((56, -34, 0.0), (84, -34, 0.0), (-88, -78, math.pi / 2), (-66, -78, math.pi / 2))
TRACES = (
    ((-96, -60), (-80, -60), (-72, -52)), ((24, -66), (24, -44), (56, -44)),
    ((48, -66), (48, -54), (84, -54), (84, -44)), ((72, -66), (96, -66), (96, 40), (80, 40)),
    ((-12, -40), (0, -40), (0, -18), (6, -18)), ((-12, -24), (-4, -24), (-4, 0), (6, 0)),
    ((22, 0), (30, 8), (30, 22)), ((22, 18), (24, 20), (24, 42), (30, 42)),
    ((-40, 52), (-30, 60), (-30, 80)), ((-22, 38), (-22, 10), (-30, 0)),
    ((2, 38), (2, 28), (14, 28)),
    ((10, 84), (52, 84), (52, 66)), ((-96, 10), (-86, 10), (-78, 2), (-74, 2)),
    ((-96, 90), (-50, 90), (-40, 80), (-30, 80)), ((-58, 30), (-58, 20), (-50, 12), (-50, 0)),
)
VIAS = ((-96, -60), (-96, 10), (-96, 90), (96, 70), (96, 86), (80, 86), (-34, -88), (-14, -88),
        (-14, -74), (30, 66), (-90, 34), (-90, -20))
PIN_PITCH = 8.0
COPPER, GOLD, SOLDER = (0.14, 0.46, 0.26), (0.80, 0.66, 0.30), (0.74, 0.76, 0.77)


def draw_board(part: Generator, defect: str, flaw: Generator) -> np.ndarray:
    """A populated circuit board; parts are placed with the tolerance of a placing machine."""
    canvas = _jitter_pose(part, 4.0, 0.03)
    _bare_board(part, canvas)
    victim = int(flaw.integers(len(RESISTORS)))
    for trace in TRACES:
        canvas.stroke(np.array(trace), 3.2, COPPER)
    if defect == "cut_trace":
        _cut_trace(flaw, canvas)
    for via in VIAS:
        _via(canvas, *via)
    for number, (u, v, turn) in enumerate(RESISTORS):
        fate = defect if number == victim else "good"
        _two_pole(part, canvas, (u, v, turn), "resistor", fate, flaw)
    for place in CAPACITORS:
        _two_pole(part, canvas, place, "capacitor", "good", flaw)
    turned = int(flaw.integers(len(CHIPS))) if defect in ("misplaced", "reversed_chip") else -1
    for number, chip in enumerate(CHIPS):
        _chip(part, canvas, chip, defect if number == turned else "good", flaw)
    if defect == "solder_bridge":
        _bridge(flaw, canvas)
    elif defect == "scratch":
        scratch(flaw, canvas, *flaw.uniform(-80, 80, 2).tolist(), length=flaw.uniform(25, 45),
                width=1.2, light=(0.55, 0.68, 0.52), strength=0.45)
    return canvas.pixels


def _bare_board(part: Generator, canvas: Canvas) -> None:
    """Solder mask on the board, a dark table around it, and four mounting holes."""
    canvas.pixels[:] = np.float32(0.10) + 0.01 * clouds(part, 60)
    outline = box(canvas.u, canvas.v, 114, 108, 6)
    green = tinted(part, (0.07, 0.31, 0.19), 0.10)
    canvas.paint(green * (1.0 + 0.05 * clouds(part, 4) + 0.04 * clouds(part, 128)),
                 soft(outline))
    canvas.paint((0.45, 0.55, 0.40), 0.6 * soft(np.abs(outline + 1.0) - 0.8))
    for u, v in ((-102, -96), (102, -96), (-102, 96), (102, 96)):
        view = canvas.near(u, v, 12)
        view.paint(GOLD, soft(disc(view.u, view.v, 8.0)))
        view.paint((0.08, 0.08, 0.09), soft(disc(view.u, view.v, 5.0)))


def _via(canvas: Canvas, u: float, v: float) -> None:
    view = canvas.near(u, v, 6)
    view.paint(GOLD, soft(disc(view.u, view.v, 3.6)))
    view.paint((0.07, 0.08, 0.07), soft(disc(view.u, view.v, 1.5)))


def _two_pole(part: Generator, canvas: Canvas, place: tuple[float, float, float], kind: str,
              fate: str, flaw: Generator) -> None:
    """A resistor or capacitor on its two pads: soldered, or missing, or the wrong kind."""
    u, v, turn = place
    pads = canvas.near(u, v, 14, turn)
    pads.paint(SOLDER, soft(box(np.abs(pads.u) - 8.0, pads.v, 4.2, 5.4, 1.0)))
    du, dv, skew = part.normal(0, (0.8, 0.8, 0.045)).tolist()
    shade, mark = 1.0 + 0.12 * part.uniform(-1, 1), part.uniform()
    if fate == "missing":
        return
    if fate == "wrong_part":
        kind = "capacitor" if kind == "resistor" else "resistor"
    body = canvas.near(u + du, v + dv, 14, turn + skew)
    body.paint((0, 0, 0), 0.45 * soft(box(body.u - 1.2, body.v - 1.2, 9.5, 5.0, 1.0), 2.5))
    body.paint((0.86, 0.87, 0.88), soft(box(body.u, body.v, 9.5, 4.6, 1.0)))
    colour = (0.10, 0.10, 0.12) if kind == "resistor" else (0.60, 0.45, 0.30)
    body.paint(planes(colour) * shade, soft(box(body.u, body.v, 6.6, 4.8, 0.5)))
    if kind == "resistor":  # three printed digits, of any value
        bars = box(np.abs(body.u + 0.2) - 2.6, body.v, 0.5 + 0.4 * mark, 2.2)
        body.paint((0.8, 0.8, 0.8), 0.7 * soft(np.minimum(bars, box(body.u, body.v, 0.7, 2.2))))


def _chip(part: Generator, canvas: Canvas, chip: tuple[float, float, float, float], fate: str,
          flaw: Generator) -> None:
    """A black package with pins left and right, print and the dot that marks pin one."""
    u, v, half_u, half_v = chip
    du, dv, turn = part.normal(0, (0.7, 0.7, 0.014)).tolist()
    if fate == "misplaced":
        du, dv = du + flaw.uniform(-2, 2), dv + flaw.uniform(-2, 2)
        turn += flaw.choice([-1.0, 1.0]) * flaw.uniform(0.06, 0.10)
    view = canvas.near(u + du, v + dv, math.hypot(half_u + 8, half_v) + 5, turn)
    view.paint((0, 0, 0), 0.4 * soft(box(view.u - 2, view.v - 2, half_u + 1, half_v + 2, 2), 5.0))
    if fate == "reversed_chip":  # after the shadow, which falls to the same side all the same
        view.u, view.v = -view.u, -view.v
    pins = np.maximum(box(np.abs(view.u) - half_u, repeated(view.v, PIN_PITCH), 6.5, 2.0, 0.5),
                      np.abs(view.v) - PIN_PITCH * (_gaps(half_v) + 0.4))
    view.paint(SOLDER, soft(pins))
    black = tinted(part, (0.13, 0.13, 0.14), 0.15)
    edge = box(view.u, view.v, half_u - 2, half_v + 1, 1.5)
    view.paint(black, soft(edge))
    view.paint((0.30, 0.30, 0.32), 0.6 * soft(np.abs(edge + 1.2) - 0.6))
    view.paint((0.40, 0.40, 0.41), soft(disc(view.u + half_u - 8, view.v + half_v - 6, 2.4)))
    _chip_print(part, view, half_u)


def _gaps(half_v: float) -> int:
    """How many gaps between pins a chip has above its middle pin, and as many below."""
    return int((half_v - 2) // PIN_PITCH)


def _chip_print(part: Generator, view: Canvas, half_u: float) -> None:
    """Two lines of print that no two batches share, drawn as little bars."""
    letters = part.uniform(0.35, 1.0, 32).astype(np.float32)
    column = whole(view.u / 3.0 + 0.5) + np.int16(16) * (view.v > 0)
    bar = box(repeated(view.u, 3.0), np.abs(view.v) - 4.0, 0.9, 2.4)
    bar = np.maximum(bar, np.abs(view.u) - half_u + 9.0)
    view.paint((0.62, 0.62, 0.62), 0.7 * letters[column & 31] * soft(bar))


def _cut_trace(flaw: Generator, canvas: Canvas) -> None:
    """The mask colour across one trace, and the bright ends of the cut copper."""
    trace = np.array(TRACES[int(flaw.integers(len(TRACES)))], float)
    along = flaw.integers(len(trace) - 1)
    at = trace[along] + flaw.uniform(0.35, 0.65) * (trace[along + 1] - trace[along])
    heading = math.atan2(*(trace[along + 1] - trace[along])[::-1])
    view = canvas.near(float(at[0]), float(at[1]), 10, heading)
    view.paint((0.62, 0.46, 0.24), soft(box(view.u, view.v, 4.8, 2.6, 0.5)))
    view.paint((0.09, 0.20, 0.12), soft(box(view.u, view.v, 2.6, 3.4, 0.5)))


def _bridge(flaw: Generator, canvas: Canvas) -> None:
    """Solder that joins two neighbouring pins of a chip."""
    u, v, half_u, half_v = CHIPS[int(flaw.integers(len(CHIPS)))]
    gaps = _gaps(half_v)
    at_u = u + flaw.choice([-1.0, 1.0]) * (half_u + 3.0)
    at_v = v + PIN_PITCH * (int(flaw.integers(-gaps, gaps)) + 0.5)
    view = canvas.near(float(at_u), at_v, 12)
    distance = blob(flaw, view, 4.0, rough=0.2)
    view.paint((0.72, 0.74, 0.76), soft(distance))
    view.paint((0.93, 0.94, 0.95), 0.8 * soft(disc(view.u + 0.9, view.v + 1.1, 1.2)))
