"""The three synthetic textures: woven cloth, glazed tiles, wood.

Each draw function takes two generators: `part` decides everything a good part has, `flaw` only the
defect. The same `part` generator with and without a defect therefore gives exact twins, whose
difference the mask outlines.
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
    planes,
    scratch,
    soft,
    stain,
    tinted,
    whole,
)

Generator = np.random.Generator


def _spot(flaw: Generator, margin: float = 45.0) -> tuple[float, float]:
    """A place for a defect, far enough from the border that all of it shows."""
    limit = 128.0 - margin
    return flaw.uniform(-limit, limit), flaw.uniform(-limit, limit)


def _loose_pose(part: Generator, turn: float) -> Canvas:
    """A texture is cut from an endless sheet: any phase, nearly the same direction."""
    return Canvas.posed(turn=part.uniform(-turn, turn))


# --- weave ---------------------------------------------------------------------------------------

THREAD = 12.0  # pixels from one thread to the next
WARP_COLOUR, WEFT_COLOUR = (0.27, 0.37, 0.56), (0.74, 0.72, 0.66)


def draw_weave(part: Generator, defect: str, flaw: Generator) -> np.ndarray:
    """Plain-woven cloth of blue and natural yarn."""
    canvas = _loose_pose(part, 0.05)
    u = canvas.u + 2.0 * clouds(part, 4) + part.uniform(0, 2 * THREAD)
    v = canvas.v + 2.0 * clouds(part, 4) + part.uniform(0, 2 * THREAD)
    spot_u, spot_v = _spot(flaw)
    if defect == "pulled_thread":
        v = v + _pull(canvas, spot_u, spot_v)
    canvas.pixels[:] = _cloth(part, u, v)
    if defect == "pulled_thread":
        _loop(flaw, canvas, spot_u, spot_v)
    if defect == "hole":
        _torn_hole(flaw, canvas, spot_u, spot_v)
    elif defect == "cut":
        _cut(flaw, canvas, spot_u, spot_v)
    elif defect == "stain":
        stain(flaw, canvas, spot_u, spot_v, radius=flaw.uniform(12, 22), colour=(0.5, 0.38, 0.25),
              strength=0.85)
    elif defect == "contamination":
        fibre(flaw, canvas, spot_u, spot_v, length=flaw.uniform(50, 80), colour=(0.75, 0.16, 0.14),
              width=2.6)
    return canvas.pixels


def _cloth(part: Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Yarn coordinates -> planes (3, 256, 256): each crossing shows the thread that lies on top."""
    column, row = whole(u / THREAD), whole(v / THREAD)
    across, along = u / THREAD - column - 0.5, v / THREAD - row - 0.5
    warp_on_top = (column + row) & 1 == 0
    # Seen across, a thread is round; seen along, it dips under its neighbour at both ends.
    side = np.where(warp_on_top, across, along)
    dip = np.where(warp_on_top, along, across)
    roundness = np.maximum(np.cos(math.pi * side), 0.0) ** 0.7
    height = roundness * (0.55 + 0.45 * np.cos(math.pi * dip))
    twist = 0.10 * np.sin(2 * math.pi * (2.0 * side + 2.0 * dip))
    fuzz = 1.0 + 0.06 * clouds(part, 128) + 0.05 * clouds(part, 5)
    dyes = part.normal(1.0, 0.05, (2, 64)).astype(np.float32)
    shades = np.where(warp_on_top, dyes[0][column & 63], dyes[1][row & 63])
    relief = 0.25 + (0.8 + twist) * height
    shade = shades * fuzz * relief
    colour = mix(tinted(part, WEFT_COLOUR, 0.06), tinted(part, WARP_COLOUR, 0.06), warp_on_top)
    return colour * shade


def _pull(canvas: Canvas, spot_u: float, spot_v: float) -> np.ndarray:
    """Shift of the yarn coordinates where one thread was caught and dragged its neighbours along.

    The bump is lower than wide, as a steeper one would fold the cloth over itself.
    """
    du, dv = canvas.u - spot_u, canvas.v - spot_v
    return 7.0 * np.exp(-((du / 24.0) ** 2) - (dv / 10.0) ** 2)


