"""`submit`: a folder for the benchmark server of MVTec AD 2, written or only checked."""

import argparse
from pathlib import Path

from .terminal import Bars


def submit(options: argparse.Namespace) -> int:
    from ..data.datasets import folder_of
    from ..deploy.submission import OBJECTS, check_free, check_submission, find_object, write_object
    from ..experiments.run import make_model
    from .model_words import model_options

    folder = Path(options.folder)
    if options.check:
        source = Path(options.dataset)
        dataset = source if source.is_dir() else folder_of("mvtec_ad_2", options.datasets)
        return _tell(folder, check_submission(folder, dataset if dataset.is_dir() else None))
    names = [*OBJECTS] if options.category == "all" else [options.category]
    model = make_model(options.preset, model_options(options))
    found = [find_object(options.dataset, name, options.datasets) for name in names]
    model.prepare()
    check_free(folder)
    with Bars() as bars:
        for one in found:
            threshold = write_object(model, folder, one, progress=bars.of(one.name))
            bars.close()
            print(f"{one.name}: pixels above {threshold:.4g} are marked", flush=True)
    if names != [*OBJECTS]:
        print(f"{folder}: has {', '.join(names)}; all objects make a submission")
        return 0
    return _tell(folder, check_submission(folder))


def _tell(folder: Path, problems: list[str]) -> int:
    for problem in problems:
        print(problem)
    if problems:
        return 1
    print(f"{folder}: as the server wants it; send it as one file: tar -czf {folder.name}.tar.gz "
          f"-C {folder.absolute().parent} {folder.name}")
    return 0
