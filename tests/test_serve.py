"""The bench page: what it answers, whom it refuses, and a person at it in a real browser."""

import base64
import io
import os
import re
import socket
import struct
import subprocess
import sys
import threading
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from browsing import keep_picture, need_browser, running_browser, watched
from learned_state import changed
from PIL import Image

from indad import PatchCore, load_dataset
from indad.calibration import conformal_rank, conformal_threshold
from indad.cli.commands import main
from indad.data.images import ImageTransform, to_photo
from indad.deploy import serve
from indad.deploy.explanation import explain
from indad.errors import InputError

REPOSITORY = Path(__file__).resolve().parents[1]
PORT = 8000
HOME = f"http://127.0.0.1:{PORT}"


@pytest.fixture(scope="module")
def fitted(drawn) -> tuple:
    train, test = load_dataset(str(drawn), "tiles")
    return PatchCore(resize=96).fit(train), test


@pytest.fixture
def client(fitted):
    return serve.make_app(fitted[0], "tiles", PORT).test_client()


def post(client, data: bytes, *, host=f"127.0.0.1:{PORT}", origin=HOME, **more):
    headers = {"Host": host} | ({"Origin": origin} if origin else {})
    return client.post("/judge", data=data, headers=headers,
                       content_type="application/octet-stream", **more)


def get(client, path, host=f"127.0.0.1:{PORT}"):
    return client.get(path, headers={"Host": host})


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    packed = io.BytesIO()
    image.save(packed, kind, **options)
    return packed.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises so many pixels and has none."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk
            + struct.pack(">I", zlib.crc32(chunk)) + struct.pack(">I", 9) + b"IDAT" + b"\0" * 13)


def test_the_answer_is_what_the_model_says(client, fitted):
    model, test = fitted
    for item in test:
        answer = post(client, item.path.read_bytes()).get_json()
        prediction = model.predict(item)
        assert answer["score"] == pytest.approx(float(prediction.scores[0]), rel=1e-5)
        assert answer["rank"] == conformal_rank(model.calibration_scores_, answer["score"])
        match = explain(model, item)
        assert answer["patch"]["place"] == list(match.place)
        assert answer["patch"]["train_image"] == match.train_image
        assert answer["patch"]["box"] == pytest.approx(match.box)  # 256 pixels: shown as they are
        packed = answer["map"]
        values = np.frombuffer(base64.b64decode(packed["values"]), "<u2").reshape(256, 256)
        values = packed["low"] + values * (packed["high"] - packed["low"]) / 65535
        assert np.allclose(values, prediction.maps[0], atol=1e-3)
        for name in ("photo", "heat"):
            shown = Image.open(io.BytesIO(base64.b64decode(answer[name].split(",")[1])))
            assert shown.size == (answer["width"], answer["height"]) == (256, 256)
        why = Image.open(io.BytesIO(base64.b64decode(answer["why"].split(",")[1])))
        assert why.width == 4 * 256  # both photos, and both patches from close by


def test_without_its_training_photos_the_answer_shows_the_photos_own_patch(fitted, tmp_path):
    model, test = fitted
    model = changed(model, files=[str(tmp_path / "gone.png")] * model.given_)
    answer = post(serve.make_app(model, "tiles", PORT).test_client(),
                  test[0].path.read_bytes()).get_json()
    why = Image.open(io.BytesIO(base64.b64decode(answer["why"].split(",")[1])))
    assert why.width == 2 * 256


def test_large_and_turned_photos_come_back_small_and_upright(client, fitted):
    model, test = fitted
    photo = Image.open(test[0].path).convert("RGB").resize((1500, 900))
    exif = Image.Exif()
    exif[0x0112] = 6  # on its side
    answer = post(client, encoded(photo, "JPEG", exif=exif)).get_json()
    assert answer["size"] == [900, 1500] and (answer["width"], answer["height"]) == (307, 512)
    left, top, right, bottom = answer["patch"]["box"]
    assert 0 <= left < right <= 307.01 and 0 <= top < bottom <= 512.01
    assert right - left == pytest.approx(307 / model.grid_[1], rel=0.01)


def test_the_model_is_described_with_its_thresholds(client, fitted):
    model = fitted[0]
    about = get(client, "/model").get_json()
    assert about["threshold"] == conformal_threshold(model.calibration_scores_, 0.05)
    assert about["map_threshold"] == conformal_threshold(model.calibration_peaks_, 0.05)
    assert (about["images"], about["name"], len(about["good_scores"])) == (8, "tiles", 8)