def _loop(flaw: Generator, canvas: Canvas, spot_u: float, spot_v: float) -> None:
    """The slack of the pulled thread stands up from the cloth as a loop with a shadow."""
    turn = np.linspace(0.0, math.pi, 12)
    width, height = flaw.uniform(5, 8), flaw.uniform(14, 20)
    loop = np.stack([spot_u + width * np.cos(turn), spot_v - 4 - height * np.sin(turn)], axis=1)
    canvas.stroke(loop + 3.0, 4.0, (0.0, 0.0, 0.0), 0.4, edge=4.0)
    canvas.stroke(loop, 4.2, (0.45, 0.43, 0.39))
    canvas.stroke(loop - 0.5, 2.4, WEFT_COLOUR)


def _torn_hole(flaw: Generator, canvas: Canvas, spot_u: float, spot_v: float) -> None:
    radius = flaw.uniform(9, 17)
    view = canvas.near(spot_u, spot_v, 2 * radius + 8)
    distance = blob(flaw, view, radius, rough=0.35)
    view.paint(view.pixels * 0.6, soft(distance - 3.0, 6.0))
    view.paint((0.06, 0.05, 0.06), soft(distance, 1.5))
    for _ in range(5):  # yarn ends that hang into the hole
        angle = flaw.uniform(0, 2 * math.pi)
        rim = radius * np.array([math.cos(angle), math.sin(angle)])
        ends = np.stack([1.15 * rim, flaw.uniform(0.3, 0.6) * rim + flaw.normal(0, 2, 2)])
        canvas.stroke(ends + (spot_u, spot_v), 1.8, flaw.choice([WARP_COLOUR, WEFT_COLOUR]), 0.9)


def _cut(flaw: Generator, canvas: Canvas, spot_u: float, spot_v: float) -> None:
    """A slit that gapes in the middle: the tension of the cloth pulls its lips apart."""
    heading, half = flaw.uniform(0, math.pi), flaw.uniform(18, 30)
    view = canvas.near(spot_u, spot_v, half + 8, heading)
    gap = flaw.uniform(2.5, 4.0) * np.clip(1.0 - (view.u / half) ** 2, 0.0, None)
    lips = np.where(np.abs(view.u) < half, np.abs(view.v) - gap, np.float32(9.0))
    view.paint((0.85, 0.85, 0.82), 0.6 * soft(lips - 1.6, 2.0))
    view.paint((0.05, 0.05, 0.06), soft(lips, 1.2))


# --- tiles ---------------------------------------------------------------------------------------

PITCH = 62.0  # pixels from one tile to the next
HALF_TILE = 28.5
GLAZES = ((0.16, 0.47, 0.50), (0.86, 0.83, 0.74))
CLAY = (0.62, 0.36, 0.25)


def draw_tiles(part: Generator, defect: str, flaw: Generator) -> np.ndarray:
    """Chequered glazed tiles with grout between them."""
    canvas = _loose_pose(part, 0.04)
    u, v = canvas.u + part.uniform(0, 2 * PITCH), canvas.v + part.uniform(0, 2 * PITCH)
    column, row = whole(u / PITCH), whole(v / PITCH)
    a, b = (u / PITCH - column - 0.5) * PITCH, (v / PITCH - row - 0.5) * PITCH
    # Defects sit on one tile near the centre, so that it lies wholly in the picture.
    pick = (int(flaw.integers(96, 160)), int(flaw.integers(96, 160)))
    home = (float(canvas.u[pick] - a[pick]), float(canvas.v[pick] - b[pick]))
    grout, glaze = _tile_colours(part, column, row)
    canvas.pixels[:] = grout
    _lay(canvas, a, b, glaze)
    if defect == "misplaced":
        chosen = (column == column[pick]) & (row == row[pick])
        canvas.paint(grout, chosen.astype(np.float32))
        _loose_tile(flaw, canvas, home, glaze[:, pick[0], pick[1]])
    _mar_tile(flaw, canvas, defect, home)
    return canvas.pixels


