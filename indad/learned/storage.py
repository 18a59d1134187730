"""A fitted model as a folder: numbers in safetensors, everything else in JSON for people to read.

Reading executes nothing. What comes back is checked against what was written, down to the weights
of the backbone: a memory bank means nothing to any other network.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .. import __version__
from ..backbones.registry import find_backbone
from ..data.arguments import PATH, maybe
from ..data.files import (
    check_replaceable,
    complete_folder,
    explain_full_disk,
    in_units,
    sha256_of,
    write_text,
)
from ..data.levels import levels_in
from ..data.reading import read_json
from ..data.reference import reference_in
from ..data.region import PICTURE, region_in
from ..data.replacing import read_whole
from ..errors import InputError, first_line
from ..features import PatchNetwork
from ..presets import Parameters, check_options
from .bounds import check_bounds, check_indices, suspects_in
from .fitted import Fitted
from .places import found_from, seen_from

# What models did that were saved before there was an option for it.
UNKNOWN_ONCE = {"balance_images": False}
FORMAT = 4  # raised when older versions of indad could no longer read what this one writes
# The transform of formats 1 and 2; and of 3, which knew of no region.
UNCUT = {"tiles": None, "overlap": 0, "scale": 1.0, "region": None}
TENSORS, RECORD = "model.safetensors", "model.json"
# Properties of a machine, not of a model; `load` takes those that change what is computed.
NOT_SAVED = ("device", "precision", "memory_budget")
# Dimensions by letter: m patches in the bank, d numbers each, s scales (d or 1), k good images,
# r patches in reserve.
Layout = dict[str, tuple[torch.dtype, str]]
LAYOUT: Layout = {"memory_bank": (torch.float32, "md"), "feature_scale": (torch.float32, "s"),
                  "coreset_indices": (torch.int64, "m"), "coreset_radii": (torch.float32, "m"),
                  "good_scores": (torch.float64, "k"), "good_peaks": (torch.float64, "k")}
RESERVE: Layout = {"reserve": (torch.float32, "rd"), "reserve_indices": (torch.int64, "r")}
REFERENCE: Layout = {"reference": (torch.uint8, "abc")}  # a x b pixels of c colours
FIELDS = {"good_scores": "calibration_scores", "good_peaks": "calibration_peaks"}  # of it


def write_model(folder: Path, record: dict, tensors: dict[str, Tensor]) -> None:
    """Write a model's record and tensors into `folder`, wholly or not at all.

    The same model gives the same bytes. Raises `InputError` rather than replace a folder that holds
    anything but a saved model, and when the disk is full.
    """
    from safetensors.torch import save

    check_free(folder)
    size = in_units(sum(tensor.nbytes for tensor in tensors.values()))
    with (explain_full_disk(f"{folder}: the model needs {size}", "free some space"),
          complete_folder(folder) as partial):
        # Not `save_file`, which makes a file that nobody else may read.
        (partial / TENSORS).write_bytes(save({name: tensor.detach().cpu().contiguous()
                                              for name, tensor in tensors.items()}))
        record = {"format": FORMAT, "indad": __version__, **seen_from(folder, record),
                  "tensors": {name: {"shape": list(tensor.shape), "dtype": _dtype(tensor)}
                              for name, tensor in tensors.items()},
                  "tensors_sha256": sha256_of(partial / TENSORS)}
        record["record_sha256"] = _record_digest(record)
        write_text(partial / RECORD, json.dumps(record, indent=1, allow_nan=False) + "\n")


def check_free(folder: Path) -> None:
    """Raise `InputError` if a model saved there would replace anything but a saved model."""
    check_replaceable(folder, {TENSORS, RECORD, PICTURE}, "a saved model",
                      "choose a new folder")


def read_model(folder: Path) -> tuple[dict, dict[str, Tensor]]:
    """Record and tensors of a saved model, checked: whole, unchanged, of the right shapes, finite.

    Of one and the same model, also while another process saves a newer one there. Raises
    `InputError` for everything that is wrong with the folder, in one line.
    """
    record, tensors = read_whole(folder, _read_model)
    with odd_record_explained(folder):
        return found_from(folder, record), tensors


def _read_model(folder: Path) -> tuple[dict, dict[str, Tensor]]:
    from safetensors.torch import load_file

    record = _read_record(folder)
    file = folder / TENSORS
    if not file.is_file():
        raise InputError(f"{file} is missing; copy the whole folder of the saved model")
    if sha256_of(file) != record.get("tensors_sha256"):
        raise InputError(f"{file}: not the file that was saved with {RECORD} (its SHA-256 "
                         "differs): cut short, changed or of another model; copy both again")
    try:
        # Copies, as what is read so is still the file, which others may overwrite or truncate.
        tensors = {name: tensor.clone() for name, tensor in load_file(file).items()}
    except Exception as error:  # safetensors has types of its own
        raise InputError(f"{file}: not a safetensors file ({first_line(error)}); nothing else is "
                         "read, as pickled files could run any code") from error
    _check_tensors(file, tensors, record)
    with odd_record_explained(folder):
        check_bounds(record, tensors)
    return record, tensors


def weights_digest(network: nn.Module) -> str:
    """SHA-256 of the floating-point tensors that a network computes with, in their order.

    Without their names, as a newer timm may rename them, and without counters.
    """
    digest = hashlib.sha256()
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            digest.update(f"{_dtype(tensor)} {list(tensor.shape)}\n".encode())
            values = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
            digest.update(values.numpy())
    return digest.hexdigest()


def describe(fitted: Fitted, network: PatchNetwork, false_alarm_rate: float,
             ) -> tuple[dict, dict[str, Tensor]]:
    """What a model has to remember: the record and the tensors of `write_model`."""
    options = {name: value for name, value in fitted.options.items() if name not in NOT_SAVED}
    checkpoint = options["weights"]
    record = {
        "options": options | {"weights": checkpoint and str(checkpoint)} | (
            {"region": str(options["region"])} if PATH.holds(options["region"]) else {}),
        "backbone": {"tags": [find_backbone(name).tag for name in options["backbone"].split("+")],
                     "weights_sha256": weights_digest(network.extractor),
                     "checkpoint_sha256": checkpoint and sha256_of(Path(checkpoint))},
        # With levels, versions that know of none refuse the model instead of reading photos wrong.
        "transform": network.looking_at(fitted.region).transform.settings | (
            {"levels": fitted.levels} if fitted.levels else {}),
        "reference": fitted.reference and fitted.reference.settings,
        "grid": list(fitted.grid), "size": list(fitted.size), "views": fitted.views,
        "training": {"images": fitted.images, "fitted_on": _unless_all(fitted.fitted_on),
                     "skipped": len(fitted.skipped), "given": fitted.given,
                     "sha256": fitted.fingerprint, "digests": fitted.digests,
                     "selected_from": fitted.selected_from,
                     # For explanations; the images are not kept.
                     "files": fitted.files if any(fitted.files or ()) else None,
                     "tiles": fitted.tiles, "looked_at": fitted.looked_at,
                     "suspects": fitted.suspects and asdict(fitted.suspects)},
        "thresholds": fitted.thresholds(false_alarm_rate),
    }
    layout = LAYOUT | (RESERVE if len(fitted.reserve) else {})
    tensors = {name: torch.as_tensor(getattr(fitted, FIELDS.get(name, name))).to(dtype)
               for name, (dtype, _) in layout.items()}
    if fitted.reference is not None:
        tensors["reference"] = torch.from_numpy(fitted.reference.picture)
    return record, tensors


def options_of(record: dict, folder: Path, weights: str | Path | None) -> dict[str, Any]:
    """Arguments of `PatchCore` from a record; `weights` says where the checkpoint lies now."""
    maybe(PATH).check("weights", weights)
    options: dict[str, Any] = UNKNOWN_ONCE | {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in record["options"].items()}
    try:
        check_options(vars(Parameters()) | options | {"weights": None})
    except InputError as error:
        raise InputError(f"{folder}: its record is not as indad writes it ({error})") from error
    if weights is not None:
        return options | {"weights": str(weights)}
    if options["weights"] and not Path(options["weights"]).is_file():
        raise InputError(
            f"{folder}: was fitted with the weights in {options['weights']} (SHA-256 "
            f"{record['backbone']['checkpoint_sha256'][:12]}...), a file that is not there; "
            "say where it is with weights")
    return options


@contextmanager
def odd_record_explained(folder: Path) -> Iterator[None]:
    """Turn what a record of another shape leads to into an `InputError`."""
    try:
        yield
    except (ArithmeticError, AttributeError, IndexError, KeyError, TypeError) as error:
        raise InputError(f"{folder}: its record is not as indad writes it "
                         f"({type(error).__name__}: {error})") from error


def restore(record: dict, tensors: dict[str, Tensor], folder: Path, *, options: dict[str, Any],
            network: PatchNetwork) -> Fitted:
    """What a saved model had learned.

    Args:
        options: as `options_of` gives them; `network`: that they name.

    Raises `InputError` if the network is not the one that the bank was made by.
    """
    _check_network(record, tensors, folder, options, network)
    check_indices(record, tensors)
    fitted = _restored(record, tensors, folder, options, network.device)
    thresholds = fitted.thresholds(record["thresholds"]["false_alarm_rate"])
    if thresholds != record["thresholds"]:
        raise InputError(f"{folder / RECORD}: thresholds are {record['thresholds']}, but the good "
                         f"scores beside it say {thresholds}; copy both files again")
    return fitted


def _check_network(record: dict, tensors: dict[str, Tensor], folder: Path,
                   options: dict[str, Any], network: PatchNetwork) -> None:
    found, wanted = weights_digest(network.extractor), record["backbone"]["weights_sha256"]
    if found != wanted:
        source = options["weights"] or f"{options['backbone']} as installed"
        raise InputError(f"{folder}: was fitted with other weights (SHA-256 {wanted[:12]}...) than "
                         f"those of {source} ({found[:12]}...); give the same as weights, or fit "
                         "again")
    transform = json.loads(json.dumps(network.transform.settings))
    if transform != UNCUT | {name: value for name, value in record["transform"].items()
                             if name not in ("levels", "region")}:
        raise InputError(f"{folder}: was fitted on images prepared as {record['transform']}, but "
                         f"this version prepares them as {transform}; fit again")
    size = network.transform.size
    if list(size) != record["size"]:  # before a picture of it is made
        raise InputError(f"{folder / RECORD}: size is {record['size']}, but its options say "
                         f"{list(size)}; copy it again")
    shape = list(network(torch.zeros(1, *record["size"], 3, dtype=torch.uint8)).shape[1:])
    expected = [tensors["memory_bank"].shape[1], *record["grid"]]
    if shape != expected:
        raise InputError(f"{folder}: the memory bank is of patches {expected} (numbers, down, "
                         f"across), but the backbone makes {shape}")


def _restored(record: dict, tensors: dict[str, Tensor], folder: Path, options: dict[str, Any],
              device: torch.device) -> Fitted:
    if "reserve" not in tensors:
        tensors = tensors | {"reserve": tensors["memory_bank"][:0],
                             "reserve_indices": tensors["coreset_indices"][:0]}
    training = record["training"]
    fitted_on = training.get("fitted_on") or list(range(training["images"]))
    # The first models of format 1 knew neither how many images were given nor where they lay.
    given, files = training.get("given", max(fitted_on) + 1), training.get("files")
    fingerprint = training.get("sha256")
    if not isinstance(fingerprint, (str, type(None))):
        raise InputError(f"{folder / RECORD}: training sha256 is {fingerprint!r}; it must "
                         "be text or null")
    digests = training.get("digests")
    if digests is not None and not (isinstance(digests, list)
                                    and all(isinstance(one, str) for one in digests)):
        raise InputError(f"{folder / RECORD}: training digests must be a list of texts or null")
    if files is not None and len(files) != given:
        raise InputError(f"{folder / RECORD}: names {len(files)} training files of "
                         f"{given}; copy it again")
    return Fitted(
        options=options, memory_bank=tensors["memory_bank"].to(device),
        coreset_indices=tensors["coreset_indices"].to(device),
        coreset_radii=tensors["coreset_radii"], feature_scale=tensors["feature_scale"].to(device),
        reserve=tensors["reserve"].to(device),
        reserve_indices=tensors["reserve_indices"].to(device),
        calibration_scores=tensors["good_scores"].numpy(),
        calibration_peaks=tensors["good_peaks"].numpy(),
        grid=tuple(record["grid"]), size=tuple(record["size"]), images=training["images"],
        views=record["views"], tiles=training.get("tiles"), fitted_on=fitted_on, given=given,
        files=files, fingerprint=fingerprint, digests=digests,
        suspects=suspects_in(training, options["robust"], given),
        selected_from=training["selected_from"],
        levels=levels_in(record["transform"], folder / RECORD),
        region=region_in(record["transform"], folder / RECORD),
        looked_at=training.get("looked_at"),
        reference=reference_in(record.get("reference"), tensors.get("reference"), options,
                               folder / RECORD))


def _unless_all(positions: list[int]) -> list[int] | None:
    """Positions of images; None for 0, 1, 2, ..., which needs no list."""
    return None if positions == list(range(len(positions))) else positions


def _read_record(folder: Path) -> dict:
    if folder.is_file():
        raise InputError(f"{folder} is a file; a saved model is a folder with {RECORD} and "
                         f"{TENSORS} (pickled models are not read: they could run any code)")
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of a saved model")
    file = folder / RECORD
    if not file.is_file():
        raise InputError(f"{file} is missing; give a folder that PatchCore.save wrote")
    try:
        record = read_json(file)
        version = record["format"]
    except InputError as error:
        raise InputError(f"{file}: not the record of a saved model "
                         f"({str(error).removeprefix(f'{file}: ')})") from error
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{file}: not the record of a saved model ({first_line(error)})") from error
    if not isinstance(version, int) or version < 1:
        raise InputError(f"{file}: format is {version!r}; it must be a number from 1 to {FORMAT}")
    if version > FORMAT:
        raise InputError(f"{file}: format is {version}, of indad {record.get('indad')}, but this "
                         f"is indad {__version__}, which reads up to {FORMAT}; upgrade indad")
    if record.get("record_sha256") != _record_digest(record):
        raise InputError(f"{file}: was changed after saving (its SHA-256 differs); copy it again, "
                         "or fit and save again")
    return record


def _check_tensors(file: Path, tensors: dict[str, Tensor], record: dict) -> None:
    layout = LAYOUT | (RESERVE if RESERVE.keys() & tensors else {}) | (
        REFERENCE if record.get("reference") else {})
    missing, extra = sorted(layout.keys() - tensors), sorted(tensors.keys() - layout)
    if missing or extra:
        raise InputError(f"{file}: " + (f"has no tensor {missing[0]}" if missing else
                                        f"holds {extra[0]}, which is no part of a model"))
    sizes: dict[str, int] = {}
    for name, (dtype, letters) in layout.items():
        tensor = tensors[name]
        if tensor.dtype != dtype:
            raise InputError(f"{file}: {name} is {_dtype(tensor)}; it must be "
                             f"{str(dtype).removeprefix('torch.')}")
        fits = tensor.ndim == len(letters) and all(
            sizes.setdefault(letter, size) == size
            for letter, size in zip(letters, tensor.shape, strict=True))
        if not fits or (name == "feature_scale" and len(tensor) not in (1, sizes["d"])):
            known = ", ".join(f"{letter} = {size}" for letter, size in sizes.items())
            raise InputError(f"{file}: {name} has the shape {tuple(tensor.shape)}; it must be "
                             f"({', '.join(letters)}) with {known}")
        # Radii are infinite for a first pick and nan for random ones.
        if name != "coreset_radii" and not tensor.isfinite().all():
            raise InputError(f"{file}: {name} holds numbers that are not finite")
    if not len(tensors["memory_bank"]):
        raise InputError(f"{file}: memory_bank is empty")


def _record_digest(record: dict) -> str:
    rest = {name: value for name, value in record.items() if name != "record_sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
