"""`check`: faults of a folder, and photos that are called good and probably are not."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from ..errors import InputError
from .terminal import Bars
from .words import given

SUSPECTS = ("output", "backbone", "resize", "tiles", "device")  # options of --suspects


def check(options: argparse.Namespace) -> int:
    import json

    from ..data.audit import audit

    category = None if options.category == "all" else options.category
    if not options.suspects and given(options, *SUSPECTS):
        raise InputError(f"--{next(iter(given(options, *SUSPECTS)))} goes with --suspects: give "
                         "both, or neither")
    look = _looking_for_suspects(options) if options.suspects else None
    with Bars() as bars:
        found = audit(options.folder, category, datasets=options.datasets,
                      progress=bars.of(options.folder))
        lists, page = look(list(found.groups), bars) if look else ({}, None)
    if options.json:
        more = {"suspects": {name: one.as_dict() for name, one in lists.items()}} if lists else {}
        print(json.dumps(found.as_dict() | more, indent=1))
        return 1 if found.faults else 0
    print(found)
    for name, one in lists.items():
        print(f"\n{name}: {one}")
    if lists:
        print(f"\nthe patches, and what comes nearest to them: {page}")
    return 1 if found.faults else 0


def _looking_for_suspects(options: argparse.Namespace,
                          ) -> Callable[[Sequence[str], Bars], tuple[dict, Path]]:
    """What ranks the good photos of each category and writes the page that shows them; wrong
    options are told of now, before anything is read."""
    from ..data.datasets import load_dataset
    from ..deploy.suspects import suspects
    from ..deploy.suspects_page import check_free, write_suspects
    from ..experiments.run import make_model
    from ..presets import OPTIONS

    output = Path(options.output or "results/suspects")
    chosen = given(options, "backbone", "tiles", "device", "resize")
    if "resize" in chosen:
        chosen["resize"] = OPTIONS["resize"].rule.from_word("resize", ",".join(options.resize))
    model = make_model("default", chosen)
    model.prepare()
    check_free(output)

    def look(categories: Sequence[str], bars: Bars) -> tuple[dict, Path]:
        found = {}
        for name in categories:
            train, test = load_dataset(options.folder, name, datasets=options.datasets)
            folders = {item.path.parent for item in train}  # of which a test may have been drawn
            good = [*train,
                    *(item for item in test if not item.label and item.path.parent in folders)]
            found[name] = suspects(train.replaced(good), model=model, progress=bars.of(name))
        return found, write_suspects(found, output)

    return look
