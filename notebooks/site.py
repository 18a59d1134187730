"""One site of everything there is to read: `python -m notebooks.site FOLDER`.

The pages of the repository, the course with its outputs, and the reference of all modules, made
from their docstrings by pdoc. Links between them become links of the site; what a page links to
besides, such as a source, is shown where the repository is. Ends with status 1, and a line for
each, if a link leads nowhere or pdoc warns. Needs no network.
"""

import argparse
import functools
import html
import importlib
import os
import pkgutil
import re
import shutil
import sys
import warnings
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import mistune
import nbformat
import pdoc
from nbconvert import HTMLExporter
from pygments.formatters import HtmlFormatter
from traitlets.config import Config

import indad

from . import course

ROOT = Path(__file__).resolve().parents[1]
HOME = f"https://github.com/{course.REPOSITORY}"
MENU = {"README.md": "indad", "notebooks/README.md": "Course", "reference/index.html": "Reference",
        "datasets/README.md": "Data", "indad/deploy/README.md": "At work",
        "results/README.md": "Results", "CHANGELOG.md": "Changes"}
NOT_RUN = {"indad.__main__"}  # a command, not a module to read
STYLE = """
body { max-width: 60rem; margin: 0 auto; padding: 0 1rem 4rem; line-height: 1.5;
  font-family: system-ui, sans-serif; color: #1d2733; background: #fff; }
nav { padding: .8rem 0; border-bottom: 1px solid #ccd5df; } nav a { margin-right: 1.2rem; }
a { color: #0b62a8; } img, svg { max-width: 100%; }
pre { overflow-x: auto; padding: .6rem .8rem; background: #f4f6f8; border-radius: 4px; }
code { font-size: .92em; } table { border-collapse: collapse; display: block; overflow-x: auto; }
td, th { padding: .25rem .6rem; border: 1px solid #d8dee5; text-align: left; }
.prompt, .jp-InputPrompt, .jp-OutputPrompt, .anchor-link { display: none; }
.output_area pre { background: none; border-left: 3px solid #ccd5df; border-radius: 0; }
"""


# As nbconvert's own pages have it: formulas of notebooks are drawn where there is a network.
FORMULAS = ('<script src="https://cdnjs.cloudflare.com/ajax/libs/mathjax/2.7.7/latest.js'
            '?config=TeX-AMS_CHTML-full,Safe" async></script>')


def page(title: str, body: str, name: str) -> str:
    """A whole page of the site; `name` is its place in it."""
    links = " ".join(f'<a href="{relative(place_of(to), name)}">{words}</a>'
                     for to, words in MENU.items())
    return (f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<style>{STYLE}{HtmlFormatter().get_style_defs('.highlight')}</style></head>"
            f"<body><nav>{links}</nav><main>{body}</main></body></html>\n")


def place_of(name: str) -> str:
    """Where a file of the repository is in the site: a README is its folder's page."""
    path = PurePosixPath(name)
    if path.name == "README.md":
        return str(path.with_name("index.html"))
    return str(path.with_suffix(".html")) if path.suffix in (".md", ".ipynb") else name


def relative(place: str, page_name: str) -> str:
    return os.path.relpath(place, PurePosixPath(page_name).parent).replace(os.sep, "/")


def slug(words: str) -> str:
    """The name of a heading in a link, as the repository's host makes it."""
    plain = html.unescape(re.sub("<[^>]*>", "", words)).strip().lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


class Headings(mistune.HTMLRenderer):
    """Pages as they are written, with names for their headings."""

    def __init__(self) -> None:
        super().__init__(escape=False)

    def heading(self, text: str, level: int, **attributes: object) -> str:
        return f'<h{level} id="{slug(text)}">{text}</h{level}>\n'


def linked(body: str, source: str, modules: set[str], files: set[str]) -> str:
    """The body with its links into the repository made those of the site; notes what to copy."""
    def link(found: re.Match) -> str:
        target, _, anchor = html.unescape(found[3]).partition("#")
        if not target or urlsplit(target).scheme or target.startswith(("data:", "//")):
            return found[0]
        path = (ROOT / source).parent / unquote(target)
        if not path.resolve().is_relative_to(ROOT) or not path.exists():
            raise SystemExit(f"{source} links to {target}, which is not there")
        name = path.resolve().relative_to(ROOT).as_posix()
        if path.is_dir() and (path / "README.md").is_file():
            name += "/README.md"
        module = name.removesuffix("/__init__.py").removesuffix(".py").replace("/", ".")
        if module in modules:
            place = f"reference/{module.replace('.', '/')}.html"
        elif name in files or found[1] == "src":
            place = place_of(name)
            files.add(name)
        else:  # a source that nobody documents, data, a folder
            kind = "tree" if path.is_dir() else "blob"
            return f'{found[1]}={found[2]}{HOME}/{kind}/{course.REFERENCE}/{name}{found[2]}'
        to = relative(place, place_of(source)) + (f"#{anchor}" if anchor else "")
        return f"{found[1]}={found[2]}{html.escape(to)}{found[2]}"

    return re.sub(r"""\b(href|src)=(["'])(.*?)\2""", link, body)


