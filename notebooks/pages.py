"""What notebooks/README.md says of the lessons: its map, and ways through with their hours.

All of it is made from the table of contents, the sources and what was measured, so that no total is
written by hand.
"""

from collections.abc import Sequence

from . import course
from .course import LESSONS, TRACKS, Lesson
from .reading import Minutes, hours, total


def badges(lesson: Lesson) -> str:
    """Where the notebook opens by a click."""
    name, page = course.REPOSITORY, f"{course.REFERENCE}/notebooks/{lesson.name}.ipynb"
    colab = "https://colab.research.google.com"
    links = (
        ("Open In Colab", f"{colab}/github/{name}/blob/{page}", f"{colab}/assets/colab-badge.svg"),
        ("Open in Kaggle", "https://kaggle.com/kernels/welcome?src="
         f"https://github.com/{name}/blob/{page}",
         "https://kaggle.com/static/images/open-in-kaggle.svg"),
        ("Launch Binder", f"https://mybinder.org/v2/gh/{name}/{course.REFERENCE}?labpath="
         f"notebooks/{lesson.name}.ipynb", "https://mybinder.org/badge_logo.svg"),
        ("Open in Studio Lab", f"https://studiolab.sagemaker.aws/import/github/{name}/blob/{page}",
         "https://studiolab.sagemaker.aws/studiolab.svg"))
    return " ".join(f'<a href="{address}" target="_parent"><img src="{picture}" alt="{words}"/></a>'
                    for words, address, picture in links)


def link(lesson: Lesson) -> str:
    return f"[{lesson.number} · {lesson.title}]({lesson.name}.ipynb)"


def course_map(times: dict[str, float], taken: dict[str, Minutes]) -> str:
    """The table of all lessons by track, with what each track and the whole add up to."""
    lines = ["| notebook | what it shows | read | exercises | Run all, 2 CPU cores | |",
             "|---|---|---|---|---|---|"]
    for track, title in TRACKS.items():
        lessons = [lesson for lesson in LESSONS if lesson.track == track]
        if lessons:
            lines.append(_sum(title, [taken[lesson.number] for lesson in lessons]))
        for lesson in lessons:
            seconds, minutes = times.get(lesson.number), taken[lesson.number]
            ran = "" if seconds is None else f"{max(round(seconds), 1)} s"
            lines.append(f"| {link(lesson)} | {lesson.promise} | {minutes.reading} min "
                         f"| {minutes.exercises} min | {ran} | {badges(lesson)} |")
    return "\n".join([*lines, _sum("Together", list(taken.values()))])


def _sum(title: str, taken: Sequence[Minutes]) -> str:
    added = total(taken)
    return f"| **{title}** | | **{added.reading} min** | **{added.exercises} min** | | |"


def ways(taken: dict[str, Minutes]) -> str:
    """The ways through the course, and the hours that they take."""
    quick = [lesson for lesson in LESSONS if lesson.number in course.QUICK]
    parts = [("Quick", quick, ", then ".join(link(lesson) for lesson in quick)),
             ("Full", LESSONS, f"all {len(LESSONS)}, in the order of the map")]
    lines = []
    for name, lessons, which in parts:
        added = total(taken[lesson.number] for lesson in lessons)
        read = hours(Minutes(added.reading, 0))
        lines.append(f"- **{name}**, {hours(added)} ({read} without the exercises): {which}.")
    return "\n".join(lines)
