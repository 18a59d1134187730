"""Drawing tools of the synthetic parts: a posed canvas, soft shapes, common blemishes, a camera.

Every shape is a signed distance in pixels (negative inside) turned into a coverage between 0 and 1
by `soft`. That gives anti-aliased edges at any pose without drawing at a higher resolution, which
keeps a picture at a few milliseconds.

Pictures are float32 planes (3, 256, 256) with values 0..1: with the channel first numpy works on
long runs of memory, several times faster than on triples. Randomness comes only from the numpy
Generator that a function is given, so a picture is a function of its generators alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image

SIZE = 256

Colour = tuple[float, float, float] | np.ndarray


@cache
def grid() -> tuple[np.ndarray, np.ndarray]:
    """-> x, y: two (256, 256) float32 arrays of pixel coordinates from the picture's centre.

    Cached and read-only, because every picture starts from the same two arrays.
    """
    axis = np.arange(SIZE, dtype=np.float32) - (SIZE - 1) / 2
    x, y = np.meshgrid(axis, axis)
    x.flags.writeable = y.flags.writeable = False
    return x, y


def soft(distance: np.ndarray, edge: float = 1.0) -> np.ndarray:
    """Signed distance -> coverage 0..1; `edge` is the width of the transition in pixels."""
    return np.clip(0.5 - distance / edge, 0.0, 1.0)


def clouds(rng: np.random.Generator, rows: int, columns: int | None = None) -> np.ndarray:
    """-> (256, 256) float32 smooth noise, deviation about 0.6, from a coarse random lattice.

    Enlarging a small lattice costs a fraction of blurring full-size noise; unequal counts of rows
    and columns give streaks (wood pores, brushed metal).
    """
    lattice = rng.standard_normal((rows, columns or rows), dtype=np.float32)
    enlarged = Image.fromarray(lattice).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    return np.asarray(enlarged)


def whole(values: np.ndarray) -> np.ndarray:
    """Rounded down, as int16: narrow enough that its sum with float32 stays float32."""
    return np.floor(values).astype(np.int16)


def repeated(values: np.ndarray, period: float) -> np.ndarray:
    """Coordinates -period/2..period/2 of the nearest copy in an endless row of copies."""
    return values - period * np.rint(values / period)


def planes(colour: Colour) -> np.ndarray:
    """One colour (3,) -> (3, 1, 1) float32, ready to multiply with pixels; planes pass through."""
    colour = np.asarray(colour, np.float32)
    return colour[:, None, None] if colour.ndim == 1 else colour


def mix(first: Colour, second: Colour, amount: np.ndarray) -> np.ndarray:
    """Blend two colours by an (h, w) amount 0..1 -> (3, h, w) float32."""
    first, second = planes(first), planes(second)
    return first + amount * (second - first)


def tinted(rng: np.random.Generator, colour: Colour, spread: float) -> np.ndarray:
    """A colour with its brightness varied by `spread`, as two parts are never dyed quite alike."""
    return planes(colour) * np.float32(1.0 + spread * rng.uniform(-1.0, 1.0))


# --- shapes: signed distances in pixels ---------------------------------------------------------


def disc(u: np.ndarray, v: np.ndarray, radius: float) -> np.ndarray:
    return np.sqrt(u * u + v * v) - radius


def box(u: np.ndarray, v: np.ndarray, half_u: float, half_v: float,
        corner: float = 0.0) -> np.ndarray:
    """Rectangle around the origin with rounded corners."""
    beyond_u, beyond_v = np.abs(u) - (half_u - corner), np.abs(v) - (half_v - corner)
    outside = np.sqrt(np.maximum(beyond_u, 0) ** 2 + np.maximum(beyond_v, 0) ** 2)
    return outside + np.minimum(np.maximum(beyond_u, beyond_v), 0) - corner


def path(u: np.ndarray, v: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Distance to a polyline of (n, 2) points."""
    nearest = np.full(u.shape, np.inf, np.float32)
    rows = np.asarray(points, dtype=np.float64).tolist()
    for (u0, v0), (u1, v1) in zip(rows, rows[1:], strict=False):
        du, dv = u1 - u0, v1 - v0
        along = np.clip(((u - u0) * du + (v - v0) * dv) / max(du * du + dv * dv, 1e-9), 0, 1)
        nearest = np.minimum(nearest, (u - u0 - along * du) ** 2 + (v - v0 - along * dv) ** 2)
    return np.sqrt(nearest)


