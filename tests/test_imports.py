"""What is not needed is not imported: torch's compilers alone take as long as torch."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import indad

REPOSITORY = Path(__file__).resolve().parents[1]
COMPILERS = {"torch._dynamo", "torch._inductor", "sympy", "torchvision", "timm", "torch.onnx"}
OF_SOME_COMMAND = {"matplotlib", "jinja2", "requests", "flask", "sklearn", "scipy.stats", "pandas",
                   "huggingface_hub", "faiss", "onnx", "onnxruntime", "ipywidgets", "IPython"}
HEAVY = {"torch", "numpy", "scipy", "PIL"}
# What has run when, and what it has no use for.
STEPS = {
    "import indad": ("import indad", HEAVY | COMPILERS | OF_SOME_COMMAND),
    "python -m indad --help": ("run('--help')", HEAVY | COMPILERS | OF_SOME_COMMAND),
    "from indad import PatchCore": ("from indad import PatchCore, load_dataset, evaluate",
                                    COMPILERS | OF_SOME_COMMAND),
    "fit": ("run('fit', 'parts', '--output', 'model', '--resize', '64')",
            COMPILERS | OF_SOME_COMMAND),
    "predict": ("run('predict', 'model', 'parts', '--output', 'found')",
                COMPILERS | OF_SOME_COMMAND),
    "a size of its own": ("import indad; indad.load_backbone('efficientnet_lite2', resize=250)",
                          COMPILERS | OF_SOME_COMMAND),
}


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """The modules that are there after each step, of one process that goes through all."""
    folder = tmp_path_factory.mktemp("imports")
    (folder / "parts" / "good").mkdir(parents=True)
    for i in range(6):
        noise = np.random.default_rng(i).integers(0, 256, (64, 64, 3), np.uint8)
        Image.fromarray(noise).save(folder / "parts" / "good" / f"{i}.png")
    code = ["import sys", "def run(*words):", "    from indad.cli import main",
            "    try: assert main(words) == 0", "    except SystemExit: pass"]
    for step, (line, _) in STEPS.items():
        code += [line, f"print({'modules of ' + step!r}, *sys.modules)"]
    finished = subprocess.run([sys.executable, "-c", "\n".join(code)], cwd=folder, text=True,
                              env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
                              capture_output=True)
    assert finished.returncode == 0, finished.stderr
    lines = [line.split(" ") for line in finished.stdout.splitlines()
             if line.startswith("modules of ")]
    return {step: set(line) for step, line in zip(STEPS, lines, strict=True)}


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_nothing_is_imported_that_is_not_needed(imported, step):
    unneeded = sorted(STEPS[step][1] & imported[step])
    assert not unneeded
    if step == "fit":
        assert {"torch", "indad.patchcore"} <= imported[step]  # the right process was asked


def test_who_checks_types_finds_the_public_names_where_they_are():
    stub = Path(indad.__file__).with_suffix(".pyi").read_text(encoding="utf-8")
    told = re.findall(r"^from \.(\S+) import (\w+) as (\w+)$", stub, re.M)
    assert {name: home for home, name, _ in told} == indad._HOMES
    assert all(name == again for _, name, again in told)
