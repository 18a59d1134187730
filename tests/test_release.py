"""What a release is made of: its files name each other truly, and hold what people install."""

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

import indad
from indad.backbones.registry import BACKBONES
from notebooks import course
from notebooks.course import LESSONS

REPOSITORY = Path(__file__).resolve().parents[1]
ADDRESS = f"https://github.com/{course.REPOSITORY}"
LICENCES = REPOSITORY / "indad/backbones/licences"
# How the text of a licence, which is copied whole or not at all, is known.
TEXTS = {"MIT": "Permission is hereby granted, free of charge",
         "BSD-3-Clause": "Redistribution and use in source and binary forms",
         "Apache-2.0": "Apache-2.0.txt beside this file", "CC BY-NC-SA 4.0": "which is not copied",
         "DINOv3 License": "which is not copied"}


def read(name):
    return (REPOSITORY / name).read_text(encoding="utf-8")


def head_of(file):
    """The lines "Name: value" that a licence file begins with."""
    lines = file.read_text(encoding="utf-8").partition("\n\n")[0].splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_the_weights_of_every_backbone_have_a_licence_file():
    found = {}
    for file in LICENCES.glob("*.txt"):
        if file.name != "Apache-2.0.txt":
            head, text = head_of(file), file.read_text(encoding="utf-8")
            assert head["Source"].startswith("https://") and TEXTS[head["Licence"]] in text, file
            assert f"](licences/{file.name})" in read("indad/backbones/README.md"), file
            for name in head["Backbones"].split():
                assert name not in found
                found[name] = head["Licence"]
    assert found == {name: row.licence for name, row in BACKBONES.items()}
    assert "TERMS AND CONDITIONS FOR USE" in (LICENCES / "Apache-2.0.txt").read_text()


def test_citation_and_changelog_are_of_this_version():
    citation = yaml.safe_load(read("CITATION.cff"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)  # what its schema asks
    assert citation["version"] == indad.__version__
    assert citation["repository-code"] == ADDRESS
    assert re.search(r"^## (\S+?),? ", read("CHANGELOG.md"), re.M)[1] == indad.__version__


def test_the_address_is_the_courses_everywhere():
    for name in ("pyproject.toml", "CONTRIBUTING.md", "CITATION.cff", "README.md"):
        assert set(re.findall(r"https://github\.com/\w+/indad\b", read(name))) <= {ADDRESS}, name


def test_badges_open_the_notebook_and_what_they_need_is_here():
    page = read("notebooks/README.md")
    for lesson in LESSONS:
        place = f"{course.REPOSITORY}/blob/{course.REFERENCE}/notebooks/{lesson.name}.ipynb"
        for address in (f"https://colab.research.google.com/github/{place}",
                        f"https://kaggle.com/kernels/welcome?src=https://github.com/{place}",
                        f"https://mybinder.org/v2/gh/{course.REPOSITORY}/{course.REFERENCE}?labpath="
                        f"notebooks/{lesson.name}.ipynb",
                        f"https://studiolab.sagemaker.aws/import/github/{place}"):
            assert f'<a href="{address}"' in page
    environment = yaml.safe_load(read("environment.yml"))  # Binder and Studio Lab look for it
    assert {"pip": ["-r requirements.txt"]} in environment["dependencies"]
    assert {"python=3.12", "pip", "ipykernel"} <= set(environment["dependencies"][:-1])


@pytest.mark.parametrize("file", sorted((REPOSITORY / ".github/workflows").glob("*.yml")),
                         ids=lambda file: file.stem)
def test_workflows_call_what_is_there(file):
    jobs = yaml.safe_load(file.read_text(encoding="utf-8"))["jobs"]
    for job in jobs.values():
        assert job["timeout-minutes"] <= 90
        lines = [step["run"] for step in job["steps"] if "run" in step]
        assert lines and "actions/checkout" in job["steps"][0]["uses"]
        for name in re.findall(r"[\w./]+/(?:run|\w+\.(?:py|txt))\b", "\n".join(lines)):
            assert (REPOSITORY / name).exists(), name


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The wheel made of the sdist, as `python -m build` does; what is left behind stays outside."""
    folder = tmp_path_factory.mktemp("built")
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                            cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (REPOSITORY / name).is_file() and not name.startswith(("results/", "notebooks/")):
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "source" / name).write_bytes((REPOSITORY / name).read_bytes())
    subprocess.run([sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder),
                    str(folder / "source")], check=True, capture_output=True)
    return folder


@pytest.mark.slow
def test_the_wheel_holds_what_commands_read(built, tmp_path):
    """Installed from a wheel, a published table was missed only after 86 seconds of computing."""
    (wheel,) = built.glob("indad-*.whl")
    assert wheel.stat().st_size < 600_000
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
        metadata = archive.read(f"indad-{indad.__version__}.dist-info/METADATA").decode()
    installed = {file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*")
                 if file.is_file() and file.parts[len(tmp_path.parts)] == "indad"}
    assert installed == {file.relative_to(REPOSITORY).as_posix()
                         for file in (REPOSITORY / "indad").rglob("*")
                         if file.is_file() and "__pycache__" not in file.parts}
    assert {path.name for path in tmp_path.iterdir()} == {
        "indad", f"indad-{indad.__version__}.dist-info"}
    assert not re.search(r"\]\((?!https://|#)", metadata)  # all links of the README lead somewhere
    assert f"{ADDRESS}/raw/main/results/reference/heat_map.png" in metadata
    extras = set(re.findall("^Provides-Extra: (.*)$", metadata, re.M)) - {"all"}
    everything = re.search(r'^Requires-Dist: indad\[(.*)\]; extra == "all"$', metadata, re.M)[1]
    assert set(everything.split(",")) == extras >= {"export", "serve", "parallel", "course"}
    code = ("import indad; from indad.experiments.published import published_table; "
            "print(indad.__file__); published_table('paper-25')")
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                           check=True, env=os.environ | {"PYTHONPATH": ""}, cwd=tmp_path)
    assert str(tmp_path) in found.stdout


@pytest.mark.slow
def test_the_sdist_holds_the_package_and_no_more(built):
    (sdist,) = built.glob("indad-*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    tops = {name.partition("/")[0] for name in names if name}
    assert {"indad", "LICENSE", "README.md", "CHANGELOG.md", "CITATION.cff", "requirements.txt",
            "pyproject.toml", "setup.py"} <= tops
    assert not tops & {"tests", "notebooks", "results", "datasets"}
    assert {"indad/py.typed", "indad/__init__.pyi", "indad/experiments/published.json",
            "indad/deploy/pages/serve.html", "indad/backbones/licences/clip.txt"} <= names
