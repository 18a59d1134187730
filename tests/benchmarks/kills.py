"""Writers that are killed at random moments, and readers beside writers: nothing is ever lost.

    python tests/benchmarks/kills.py [--kills 200] [--seconds 20] [--seed 0] [--output DIR]

*Kills.* A process saves one of two models into the same place, again and again (or makes a run,
a prediction, a report), and is killed with SIGKILL and SIGINT by turns, at a random moment. After
each kill the place must hold a whole model (run, prediction, report), old or new, and after the
next writer nothing may lie beside it. *Readers and writers.* Two processes save, four read, all at
once: every read must find a whole model. Both with the exchange in one step that Linux has, and by
renaming, as elsewhere. Writes kills.json and kills.md. Not part of the test run;
tests/test_replacing.py kills at every step instead.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np  # noqa: E402
import torch  # noqa: E402

from indad.data import replacing  # noqa: E402
from indad.data.files import complete_folder, write_json, write_text  # noqa: E402
from indad.engine.machine import environment  # noqa: E402
from indad.learned import storage  # noqa: E402

WAYS = ("exchanged", "renamed")
WRITERS, READERS = 2, 4


def save_model(place: Path, number: int) -> None:
    """A model's folder, of one number throughout; a hundredth of a second and 2 MB."""
    tensors = {name: torch.full((50,) if len(letters) == 1 else (50, 10_000), float(number)).to(
        dtype) for name, (dtype, letters) in storage.LAYOUT.items()}
    tensors["feature_scale"] = torch.ones(10_000)
    tensors["coreset_indices"] = torch.arange(50)
    storage.write_model(place, {
        "number": number, "size": [64, 64], "grid": [8, 8], "views": 1,
        "options": {"coreset_ratio": 0.1, "weights": None},
        "training": {"images": 5, "selected_from": "float32"}}, tensors)


def read_model(place: Path) -> int:
    record, tensors = storage.read_model(place)
    assert float(tensors["memory_bank"].mean()) == record["number"]
    return record["number"]


def save_results(place: Path, number: int) -> None:
    """A folder as `run` and `predict` leave it: a record, a table and pictures."""
    with complete_folder(place) as partial:
        write_json(partial / "metrics.json", number)
        (partial / "overlays").mkdir()
        for picture in range(4):
            (partial / "overlays" / f"{picture}.png").write_bytes(bytes([number]) * 50_000)


def read_results(place: Path) -> int:
    def read(folder: Path) -> int:
        found = {int((folder / "metrics.json").read_text())}
        for picture in range(4):
            found |= set(np.fromfile(folder / "overlays" / f"{picture}.png", np.uint8).tolist())
        (number,) = found
        return number

    return replacing.read_whole(place, read)


def save_page(place: Path, number: int) -> None:
    """A file as `report` and `export` leave it."""
    write_text(place, f"{number}\n" * 200_000)


def read_page(place: Path) -> int:
    (number,) = set(place.read_text().split())
    assert place.stat().st_size == 200_000 * (len(number) + 1)
    return int(number)


WHAT: dict[str, tuple[Callable, Callable]] = {
    "a model": (save_model, read_model), "results": (save_results, read_results),
    "a page": (save_page, read_page)}


def started(what: str, way: str, job: str, place: Path, seconds: float) -> tuple[int, int]:
    """A forked process that saves or reads for some seconds, and where it says how often."""
    reading, writing = os.pipe()
    if child := os.fork():
        os.close(writing)
        os.read(reading, 1)  # it is at work
        return child, reading
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells turn it off for what they
    status, said = 1, ""                                      # start in the background
    try:
        if way == "renamed":
            replacing._renameat2 = lambda: None
        save, read = WHAT[what]
        began, done = time.monotonic(), 0
        os.write(writing, b".")
        while time.monotonic() - began < seconds:
            if job == "read":
                read(place)
            else:
                save(place, 1 + done % 2)
            done += 1
        status, said = 0, str(done)
    except BaseException as error:
        said = repr(error)
    with suppress(OSError):
        os.write(writing, said.encode())
    os._exit(status)


def ended(child: int, reading: int) -> tuple[int, str]:
    """Wait for a process; its exit status, and what it said."""
    with open(reading) as lines:
        said = lines.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said


def kill_many(what: str, way: str, kills: int, seed: int) -> dict:
    """Writers killed at random; what the place held, and what lay beside it, after each."""
    save, read = WHAT[what]
    chance, held, lost, litter, errors = random.Random(seed), Counter(), 0, 0, []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "place"
        for number in range(kills):
            save(place, 3)
            assert [one.name for one in Path(folder).iterdir()] == ["place"]
            child, reading = started(what, way, "save", place, 60)
            time.sleep(chance.random() * 0.3)
            os.kill(child, (signal.SIGKILL, signal.SIGINT)[number % 2])
            ended(child, reading)
            litter += len(list(Path(folder).iterdir())) > 1
            try:
                held[read(place)] += 1
            except Exception as error:
                lost += 1
                errors.append(repr(error))
    return {"what": what, "way": way, "kills": kills, "lost": lost, "errors": errors[:5],
            "older": held[3], "newer": kills - lost - held[3], "with_litter": litter}


def all_at_once(what: str, way: str, seconds: float) -> dict:
    """Two writers and four readers: how often each did its work, and what went wrong."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "place"
        WHAT[what][0](place, 3)
        jobs = ["save"] * WRITERS + ["read"] * READERS
        processes = [started(what, way, job, place, seconds) for job in jobs]
        done, errors = Counter(), []
        for job, process in zip(jobs, processes, strict=True):
            status, said = ended(*process)
            if status:
                errors.append(f"{job}: {said}")
            else:
                done[job] += int(said)
        beside = sorted(one.name for one in Path(folder).iterdir() if one != place)
    return {"what": what, "way": way, "seconds": seconds, "saved": done["save"],
            "read": done["read"], "errors": errors, "left_beside": beside}


def markdown(kills: list[dict], many: list[dict]) -> str:
    lines = ["| killed while it wrote | how | kills | older left | newer left | lost | litter, "
             "gone with the next writer |", "|---|---|---|---|---|---|---|",
             *(f"| {row['what']} | {row['way']} | {row['kills']} | {row['older']} | "
               f"{row['newer']} | {row['lost']} | {row['with_litter']} |"
               for row in kills), "",
             f"| {WRITERS} writers and {READERS} readers | how | seconds | written | read | errors "
             "|", "|---|---|---|---|---|---|",
             *(f"| {row['what']} | {row['way']} | {row['seconds']:g} | {row['saved']:,} | "
               f"{row['read']:,} | {len(row['errors'])} |" for row in many)]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="of models; of others a quarter")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("results/reference/benchmarks"))
    options = parser.parse_args()
    torch.set_num_threads(1)  # forked processes cannot have more
    kills, many = [], []
    for what in WHAT:
        for way in WAYS if what != "a page" else WAYS[:1]:
            count = options.kills if what == "a model" else options.kills // 4
            kills.append(kill_many(what, way, count, options.seed))
            many.append(all_at_once(what, way, options.seconds))
            print(kills[-1], many[-1], sep="\n", file=sys.stderr, flush=True)
    options.output.mkdir(parents=True, exist_ok=True)
    write_json(options.output / "kills.json", {"kills": kills, "many": many, "seed": options.seed,
                                               "environment": environment(torch.device("cpu"))})
    write_text(options.output / "kills.md", markdown(kills, many))
    print(markdown(kills, many))


if __name__ == "__main__":
    main()
