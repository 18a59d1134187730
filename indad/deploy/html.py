"""Pages that need nothing else: filled-in templates, with their script, style and pictures inside.

Every text that is not the page's own goes through escaping, and script and style are named to the
browser by their hashes: whatever a file name holds, nothing else runs, and nothing is fetched.
"""

import base64
import hashlib
import io
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

if TYPE_CHECKING:
    import jinja2

PAGES = Path(__file__).with_name("pages")


def fill(template: str, *scripts: Path, filters: dict[str, Callable] | None = None,
         folder: Path = PAGES, **values: Any) -> str:
    """A template of `folder`, which may include those here, with the style of all pages and these
    scripts, theme.js first."""
    script = "".join(file.read_text(encoding="utf-8") for file in (PAGES / "theme.js", *scripts))
    style = (PAGES / "page.css").read_text(encoding="utf-8")
    page = _environment(folder, tuple((filters or {}).items())).get_template(template)
    return page.render(script=script, style=style, script_hash=_sha256(script),
                       style_hash=_sha256(style), **values)


@cache
def _environment(folder: Path, filters: tuple) -> "jinja2.Environment":
    """Kept, and with it the page's template: compiling that takes longer than filling it in."""
    import jinja2

    environment = jinja2.Environment(loader=jinja2.FileSystemLoader([folder, PAGES]),
                                     autoescape=True, undefined=jinja2.StrictUndefined,
                                     trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(address=address, short=short, **dict(filters))
    return environment


def packed(picture: Image.Image, most: tuple[int, int]) -> bytes:
    """A picture as JPEG, shrunk to a size."""
    picture.thumbnail(most)
    jpeg = io.BytesIO()
    picture.save(jpeg, "JPEG", quality=80, optimize=True)
    return jpeg.getvalue()


def address(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


def short(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"


def _sha256(text: str) -> str:
    """As Content-Security-Policy names a script or style."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
