"""A page on this machine that judges the images dropped on it, for the bench where parts lie.

Only this machine can ask: the server listens on loopback, answers to its own name only (a page of
elsewhere that has its name point here gets nothing), and takes images from its own page only. It
reads no file by name, and what it takes in is bounded before it is decoded.
"""

import base64
import io
import socket
import threading
import warnings
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ..calibration import conformal_rank, conformal_threshold, lowest_false_alarm_rate
from ..data.catalog import credits_of
from ..data.images import ImageTransform, to_photo, to_rgb
from ..errors import InputError
from ..patchcore import PatchCore
from .bench_server import answer_until_stopped
from .explanation import explain, why_picture
from .pictures import ColourScale, dimmed, heat

if TYPE_CHECKING:
    from flask import Flask

HOST = "127.0.0.1"
PACKAGES = ("flask", "waitress")
PAGES = Path(__file__).with_name("pages")
MAX_BYTES, MAX_PIXELS = 32 << 20, 40_000_000  # of one image; 16-bit ones take 1 GB while read
WAITING = 4  # images at once in memory; they are judged one after the other
SIDE = 512  # longest side of the pictures that go back
FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")
ASSETS = {"/": ("serve.html", "text/html"), "/page.css": ("page.css", "text/css"),
          "/theme.js": ("theme.js", "text/javascript"),
          "/polygon.js": ("polygon.js", "text/javascript"),
          "/serve.js": ("serve.js", "text/javascript")}