def test_a_model_without_thresholds_still_scores(drawn):
    train, test = load_dataset(str(drawn), "tiles", shots=1)
    model = PatchCore(resize=96).fit(train)
    client = serve.make_app(model, "one", PORT).test_client()
    assert get(client, "/model").get_json()["threshold"] is None
    answer = post(client, test[0].path.read_bytes()).get_json()
    assert answer["rank"] is None and answer["score"] > 0


@pytest.mark.parametrize("host", ["evil.example", f"evil.example:{PORT}", "127.0.0.1",
                                  "127.0.0.1:8001", f"localhost.evil.example:{PORT}",
                                  f"127.0.0.1.evil.example:{PORT}", f"[::1]:{PORT}", ""])
def test_other_names_of_this_machine_are_refused(client, fitted, host):
    """A page of elsewhere may have its own name point to 127.0.0.1: DNS rebinding."""
    data = fitted[1][0].path.read_bytes()
    for response in (get(client, "/", host), get(client, "/model", host),
                     post(client, data, host=host), post(client, data, host=host,
                                                         origin=f"http://{host}")):
        assert response.status_code in (400, 403)
        assert "tiles" not in response.get_data(as_text=True)


@pytest.mark.parametrize("origin", [None, "null", "http://evil.example", "https://127.0.0.1:8000",
                                    "http://localhost:8001", "http://127.0.0.1", HOME + "/"])
def test_images_from_other_pages_are_refused(client, fitted, origin):
    response = post(client, fitted[1][0].path.read_bytes(), origin=origin)
    assert response.status_code == 403
    assert "own page only" in response.get_json()["error"]


def test_localhost_is_this_machine_too(client, fitted):
    assert get(client, "/", f"localhost:{PORT}").status_code == 200
    assert post(client, fitted[1][0].path.read_bytes(), host=f"localhost:{PORT}",
                origin=f"http://localhost:{PORT}").status_code == 200


@pytest.mark.parametrize("path", [
    "/serve.py", "/../serve.py", "/pages/serve.html", "/..%2fserve.py", "/%2e%2e/cli.py",
    "//etc/passwd", "/page.css/../../../README.md", "/page.css%00", "/static/page.css",
    "/report.html", "/judge/../serve.py", "/C:/", "/.git/config", "/model/", "/?file=/etc/passwd"])
def test_nothing_is_read_by_name(client, path):
    response = get(client, path)
    if path.startswith("/?"):
        assert response.data == get(client, "/").data
    else:
        assert response.status_code == 404
        assert set(response.get_json()) == {"error"}
    assert b"root:" not in response.data and b"import " not in response.data


def test_only_these_methods(client):
    for method in ("put", "delete", "patch", "post"):
        response = getattr(client, method)("/model", headers={"Host": HOME[7:], "Origin": HOME})
        assert response.status_code == 405
    assert get(client, "/judge").status_code == 405


def test_every_answer_forbids_what_a_page_could_do_elsewhere(client):
    for response in (get(client, "/"), get(client, "/serve.js"), get(client, "/nothing"),
                     get(client, "/", "evil.example"), post(client, b"x")):
        policy = response.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';")
        assert "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "Access-Control-Allow-Origin" not in response.headers
    page = get(client, "/").get_data(as_text=True)
    assert not re.search(r"https?://|\son\w+=|<script>|style=", page)


def test_too_many_bytes_and_no_word_of_how_many(client, monkeypatch):
    monkeypatch.setattr(serve, "MAX_BYTES", 1 << 20)
    response = post(client, b"\0" * ((1 << 20) + 1))
    assert (response.status_code, response.get_json()) == (
        413, {"error": "the file is larger than 1 MB"})
    endless = {"HTTP_TRANSFER_ENCODING": "chunked", "CONTENT_LENGTH": ""}
    assert post(client, b"x", environ_overrides=endless).status_code == 411


@pytest.mark.parametrize("size", [(8000, 8000), (60_000, 60_000), (2_000_000_000, 1)])
def test_too_many_pixels_are_refused_before_they_are_decoded(client, monkeypatch, size):
    def load(self):
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
    response = post(client, png_header(*size))
    assert response.status_code == 400 and "pixels" in response.get_json()["error"]


def test_a_thin_photo_that_would_be_large_once_resized_is_refused(fitted):
    """The shortest side to 256 pixels makes 20,000 x 2 a picture of 655 million."""
    model = fitted[0]
    thin = encoded(Image.new("RGB", (20_000, 2)))
    assert serve.decode(thin, model).size == (20_000, 2)
    cropped = type("Cropped", (), {"transform_": ImageTransform(256, 224)})
    with pytest.raises(InputError, match="longer and thinner"):
        serve.decode(thin, cropped)


