"""The site's links: made of the repository's, and looked at. CI builds the whole."""

import pytest

from notebooks import site
from notebooks.course import REPOSITORY


def test_links_of_the_repository_become_links_of_the_site():
    files = {"README.md", "indad/README.md", "notebooks/README.md"}
    modules = {"indad", "indad.coreset", "indad.data"}

    def linked(link, source="indad/README.md"):
        body = site.linked(f'<a href="{link}">words</a>', source, modules, files)
        return body.removeprefix('<a href="').removesuffix('">words</a>')

    assert linked("coreset.py") == "../reference/indad/coreset.html"
    assert linked("data/__init__.py#x") == "../reference/indad/data.html#x"
    assert linked("../README.md#start") == "../index.html#start"
    assert linked("notebooks/README.md", "README.md") == "notebooks/index.html"
    assert linked("notebooks", "README.md") == "notebooks/index.html"  # a folder with a page
    assert linked("deploy/pages") == f"https://github.com/{REPOSITORY}/tree/main/indad/deploy/pages"
    assert linked("../LICENSE") == f"https://github.com/{REPOSITORY}/blob/main/LICENSE"
    assert linked("#here") == "#here" and linked("https://a.b/c") == "https://a.b/c"
    picture = site.linked('<img src="results/reference/heat_map.png">', "README.md", modules, files)
    assert picture == '<img src="results/reference/heat_map.png">'
    assert "results/reference/heat_map.png" in files  # to be copied
    for gone in ("nowhere.md", "../../outside.md"):
        with pytest.raises(SystemExit, match="README.md links to .*, which is not there"):
            linked(gone)


@pytest.mark.parametrize("words, name", [
    ("How to <code>extend</code>", "how-to-extend"), ("What `default` is", "what-default-is"),
    ("0.1.0, not released yet", "010-not-released-yet"), ("Q &amp; A", "q--a")])
def test_names_of_headings(words, name):
    assert site.slug(words) == name


def test_links_that_lead_nowhere_are_found(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/index.html").write_text('<h1 id="top">A</h1><a href="../a.html#b">b</a>')
    (tmp_path / "a.html").write_text(
        '<p id="b"></p><a href="in/#top">1</a><a href="#b">2</a><a href="#c">3</a><img src="p.png">'
        '<a href="in/index.html#bottom">4</a><a href="https://elsewhere.example/#x">5</a>')
    assert list(site.broken_links(tmp_path)) == [
        f"a.html: {link} leads nowhere" for link in ("#c", "p.png", "in/index.html#bottom")]
