"""The bench page under load: many clients at once, some of whom never get to the end.

    python tests/benchmarks/load.py [--clients 20] [--seconds 120]

`python -m indad serve` judges synthetic gears, learned with the default preset. Each client posts
the test photos over and over on a connection of its own, and holds every answer against the score
that the model gives. Meanwhile slow clients, as many, promise a photo and send a byte a second, in
the hope that nobody else gets in. Writes load.json and load.md. Not part of the test run.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from http.client import HTTPConnection
from importlib import metadata
from pathlib import Path

import numpy as np
import torch

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

from indad import PatchCore, load_dataset  # noqa: E402
from indad.data.files import write_json, write_text  # noqa: E402
from indad.engine.machine import environment  # noqa: E402

PATIENCE = 120  # seconds until an answer counts as lost


class Server:
    """`python -m indad serve`, and how much memory it takes."""

    def __init__(self, folder: Path):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "indad", "serve", str(folder), "--port", "0", "--device", "cpu"],
            cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"})
        self.port = int(self.process.stdout.readline().split()[0].rstrip("/").rsplit(":", 1)[1])

    def megabytes(self, what: str = "VmRSS") -> float:
        """Resident memory now, or with "VmHWM" at its peak; Linux only."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(what))

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.terminate()
        self.said = "".join(self.process.communicate(timeout=30))


def head(port: int, size: int) -> bytes:
    return (f"POST /judge HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\n"
            f"Content-Length: {size}\r\n\r\n").encode()


def dawdle(port: int, stop: threading.Event, cut_off: list[float]) -> None:
    """Promise 100 kB, and send a byte a second; once more when the server has had enough."""
    while not stop.is_set():
        began = time.monotonic()
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
                line.sendall(head(port, 100_000))
                while not stop.wait(1):
                    line.sendall(b"x")
        except OSError:
            cut_off.append(time.monotonic() - began)


def client(port: int, photos: list[tuple[bytes, float]], stop: threading.Event, first: int,
           seconds: list[float], lost: list[str]) -> None:
    """Post photos until it is time to stop."""
    line, turn = HTTPConnection("127.0.0.1", port, timeout=PATIENCE), first
    headers = {"Origin": f"http://127.0.0.1:{port}"}
    while not stop.is_set():
        data, score = photos[turn % len(photos)]
        turn, began = turn + 1, time.monotonic()
        try:
            line.request("POST", "/judge", data, headers)
            answer = line.getresponse()
            found = json.loads(answer.read())
            if answer.status != 200 or abs(found["score"] - score) > 1e-4 * score:
                lost.append(f"{answer.status}: {found.get('error', found.get('score'))}")
        except (OSError, ValueError) as error:
            lost.append(type(error).__name__)
            line.close()
        seconds.append(time.monotonic() - began)


def load(server: Server, photos: list[tuple[bytes, float]], *, clients: int, slow: int,
         duration: float) -> dict:
    """What became of all requests in `duration` seconds."""
    stop, seconds, lost, cut_off = threading.Event(), [], [], []
    before = server.megabytes()
    threads = [threading.Thread(target=dawdle, args=(server.port, stop, cut_off))
               for _ in range(slow)]
    threads += [threading.Thread(target=client, args=(server.port, photos, stop, i, seconds, lost))
                for i in range(clients)]
    for thread in threads:
        thread.start()
    stop.wait(duration)
    half = server.megabytes()
    stop.set()
    for thread in threads:
        thread.join()
    p50, p99 = np.percentile(seconds, [50, 99])
    return {"clients": clients, "slow_clients": slow, "seconds": duration,
            "answers": len(seconds), "lost": len(lost), "reasons": sorted(set(lost)),
            "per_second": len(seconds) / duration,
            "p50_s": p50, "p99_s": p99, "max_s": max(seconds),
            "slow_cut_off": len(cut_off), "mb_before": before, "mb_after": half,
            "mb_peak": server.megabytes("VmHWM")}


def markdown(rows: list[dict], about: dict) -> str:
    lines = ["# The bench page under load", "",
             "`python tests/benchmarks/load.py`: clients post photos one after the other, as fast "
             "as they are answered; slow ones promise a photo and send a byte a second. Lost is "
             "what was not answered, or with another score than the model's.", "",
             "| clients | slow ones | seconds | answers | lost | p50 | p99 | slowest | "
             "slow ones cut off | memory before, after, peak |",
             "|---|---|---|---|---|---|---|---|---|---|"]
    lines += [f"| {row['clients']} | {row['slow_clients']} | {row['seconds']:g} | "
              f"{row['answers']:,} | {row['lost']} | {row['p50_s']:.2f} s | {row['p99_s']:.2f} s | "
              f"{row['max_s']:.2f} s | {row['slow_cut_off']} | {row['mb_before']:.0f}, "
              f"{row['mb_after']:.0f}, {row['mb_peak']:.0f} MB |" for row in rows]
    return "\n".join([*lines, "", ", ".join(f"{name} {value}" for name, value in about.items()),
                      ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--output", type=Path, default=Path("results/reference/benchmarks"))
    options = parser.parse_args()
    train, test = load_dataset("synthetic", "gear")
    model = PatchCore(device="cpu").fit(train)
    scores = model.predict(test).scores
    photos = [(item.path.read_bytes(), float(score))
              for item, score in zip(test, scores, strict=True)]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "gear")
        for clients, slow, seconds in ((1, 0, options.seconds / 6),
                                       (options.clients, options.clients, options.seconds)):
            with Server(Path(folder) / "gear") as server:
                rows.append(load(server, photos, clients=clients, slow=slow, duration=seconds))
            print(json.dumps(rows[-1]), server.said, flush=True)
    about = environment(torch.device("cpu")) | {"waitress": metadata.version("waitress")}
    options.output.mkdir(parents=True, exist_ok=True)
    write_json(options.output / "load.json", {"environment": about, "rows": rows})
    write_text(options.output / "load.md", markdown(rows, about))


if __name__ == "__main__":
    main()
