"""Cases that the quick part of the tests leaves out."""

from collections.abc import Collection, Sequence

import pytest


def few(cases: Sequence, quick: int | Collection) -> list:
    """All cases, slow but for the quick ones: so many, from the first, or these.

    For cases that take the same way through the code, where most faults of one are faults of all.
    """
    wanted = cases[:quick] if isinstance(quick, int) else quick
    return [case if case in wanted else pytest.param(
        *(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow) for case in cases]
