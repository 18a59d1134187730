"""A process forked after torch and faiss have computed with several threads computes as well."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
CODE = """
import multiprocessing
import numpy as np, torch
from indad import PatchCore
from indad.engine.search import MemoryIndex

torch.set_num_threads(2)
photos = list(np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8))
rows = torch.randn(3000, 64, generator=torch.Generator().manual_seed(0))
model = PatchCore(resize=64, coreset_ratio=0.3, device="cpu").fit(photos)
WORK = (
    lambda: model.predict(photos).scores,
    lambda: MemoryIndex(rows, method="faiss").search(rows, 3)[0].numpy(),
    lambda: model.fit(photos).calibration_scores_,
)
before = [work() for work in WORK]

def child(pipe):
    for work in WORK:
        pipe.send(work())

pipe, end = multiprocessing.Pipe()
process = multiprocessing.get_context("fork").Process(target=child, args=(end,))
process.start()
for wanted in before:
    assert pipe.poll(60) or process.kill(), "the forked process hangs"
    assert np.allclose(pipe.recv(), wanted, rtol=1e-4, atol=1e-5)
process.join()
assert torch.get_num_threads() == 2
print("the same")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no forks")
@pytest.mark.slow
def test_a_forked_process_computes_after_threads_have():
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run([sys.executable, "-c", CODE], cwd=REPOSITORY, env=environment,
                          capture_output=True, text=True, timeout=240)
    assert done.stdout == "the same\n", done.stderr[-2000:]
