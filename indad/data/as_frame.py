"""Tables as pandas has them, for whoever has pandas."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from ..errors import InputError


def as_frame(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> Any:
    """Rows -> a `pandas.DataFrame` with these columns; empty where a row has none of a name.

    Raises `InputError` that says how to get pandas.
    """
    if find_spec("pandas") is None:
        raise InputError("to_frame needs pandas, which is not installed; run: pip install pandas")
    import pandas

    return pandas.DataFrame([{name: row.get(name) for name in columns} for row in rows],
                            columns=list(columns))