@pytest.mark.parametrize("data", [
    b"\0", b"plain text", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%!PS-Adobe-3.0 EPSF-3.0",
    encoded(Image.new("RGB", (64, 64)), "GIF"), encoded(Image.new("RGB", (300, 300)))[:200],
    png_header(100, 100), b"II*\0\xff\xff\xff\xff"])
def test_what_is_no_image_gets_one_line(client, data):
    response = post(client, data)
    assert response.status_code == 400
    assert response.get_json()["error"].startswith("not a readable image")
    assert "0x" not in response.get_data(as_text=True)


def test_damaged_images_never_break_the_server(fitted):
    generator = np.random.default_rng(0)
    photo = Image.effect_noise((48, 48), 60)
    outcomes = set()
    for kind in ("PNG", "JPEG", "TIFF", "WEBP", "BMP"):
        whole = np.frombuffer(encoded(photo.convert("RGB"), kind), np.uint8)
        for _ in range(40):
            damaged = whole.copy()
            damaged[generator.integers(0, min(len(whole), 400), 4)] = generator.integers(0, 256, 4)
            try:
                outcomes.add(serve.decode(damaged.tobytes(), fitted[0]).mode)
            except InputError:
                outcomes.add("refused")
    assert outcomes == {"RGB", "refused"}


def test_whatever_a_reader_of_images_raises_is_a_bad_image(client, monkeypatch):
    monkeypatch.setattr(Image, "open", lambda *arguments, **options: struct.unpack("<H", b"1"))
    assert post(client, b"x").status_code == 400


def test_a_failure_inside_tells_no_secrets(client, fitted, monkeypatch):
    def fail(*arguments):
        raise RuntimeError("/home/somebody/secret")

    monkeypatch.setattr(serve, "judge", fail)
    response = post(client, fitted[1][0].path.read_bytes())
    assert response.status_code == 500
    assert response.get_json() == {"error": "the server failed on this image (RuntimeError)"}


def test_images_beyond_those_that_wait_are_sent_away(fitted, monkeypatch):
    model, test = fitted
    entered, leave = threading.Event(), threading.Event()

    def slow(*arguments):
        entered.set()
        assert leave.wait(30)
        return {}

    monkeypatch.setattr(serve, "judge", slow)
    monkeypatch.setattr(serve, "WAITING", 1)
    app, data = serve.make_app(model, "tiles", PORT), test[0].path.read_bytes()
    first = threading.Thread(target=lambda: post(app.test_client(), data))
    first.start()
    assert entered.wait(30)
    assert post(app.test_client(), data).status_code == 503
    leave.set()
    first.join(30)
    assert post(app.test_client(), data).status_code == 200