def wander(rng: np.random.Generator, start: Sequence[float] | np.ndarray, heading: float,
           length: float, bend: float, steps: int = 10) -> np.ndarray:
    """-> (steps + 1, 2) points of a line whose heading changes by about `bend` radians a step.
    """
    headings = heading + np.cumsum(rng.normal(0.0, bend, steps))
    moves = np.stack([np.cos(headings), np.sin(headings)], axis=1) * (length / steps)
    return np.concatenate([np.zeros((1, 2)), np.cumsum(moves, axis=0)]) + np.asarray(start)


# --- canvas -------------------------------------------------------------------------------------


@dataclass
class Canvas:
    """A picture, or a window of one, with the coordinates (u, v) of the part lying in it.

    pixels (3, h, w) float32; u, v (h, w) float32 in pixels; turn: angle of the part's frame.
    """

    pixels: np.ndarray
    u: np.ndarray
    v: np.ndarray
    turn: float = 0.0

    @classmethod
    def posed(cls, shift_x: float = 0.0, shift_y: float = 0.0, turn: float = 0.0) -> "Canvas":
        """An empty picture whose part frame is shifted by some pixels and turned by radians."""
        x, y = grid()
        u, v = _turned(x - shift_x, y - shift_y, turn)
        return cls(np.zeros((3, SIZE, SIZE), np.float32), u, v, turn)

    def paint(self, colour: Colour, cover: np.ndarray) -> None:
        """Lay a colour, (3,) or (3, h, w), over the picture with an (h, w) coverage 0..1."""
        self.pixels += cover * (planes(colour) - self.pixels)

    def near(self, u: float, v: float, reach: float, turn: float = 0.0) -> "Canvas":
        """The window around (u, v), with that point as its origin and its frame turned.

        The window shares memory with this picture: painting a small shape there instead of on
        the whole canvas is what makes a board with sixty components affordable.
        """
        cos, sin = math.cos(self.turn), math.sin(self.turn)
        du, dv = u - float(self.u[0, 0]), v - float(self.v[0, 0])
        rows = _span(sin * du + cos * dv, reach, self.u.shape[0])
        columns = _span(cos * du - sin * dv, reach, self.u.shape[1])
        own_u, own_v = _turned(self.u[rows, columns] - u, self.v[rows, columns] - v, turn)
        return Canvas(self.pixels[:, rows, columns], own_u, own_v, self.turn + turn)

    def stroke(self, points: np.ndarray, width: float, colour: Colour, strength: float = 1.0,
               edge: float = 1.0) -> None:
        """Draw a polyline of (n, 2) part coordinates."""
        points = np.asarray(points, dtype=np.float64)
        middle = (points.max(axis=0) + points.min(axis=0)) / 2
        reach = float(np.linalg.norm(points - middle, axis=1).max()) + width + edge + 1
        view = self.near(float(middle[0]), float(middle[1]), reach)
        distance = path(view.u, view.v, points - middle)
        view.paint(colour, strength * soft(distance - width / 2, edge))


def _turned(u: np.ndarray, v: np.ndarray, turn: float) -> tuple[np.ndarray, np.ndarray]:
    if turn == 0.0:
        return u, v
    cos, sin = math.cos(turn), math.sin(turn)
    return cos * u + sin * v, cos * v - sin * u


def _span(centre: float, reach: float, size: int) -> slice:
    """Pixels within reach of a centre, cut at the border; never empty, so callers need no check."""
    first = min(max(math.floor(centre - reach), 0), size - 1)
    return slice(first, min(max(math.ceil(centre + reach) + 1, first + 1), size))


# --- blemishes that several categories share -----------------------------------------------------


def blob(rng: np.random.Generator, view: Canvas, radius: float, rough: float = 0.25) -> np.ndarray:
    """Distance to a roundish spot at the view's origin whose outline wavers, as spills do."""
    angle = np.arctan2(view.v, view.u)
    outline = np.full(view.u.shape, radius, np.float32)
    for lobes in (2, 3, 5):
        phase, size = rng.uniform(0, 2 * math.pi), rng.uniform(0.3, 1.0)
        outline += (radius * rough * size / lobes * 2) * np.cos(lobes * angle + phase)
    return np.sqrt(view.u**2 + view.v**2) - outline


def scratch(rng: np.random.Generator, canvas: Canvas, u: float, v: float, *, length: float,
            width: float = 1.4, light: Colour = (0.95, 0.95, 0.95), strength: float = 0.6,
            heading: float | None = None) -> None:
    """A groove: a bright line with a dark one beside it, because its two walls face the light
    differently."""
    heading = rng.uniform(0, math.pi) if heading is None else heading
    start = (u - length / 2 * math.cos(heading), v - length / 2 * math.sin(heading))
    points = wander(rng, start, heading, length, 0.06)
    canvas.stroke(points + 0.9 * width, width, (0.05, 0.05, 0.05), 0.6 * strength)
    canvas.stroke(points, width, light, strength)