def modules_of_the_package() -> list[str]:
    """All of them, imported, with the names that are imported lazily where pdoc looks for them."""
    names = ["indad", *(one.name for one in pkgutil.walk_packages(indad.__path__, "indad.")
                        if one.name not in NOT_RUN)]
    for name in names:
        importlib.import_module(name)
    for name in indad.__all__:
        setattr(indad, name, getattr(indad, name))
    return names


def write_reference(folder: Path, modules: list[str]) -> list[str]:
    """pdoc's pages; -> what it warned of."""
    pdoc.render.configure(docformat="google", show_source=False, math=False,
                          footer_text=f"indad {indad.__version__}")
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        tops = ["indad", *(name for name in modules if name.count(".") == 1)]
        pdoc.pdoc(*tops, output_directory=folder)
    for file in folder.rglob("*.html"):
        text, home = file.read_text(encoding="utf-8"), "../" * len(file.relative_to(folder).parts)
        file.write_text(text.replace('<nav class="pdoc">', '<nav class="pdoc">'
                                     f'<p><a href="{home}index.html">indad: all pages</a></p>'),
                        encoding="utf-8")
    return [str(one.message).splitlines()[0] for one in found]


def write_pages(folder: Path, modules: set[str]) -> None:
    """READMEs and notebooks, and what they show."""
    files = {path.relative_to(ROOT).as_posix() for path in (
        *ROOT.glob("*.md"), *ROOT.glob("*/README.md"), *ROOT.glob("indad/*/README.md"),
        ROOT / "results/reference/README.md", *ROOT.glob("results/reference/benchmarks/*.md"),
        *ROOT.glob("notebooks/*.md"), *ROOT.glob("notebooks/*.ipynb"))}
    markdown = mistune.create_markdown(renderer=Headings(), plugins=["table", "strikethrough"])
    exporter = HTMLExporter(template_name="basic", config=Config(TagRemovePreprocessor=dict(
        enabled=True, remove_input_tags=("setup",))))
    for name in sorted(files):
        text = (ROOT / name).read_text(encoding="utf-8")
        if name.endswith(".md"):
            body = str(markdown(text))
        else:
            notebook = nbformat.reads(text, as_version=4)
            body = exporter.from_notebook_node(notebook)[0] + FORMULAS
        heading = re.search("<h1[^>]*>(.*?)(?:<a |</h1>)", body, re.DOTALL)
        title = re.sub("<[^>]*>", "", heading[1]) if heading else name
        place = folder / place_of(name)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(page(title, linked(body, name, modules, files), place_of(name)),
                         encoding="utf-8")
    for name in files:
        if place_of(name) == name:  # a picture
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)


class Links(HTMLParser):
    """The links of a page, and the names in it that links may lead to."""

    def __init__(self, text: str):
        super().__init__()
        self.links: list[str] = []
        self.names: set[str] = {""}
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name in ("id", "name") and value:
                self.names.add(value)
            elif value and (name == "src" or (name == "href" and tag in ("a", "link"))):
                self.links.append(value)


def broken_links(folder: Path) -> Iterator[str]:
    """A line for each link inside the site that leads to no file, or to no name in it."""
    @functools.cache
    def read(file: Path) -> Links:
        return Links(file.read_text(encoding="utf-8"))

    for file in sorted(folder.rglob("*.html")):
        for link in read(file).links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue  # elsewhere: there need be no network
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            target = target / "index.html" if target.is_dir() else target
            anchored = target.suffix == ".html" and target.is_file()
            if not target.is_file() or (
                    anchored and not {parts.fragment, unquote(parts.fragment)}
                    & read(target).names):
                yield f"{file.relative_to(folder)}: {link} leads nowhere"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    modules = modules_of_the_package()
    faults = write_reference(folder / "reference", modules)
    write_pages(folder, set(modules))
    faults += broken_links(folder)
    for line in faults:
        print(line, file=sys.stderr)
    print(f"{folder / 'index.html'}: {len(list(folder.rglob('*.html')))} pages, "
          f"{len(faults)} warnings and broken links")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