HEADERS = {
    "Content-Security-Policy":
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()"}


def check_packages() -> None:
    """Raise `InputError` where a package is missing that only this needs."""
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise InputError(f"serve needs {' and '.join(missing)}; run: pip install "
                         f"{' '.join(missing)}")


def listen(port: int) -> socket.socket:
    """A socket on loopback; port 0 takes a free one. Raises `InputError` if the port is taken."""
    if not 0 <= port <= 65535:
        raise InputError(f"port is {port}; it must be from 0 to 65535")
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen(16)
    except OSError as error:
        listener.close()
        raise InputError(f"port {port}: cannot listen there ({error.strerror}); choose another "
                         "with --port, or 0 for any that is free") from error
    return listener


def serve(model: PatchCore, listener: socket.socket, name: str) -> None:
    """Answer until Ctrl-C."""
    app = make_app(model, name, listener.getsockname()[1])
    answer_until_stopped(app, listener, threads=WAITING, largest=MAX_BYTES + (1 << 20))


def make_app(model: PatchCore, name: str, port: int) -> "Flask":
    """The Flask application: a page, what the model is, and `POST /judge` for an image's bytes."""
    check_packages()
    from flask import Flask, Response, abort, jsonify, request
    from werkzeug.exceptions import HTTPException

    app = Flask(__name__, static_folder=None, template_folder=None)
    hosts = {f"{host}:{port}" for host in (HOST, "localhost")} | (
        {HOST, "localhost"} if port == 80 else set())
    room, one_at_a_time = threading.BoundedSemaphore(WAITING), threading.Lock()
    known = about(model, name)

    @app.before_request
    def only_from_here() -> None:
        # As servers name what the client asked for: "http://elsewhere/" is for a proxy to answer.
        asked = request.environ.get("REQUEST_URI", "/")
        if request.host not in hosts or not asked.startswith("/"):
            abort(403, "this server answers to 127.0.0.1 and localhost only")
        if request.method not in ("GET", "HEAD") and request.headers.get("Origin") not in {
                f"http://{host}" for host in hosts}:
            abort(403, "images are taken from this server's own page only")

    @app.after_request
    def with_headers(response: Response) -> Response:
        response.headers.update(HEADERS)
        return response

    @app.errorhandler(Exception)
    def in_one_line(error: Exception) -> tuple[Response, int]:
        if isinstance(error, HTTPException):
            return jsonify(error=" ".join(str(error.description).split())), error.code or 500
        if isinstance(error, InputError):
            return jsonify(error=" ".join(str(error).split())), 400
        app.logger.exception("judging failed")
        return jsonify(error=f"the server failed on this image ({type(error).__name__})"), 500

    def asset(file: str, kind: str) -> Response:
        return Response((PAGES / file).read_text(encoding="utf-8"), mimetype=kind)

    for place, (file, kind) in ASSETS.items():
        app.add_url_rule(place, file, lambda file=file, kind=kind: asset(file, kind))

    @app.get("/model")
    def which() -> Response:
        return jsonify(known)

    @app.post("/judge")
    def answer() -> Response:
        if request.content_length is None:
            abort(411, "say how many bytes the image has")
        if request.content_length > MAX_BYTES:
            abort(413, f"the file is larger than {MAX_BYTES >> 20} MB")
        data = request.get_data(cache=False)  # all of it, before it takes anybody's place
        if not room.acquire(blocking=False):
            abort(503, f"{WAITING} images are being judged; try again in a moment")
        try:
            with one_at_a_time:
                notes: list[str] = []
                answer = judge(model, decode(data, model, notes))
                return jsonify(answer | {"notes": notes + answer.get("notes", [])})
        finally:
            room.release()

    return app


def decode(data: bytes, model: PatchCore, notes: list[str] | None = None) -> Image.Image:
    """The bytes of an image file -> an upright RGB picture; raises `InputError`, before it decodes
    if the picture would be too large, also once it is resized for the model. `notes` get what is to
    be said of its pixels."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # those of a damaged file, on the terminal
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                _check_size(image.size, model.transform_)
                return to_rgb(image, model.levels_, notes)
    except (InputError, MemoryError):
        raise
    except Image.DecompressionBombError:
        raise InputError(f"the image has more than {MAX_PIXELS:,} pixels") from None
    except Exception as error:  # Pillow's readers raise whatever they stumble over
        raise InputError("not a readable image; JPEG, PNG, TIFF, WebP and BMP are taken, whole "
                         "files only") from error


def _check_size(size: tuple[int, int], transform: ImageTransform) -> None:
    width, height = size
    resized = transform.placement((height, width)).resized
    if max(width * height, resized[0] * resized[1]) > MAX_PIXELS:
        raise InputError(f"the image has {width} x {height} pixels; that is more, or longer and "
                         f"thinner, than the {MAX_PIXELS:,} pixels allow")


def about(model: PatchCore, name: str) -> dict:
    """What the page has to know of the model, scores of good images and thresholds among it."""
    count, rate = len(model.calibration_scores_), model.false_alarm_rate
    return {
        "name": name, "backbone": model.options["backbone"], "images": model.images_,
        "patches": len(model.memory_bank_), "grid": list(model.grid_),
        "calibration": model.options["calibration"], "false_alarm_rate": rate,
        "lowest_false_alarm_rate": lowest_false_alarm_rate(count) if count else None,
        "good_scores": sorted(map(float, model.calibration_scores_)),
        "good_peaks": sorted(map(float, model.calibration_peaks_)),
        "threshold": conformal_threshold(model.calibration_scores_, rate) if count else None,
        "map_threshold": conformal_threshold(model.calibration_peaks_, rate) if count else None,
        "region": model.region_ and float(model.region_.over((SIDE, SIDE)).mean()),
        "max_bytes": MAX_BYTES, "credit": credits_of(model.files_ or ())}


def judge(model: PatchCore, photo: Image.Image) -> dict:
    """Score, rank, pictures and explanation of one photo, as the page takes them.

    The map goes with them as 16-bit numbers in the small picture's pixels, for the page to draw the
    outline of any threshold by itself.
    """
    prediction = model.predict(photo)
    score = float(prediction.scores[0])
    small = photo.copy()
    small.thumbnail((SIDE, SIDE))
    placement = replace(prediction.placements[0], original=(small.height, small.width))
    if model.region_:
        small = dimmed(small, model.region_)
    model_map = prediction.model_maps[0]
    shown = to_photo(model_map, placement)
    good, peaks = model.calibration_scores_, model.calibration_peaks_
    level = (conformal_threshold(peaks, model.false_alarm_rate) if len(peaks)
             else float(shown.max()))
    hot = heat(np.asarray(small, np.float32),
               ColourScale.of(peaks, level).fractions(shown)).astype(np.uint8)
    low, high = float(shown.min()), float(shown.max())
    steps = np.rint((shown - low) / max(high - low, 1e-12) * 65535).astype("<u2")
    match = explain(model, photo)
    scale = (small.width / photo.width, small.height / photo.height) * 2
    pose = prediction.poses[0]
    return {
        "score": score, "pose": pose and pose.row(), "misplaced": pose.misplaced if pose else "",
        "peak": float(model_map.max()),
        "rank": float(conformal_rank(good, score)) if len(good) else None,
        "size": [photo.width, photo.height], "width": small.width, "height": small.height,
        "notes": [note.partition(": ")[2] for _, note in prediction.notes],
        "photo": _jpeg(small), "heat": _jpeg(Image.fromarray(hot)),
        "why": _jpeg(why_picture(model, photo, match)),
        "map": {"low": low, "high": high, "values": base64.b64encode(steps.tobytes()).decode()},
        "patch": {"place": list(match.place), "distance": match.distance,
                  "box": [side * factor for side, factor in zip(match.box, scale, strict=True)],
                  "train_image": match.train_image,
                  "train_place": match.train_place and list(match.train_place)}}


def _jpeg(image: Image.Image) -> str:
    packed = io.BytesIO()
    image.save(packed, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(packed.getvalue()).decode()
