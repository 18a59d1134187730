"""Shared by all tests: no network, and one small drawn dataset for the whole session."""

import copy
import gc
import os
import socket
import sys
from functools import cache
from pathlib import Path

import pytest
from loopback import Loopback

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Where it is set, each of the processes that tests start would compile the package anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
if "PYTEST_XDIST_WORKER" in os.environ:  # a process a core: threads would only get in the way
    os.environ.setdefault("OMP_NUM_THREADS", "1")
# Grammars of web addresses that nbformat brings, by way of jsonschema, and that nothing here uses:
# made anew at each import, they would take it from a second to seven.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
# What imports make stays to the end: looking through it all for garbage, again and again, would be
# a quarter of the time of collecting tests.
gc.set_threshold(50_000)
# It waits for a disk, against a loss of power. Tests of who calls it put their own in its place.
os.fsync = lambda descriptor: None
REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


# They take a minute and more: begun last, one of them would keep a process while the other idles.
LONG = ("test_notebooks", "test_run_all", "test_export", "test_clusters", "test_run", "test_sweep",
        "test_browser", "test_backbones", "test_weights", "test_patchcore", "test_wrong_words")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.stem not in LONG)  # else in their order


def pytest_collection_finish():
    gc.collect()
    gc.freeze()


def pytest_runtest_setup():
    """Once an export has run, torch's exporter keeps what it reads of its 500 translations of
    operators: their sources, anew at each export, which is a quarter of its time."""
    module = sys.modules.get("torch.onnx._internal.exporter._registration")
    registry = getattr(module, "ONNXRegistry", None)
    reads = vars(registry).get("from_torchlib") if registry else None
    if isinstance(reads, classmethod) and not hasattr(reads.__func__, "cache_info"):
        registry.from_torchlib = classmethod(cache(reads.__func__))


HERE = ("", "localhost", "127.0.0.1", "0.0.0.0", "::1", None)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """The default run must not need one: connections leave this machine in no test."""
    connect, lookup = socket.socket.connect, socket.getaddrinfo

    def guarded_connect(self, address):
        host = address[0] if isinstance(address, tuple) else ""
        assert host in HERE, f"a test tried to reach {address}"
        return connect(self, address)

    def guarded_lookup(host, *arguments, **options):
        assert host in HERE, f"a test tried to look up {host}"
        return lookup(host, *arguments, **options)

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket, "getaddrinfo", guarded_lookup)


@pytest.fixture
def server():
    with Loopback() as running:
        yield running


@pytest.fixture(scope="session")
def drawn(tmp_path_factory) -> Path:
    """A folder of two small synthetic categories in MVTec AD layout; read only, copy to change."""
    from indad.data.synthetic.categories import write_category

    folder = tmp_path_factory.mktemp("drawn")
    for category in ("tiles", "capsule"):
        write_category(folder / category, category, train=8, good=3, per_defect=1)
    return folder


@pytest.fixture(scope="session", autouse=True)
def shared_backbones():
    """Each backbone is read or built once; every model of a test gets a copy, as if it were new.

    `load_backbone` itself is as ever: tests of loading call it where it is defined.
    """
    from torch.utils._python_dispatch import _disable_current_modes

    from indad import features
    from indad.notebook import chosen

    original, built = features.load_backbone, {}

    def load_backbone(name, **options):
        file = options.get("weights")
        stamp = os.stat(file) if isinstance(file, (str, Path)) and os.path.isfile(file) else None
        key = (name, *options.items(), stamp and (stamp.st_mtime_ns, stamp.st_size))
        with _disable_current_modes():  # a pretended GPU need not look on
            if key not in built:
                built[key] = original(name, **options)
            return copy.deepcopy(built[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features, "load_backbone", load_backbone)
        patch.setattr(chosen, "load_backbone", load_backbone)
        yield


@pytest.fixture(scope="session")
def small_network(tmp_path_factory) -> dict:
    """Arguments of a `PatchCore`: a small network, with random weights, where any would do."""
    import timm
    import torch

    file = tmp_path_factory.mktemp("weights") / "test_resnet.pth"
    torch.manual_seed(0)
    torch.save(timm.create_model("test_resnet").state_dict(), file)
    return {"backbone": "test_resnet", "weights": str(file)}


@pytest.fixture
def calls(monkeypatch) -> list[str]:
    """"extract" and "select", each time that a model does it from now on."""
    from indad import PatchCore
    from indad.learned import learning

    seen: list[str] = []
    extract, select = PatchCore.extract, learning.select_coreset
    monkeypatch.setattr(PatchCore, "extract", lambda self, *arguments, **options: seen.append(
        "extract") or extract(self, *arguments, **options))
    monkeypatch.setattr(learning, "select_coreset", lambda *arguments, **options: seen.append(
        "select") or select(*arguments, **options))
    return seen


@pytest.fixture
def hazelnut() -> Path:
    folder = REAL_DATA / "mvtec_ad"
    if not (folder / "hazelnut_reduced").is_dir():
        pytest.skip(f"the real images are not here: {folder}")
    return folder


@pytest.fixture
def mtd() -> Path:
    folder = REAL_DATA / "mtd"
    if not folder.is_dir():
        pytest.skip(f"the real images are not here: {folder}")
    return folder


@pytest.hookimpl(optionalhook=True)  # Colab's tests run without pytest-xdist
def pytest_xdist_auto_num_workers(config):
    """Of the whole suite one more than there are cores: some of its tests wait, for clusters,
    browsers and locks. The quick ones do not."""
    from indad.data.images import cores

    return cores() + (not config.option.markexpr)


@pytest.fixture
def no_elpv(monkeypatch):
    """No photos of solar cells on this machine."""
    from dataclasses import replace

    from indad.data.catalog import CATALOG

    row = CATALOG["elpv"]
    monkeypatch.setitem(CATALOG, "elpv", replace(
        row, package=replace(row.package, folder="elpv_that_is_not_here/data")))