def test_a_port_that_is_taken_and_one_that_is_none(tmp_path, capsys):
    with serve.listen(0) as taken:
        port = taken.getsockname()[1]
        assert taken.getsockname()[0] == "127.0.0.1"
        assert main(["serve", str(tmp_path), "--port", str(port)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"indad: error: port {port}: cannot listen there")
    assert main(["serve", str(tmp_path), "--port", "70000"]) == 2
    assert "from 0 to 65535" in capsys.readouterr().err
    assert main(["serve", str(tmp_path / "none"), "--port", "0"]) == 2
    assert "no such folder of a saved model" in capsys.readouterr().err


@pytest.mark.parametrize("missing, named", [
    (("flask", "waitress"), "flask and waitress; run: pip install flask waitress"),
    (("waitress",), "waitress; run: pip install waitress")])
def test_without_its_packages_there_is_one_line(tmp_path, capsys, monkeypatch, missing, named):
    monkeypatch.setattr(serve, "find_spec", lambda name: None if name in missing else name)
    assert main(["serve", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"indad: error: serve needs {named}\n"


@pytest.fixture(scope="module")
def bench(fitted, tmp_path_factory):
    """`python -m indad serve` as a person starts it; -> its address."""
    need_browser()
    folder = tmp_path_factory.mktemp("model") / "tiles"
    fitted[0].save(folder)
    server = subprocess.Popen([sys.executable, "-m", "indad", "serve", str(folder), "--port", "0"],
                              cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    line = server.stdout.readline()
    yield line.split()[0]
    server.terminate()
    rest, errors = server.communicate(timeout=30)
    assert (rest, errors) == ("", "")


@pytest.mark.slow
def test_a_person_at_the_bench(bench, fitted):
    model, test = fitted
    scores = model.predict(test).scores
    best, worst = test[int(scores.argmin())], test[int(scores.argmax())]
    threshold = conformal_threshold(model.calibration_scores_, 0.05)
    assert scores.min() < threshold < scores.max()
    with running_browser() as browser:
        page, complaints, addresses = watched(browser, viewport={"width": 1280, "height": 900})
        page.goto(bench)
        page.wait_for_selector("body[data-ready]")
        assert "learned from 8 good images" in page.inner_text("#about")
        drop(page, worst.path, "<b>worst</b>.png")
        page.wait_for_selector(".result[data-verdict=defective]")
        page.set_input_files("#files", best.path)
        page.wait_for_selector(".result[data-verdict=good]")
        assert page.inner_text("#count") == "2 judged: 1 defective, 1 good."
        assert page.locator(".result").last.locator("h3").inner_text() == "<b>worst</b>.png"
        first = page.locator(".result").last
        assert first.locator("[data-fact=score]").inner_text().startswith(f"{scores.max():.4g}")
        assert first.locator("[data-fact=rank]").inner_text().endswith(
            "0 of 8 good training images score as high")
        marked = int(first.locator("canvas").get_attribute("data-above"))
        level = conformal_threshold(model.calibration_peaks_, 0.05)
        outlined = model.predict(worst).maps[0] > level
        assert marked == pytest.approx(outlined.sum(), abs=3)
        keep_picture(page, "serve")

        asked = len(addresses)
        page.fill("#score-number", str(float(scores.max()) + 1))
        page.wait_for_selector(".result[data-verdict=defective]", state="detached")
        assert page.inner_text("#count") == "2 judged: 0 defective, 2 good."
        page.locator("#score").focus()
        page.keyboard.press("Home")  # the lowest threshold flags everything
        page.wait_for_selector(".result[data-verdict=good]", state="detached")
        assert "8 of 8 good training images (100.0 %) are above it." in page.inner_text(
            "#score-means")
        page.fill("#map-number", str(float(scores.max()) * 9))
        page.wait_for_selector(".result:last-child [data-fact=outlined]:text-is('nothing')")
        page.click("#reset")
        page.wait_for_selector(".result[data-verdict=good]")
        assert page.inner_text("#count") == "2 judged: 1 defective, 1 good."
        assert int(first.locator("canvas").get_attribute("data-above")) == marked
        assert len(addresses) == asked  # the server was not asked again

        page.set_viewport_size({"width": 400, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
        keep_picture(page, "serve-narrow")
        assert complaints == []
        assert all(address.startswith(bench) for address in addresses)
        page.set_input_files("#files", __file__)
        page.wait_for_selector(".result .warning:visible")
        assert "not a readable image" in page.inner_text(".result .warning:visible")


def drop(page, file: Path, name: str) -> None:
    """What a browser sees when somebody lets a file go over the page."""
    page.evaluate("""([data, name]) => {
        const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
        const transfer = new DataTransfer();
        transfer.items.add(new File([bytes], name, {type: "image/png"}));
        document.getElementById("drop").dispatchEvent(
            new DragEvent("drop", {dataTransfer: transfer, bubbles: true, cancelable: true}));
    }""", [base64.b64encode(file.read_bytes()).decode(), name])


@pytest.mark.slow
def test_raw_requests_get_no_file(bench):
    """Paths as no browser sends them, as they go over the line."""
    port = int(bench.rstrip("/").rsplit(":", 1)[1])
    for path in ("/../../../../etc/passwd", "/..%2f..%2fetc/passwd", "/./../serve.py",
                 "http://evil.example/", "/\\..\\serve.py"):
        answer = over_the_line(port, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n")
        assert answer.split()[1] in (b"400", b"403", b"404")
        assert b"root:" not in answer and b"import " not in answer and b"Python" not in answer


def over_the_line(port: int, request: str) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as line:
        line.sendall(request.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1).encode())
        return b"".join(iter(lambda: line.recv(1 << 16), b""))


def test_the_frame_of_a_small_picture_keeps_the_map_in_place(fitted):
    """`judge` asks for the map in the small picture's pixels: as if that had been the photo."""
    model, test = fitted
    prediction = model.predict(test[0])
    small = to_photo(prediction.model_maps[0], replace(prediction.placements[0], original=(64, 64)))
    whole = np.asarray(Image.fromarray(prediction.maps[0]).resize((64, 64),
                                                                 Image.Resampling.BILINEAR))
    assert np.abs(small - whole).max() < 0.05 * (whole.max() - whole.min())
