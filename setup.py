"""All is in pyproject.toml but the README, whose links must lead somewhere from an index, too."""

import re
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent
HOME = re.search(r'^Repository = "(.*)"$', (HERE / "pyproject.toml").read_text("utf-8"), re.M)[1]


def absolute(link: re.Match) -> str:
    kind = "raw" if link[1].startswith("!") else "blob"
    return f"{link[1]}{HOME}/{kind}/main/{link[2]})"


setup(long_description_content_type="text/markdown", long_description=re.sub(
    r"(!?\[[^]]*\]\()(?!https?://|#)([^)]+)\)", absolute, (HERE / "README.md").read_text("utf-8")))