def crack(rng: np.random.Generator, canvas: Canvas, u: float, v: float, *, length: float,
          heading: float, colour: Colour, width: float = 1.6, strength: float = 0.9,
          bend: float = 0.45) -> None:
    """A jagged dark line with one branch; the straighter the crack, the closer the branch."""
    start = (u - length / 2 * math.cos(heading), v - length / 2 * math.sin(heading))
    points = wander(rng, start, heading, length, bend, steps=9)
    canvas.stroke(points, width, colour, strength)
    aside = heading + rng.choice([-2.0, 2.0]) * bend
    branch = wander(rng, points[5], aside, length / 3, bend, steps=4)
    canvas.stroke(branch, 0.7 * width, colour, 0.8 * strength)


def stain(rng: np.random.Generator, canvas: Canvas, u: float, v: float, *, radius: float,
          colour: Colour, strength: float = 0.6) -> None:
    """A see-through spot, darker at its rim, where a drying liquid leaves what it carried."""
    view = canvas.near(u, v, 2 * radius + 4)
    distance = blob(rng, view, radius)
    rim = np.exp(-((distance + 2.0) / 2.5) ** 2)
    wet = view.pixels * planes(colour)
    view.paint(wet, strength * np.clip(soft(distance, 3.0) * 0.75 + 0.35 * rim, 0, 1))


def fibre(rng: np.random.Generator, canvas: Canvas, u: float, v: float, *, length: float,
          colour: Colour, width: float = 2.0) -> None:
    """A foreign hair or thread lying on the part, with the small shadow that shows it lies on."""
    points = wander(rng, (0.0, 0.0), rng.uniform(0, 2 * math.pi), length, 0.35, steps=14)
    points += np.array([u, v]) - points.mean(axis=0)
    canvas.stroke(points + 1.6, width + 0.8, (0.0, 0.0, 0.0), 0.35, edge=2.5)
    canvas.stroke(points, width, colour, 0.95)


def crumb(rng: np.random.Generator, canvas: Canvas, u: float, v: float, *, radius: float,
          colour: Colour) -> None:
    """A lump of foreign material: shadow below, light from the upper left."""
    view = canvas.near(u, v, 2 * radius + 6)
    distance = blob(rng, view, radius)
    view.paint((0.0, 0.0, 0.0), 0.4 * soft(distance - 1.5, 4.0))
    facing = np.clip(0.75 - 0.3 * (view.u + view.v) / radius, 0.35, 1.3)
    view.paint(planes(colour) * facing, soft(distance))


# --- camera --------------------------------------------------------------------------------------


def photograph(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """Light, tint and slight blur of planes (3, 256, 256) -> the same shape, float32.

    Apart from `noise`, because masks compare the good and the defective picture as the lens
    shows them, before the sensor adds what is in neither.
    """
    x, y = grid()
    towards, slope = rng.uniform(0, 2 * math.pi), rng.uniform(0.0, 0.10)
    light = 1.0 + slope / 128 * (math.cos(towards) * x + math.sin(towards) * y)
    tint = rng.uniform(0.93, 1.06) * rng.uniform(0.985, 1.015, 3)
    lit = picture * light * planes(tint)
    return np.clip(_blurred(lit, rng.uniform(0.02, 0.13)), 0.0, 1.0)


def _blurred(picture: np.ndarray, share: float) -> np.ndarray:
    """Give each pixel a share of its neighbours: half a pixel of blur needs no wider kernel."""
    for _ in range(2):  # along the rows, then, by swapping the axes, along the columns
        inner = picture[:, 1:-1]
        change = share * (picture[:, 2:] + picture[:, :-2] - 2.0 * inner)
        inner += change
        picture = picture.swapaxes(1, 2)
    return picture


def noise(rng: np.random.Generator) -> np.ndarray:
    """-> (3, 256, 256) float32 sensor noise, deviation one to two grey levels.

    The difference of two random bytes is bell-shaped enough, and far quicker than a normal draw.
    """
    raw = np.frombuffer(rng.bytes(2 * 3 * SIZE * SIZE), np.uint8).reshape(2, 3, SIZE, SIZE)
    first, second = raw.astype(np.float32)
    return (first - second) * np.float32(rng.uniform(0.010, 0.020) / 255)