def _mar_tile(flaw: Generator, canvas: Canvas, defect: str, home: tuple[float, float]) -> None:
    """The defects that lie on top of one tile."""
    spot = (home[0] + flaw.uniform(-12, 12), home[1] + flaw.uniform(-12, 12))
    if defect == "chip":
        _chipped_corner(flaw, canvas, *home)
    elif defect == "crack":
        crack(flaw, canvas, *spot, length=flaw.uniform(35, 50), heading=flaw.uniform(0, math.pi),
              colour=(0.08, 0.07, 0.06), width=1.8)
    elif defect == "stain":
        stain(flaw, canvas, *spot, radius=flaw.uniform(9, 15), colour=(0.55, 0.36, 0.2),
              strength=0.9)
    elif defect == "contamination":
        crumb(flaw, canvas, *spot, radius=flaw.uniform(5, 8), colour=(0.62, 0.60, 0.56))


def _tile_colours(part: Generator, column: np.ndarray,
                  row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """-> grout and glaze, both (3, 256, 256); no two tiles leave the kiln in quite one shade."""
    grout = mix((0.50, 0.48, 0.45), (0.60, 0.58, 0.55), 0.5 + 0.4 * clouds(part, 128))
    shades = part.normal(1.0, 0.05, (16, 16)).astype(np.float32)[row & 15, column & 15]
    mottle = shades * (1.0 + 0.05 * clouds(part, 6) + 0.025 * clouds(part, 90))
    chequer = ((row + column) & 1).astype(np.float32)
    glaze = mix(tinted(part, GLAZES[0], 0.06), tinted(part, GLAZES[1], 0.04), chequer)
    return grout, glaze * mottle


def _lay(canvas: Canvas, a: np.ndarray, b: np.ndarray, glaze: np.ndarray) -> None:
    """Paint tiles: (a, b) are coordinates inside each pixel's own tile, so all are one shape."""
    distance = box(a, b, HALF_TILE, HALF_TILE, 4.0)
    canvas.paint((0.1, 0.1, 0.1), 0.5 * soft(box(a - 1.5, b - 1.5, HALF_TILE, HALF_TILE, 4.0), 3.0))
    # The pillowed rim faces the light at the upper left and turns away at the lower right.
    rim = np.clip(1.0 + distance / 6.0, 0.0, 1.0) ** 2
    relief = 1.0 - (0.35 / (2 * HALF_TILE)) * rim * (a + b)
    sheen = np.exp(-(((a + 10) / 14) ** 2) - ((b + 12) / 9) ** 2)
    canvas.paint(planes(glaze) * relief + 0.12 * sheen, soft(distance))


def _loose_tile(flaw: Generator, canvas: Canvas, home: tuple[float, float],
                glaze: np.ndarray) -> None:
    """One tile that slipped and turned before the grout set; it overlaps its neighbours."""
    turn = flaw.choice([-1.0, 1.0]) * flaw.uniform(0.14, 0.26)
    u, v = home[0] + flaw.uniform(-4, 4), home[1] + flaw.uniform(-4, 4)
    view = canvas.near(u, v, 1.6 * HALF_TILE, turn)
    _lay(view, view.u, view.v, glaze)


def _chipped_corner(flaw: Generator, canvas: Canvas, home_u: float, home_v: float) -> None:
    """A broken-off corner shows the clay under the glaze."""
    side_u, side_v = flaw.choice([-1.0, 1.0], 2)
    at = (home_u + side_u * (HALF_TILE - 4), home_v + side_v * (HALF_TILE - 4))
    view = canvas.near(float(at[0]), float(at[1]), 36)
    distance = blob(flaw, view, flaw.uniform(8, 12), rough=0.3)
    inside = box(view.u + side_u * (HALF_TILE - 4), view.v + side_v * (HALF_TILE - 4),
                 HALF_TILE, HALF_TILE, 4.0)
    distance = np.maximum(distance, inside)
    view.paint((0.95, 0.93, 0.9), 0.7 * soft(distance - 1.2))
    shade = 1.0 + 0.05 * (view.u + view.v)
    view.paint(planes(CLAY) * np.clip(shade, 0.6, 1.3), soft(distance))


# --- wood ----------------------------------------------------------------------------------------


def draw_wood(part: Generator, defect: str, flaw: Generator) -> np.ndarray:
    """Planed pine: grain runs upwards, with pores and now and then a sound knot."""
    canvas = _loose_pose(part, 0.08)
    canvas.pixels[:] = _grain(part, canvas)
    spot_u, spot_v = _spot(flaw)
    if defect == "scratch":
        scratch(flaw, canvas, spot_u, spot_v, length=flaw.uniform(25, 45), width=1.2,
                light=(0.93, 0.80, 0.62), strength=0.38, heading=flaw.uniform(-1.0, 1.0))
    elif defect == "stain":
        stain(flaw, canvas, spot_u, spot_v, radius=flaw.uniform(7, 12), colour=(0.62, 0.55, 0.5),
              strength=0.28)
    elif defect == "hole":
        _worm_holes(flaw, canvas, spot_u, spot_v)
    elif defect == "crack":
        crack(flaw, canvas, spot_u, spot_v, length=flaw.uniform(22, 42), heading=math.pi / 2,
              colour=(0.2, 0.11, 0.05), width=1.4, strength=0.6, bend=0.12)
    elif defect == "contamination":
        crumb(flaw, canvas, spot_u, spot_v, radius=flaw.uniform(1.6, 2.6),
              colour=(0.74, 0.64, 0.5))
    return canvas.pixels


def _grain(part: Generator, canvas: Canvas) -> np.ndarray:
    """Growth rings cut lengthwise: stripes with one sharp side, bent around the knots."""
    across = canvas.u + 9.0 * clouds(part, 3) + 1.2 * clouds(part, 6, 24)
    heart = np.zeros_like(across)
    for _ in range(int(part.integers(0, 3))):
        across, heart = _knot(part, canvas, across, heart)
    ring = across / part.uniform(13, 17) + part.uniform(0, 1) + 0.8 * clouds(part, 1, 5)
    phase = ring - np.floor(ring)
    late = phase * phase * phase * np.clip((1.0 - phase) / 0.12, 0.0, 1.0)
    pores = np.clip(clouds(part, 14, 160) - 0.7, 0.0, 1.0)
    tone = 0.6 * late + 0.12 * clouds(part, 2, 8) + 0.07 * clouds(part, 24, 200) + 0.35 * pores
    tone = np.clip(tone, -0.3, 1.0) * (1.0 - heart)
    wood = mix(tinted(part, (0.84, 0.65, 0.43), 0.08), (0.48, 0.27, 0.13), tone)
    return mix(wood, (0.36, 0.19, 0.09), heart)


def _knot(part: Generator, canvas: Canvas, across: np.ndarray,
          heart: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Push the rings aside around a branch, and darken its heart."""
    radius = part.uniform(5, 11)
    du, dv = canvas.u - part.uniform(-110, 110), (canvas.v - part.uniform(-110, 110)) / 1.3
    distance = np.sqrt(du * du + dv * dv)
    across = across - du * 0.9 * np.exp(-((distance / (2.2 * radius)) ** 2))
    rings = 0.75 + 0.15 * np.cos(distance * 1.8)
    return across, np.maximum(heart, rings * soft(distance - radius, 4.0))


def _worm_holes(flaw: Generator, canvas: Canvas, spot_u: float, spot_v: float) -> None:
    for _ in range(int(flaw.integers(1, 4))):
        u, v = spot_u + flaw.normal(0, 9), spot_v + flaw.normal(0, 9)
        view = canvas.near(u, v, 8)
        distance = disc(view.u, view.v, flaw.uniform(1.6, 2.4))
        view.paint((0.16, 0.09, 0.05), 0.85 * soft(distance, 1.3))
