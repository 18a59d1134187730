"""Lessons 08 to 10 with folders that people really have: a result, or one line of why not."""

import numpy as np
import pytest
from lessons import run_lesson
from PIL import Image

from indad.notebook.getting import Unavailable
from notebooks.course import LESSONS

SIZE = (64, 48)
CUT = b"\x89PNG\r\n\x1a\n and no more"


def grain(seed, most=256, kind=np.uint8):
    """A picture like no other."""
    shape = SIZE[::-1] if kind is np.uint16 else (*SIZE[::-1], 3)
    return Image.fromarray(np.random.default_rng(seed).integers(0, most, shape).astype(kind))


FOLDERS = {
    "three copies": [grain(0)] * 3 + [grain(seed) for seed in range(1, 6)],
    "one picture only": [grain(0)] * 8,
    "dark, of 16 bits": [grain(seed, 300, np.uint16) for seed in range(8)],
    "one colour only": [Image.new("RGB", SIZE, (90, 90, 90))] * 8,
    "hardly readable": [grain(0), grain(1), *[CUT] * 6],
    "no readable one to judge": [grain(seed) for seed in range(8)],
}
SAID = {
    ("08", "one picture only"): "all good photos are one and the same picture",
    ("08", "one colour only"): "all good photos are one and the same picture",
    ("08", "hardly readable"): "only 2 of 8 good photos can be read",
    ("08", "no readable one to judge"): "none of 2 can be read",
    ("09", "hardly readable"): "not a readable image",
    ("10", "hardly readable"): "not a readable image",
    ("10", "one colour only"): "all good photos are one and the same picture",
}


def write(folder, name):
    for kind, pictures in (("good", FOLDERS[name]), ("new", [grain(90), grain(91)])):
        (folder / kind).mkdir(parents=True)
        for number, picture in enumerate(pictures):
            file = folder / kind / f"{number}.png"
            if picture is CUT or (kind == "new" and name.startswith("no readable")):
                file.write_bytes(CUT)
            else:
                picture.save(file)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("number, name", [
    *[("08", name) for name in FOLDERS], ("09", "hardly readable"),
    ("10", "hardly readable"), ("10", "one colour only")])
def test_any_folder_ends_in_a_result_or_a_line(number, name, tmp_path, monkeypatch):
    lesson = next(lesson for lesson in LESSONS if lesson.number == number)
    choice = dict(dataset="folder", folder=write(tmp_path / "own", name).as_posix())
    if (number, name) not in SAID:
        run_lesson(lesson, monkeypatch, **choice)
        return
    with pytest.raises(Unavailable, match=SAID[number, name]) as raised:
        run_lesson(lesson, monkeypatch, **choice)
    assert len(raised.value._render_traceback_()) == 1
