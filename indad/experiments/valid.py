"""What the record of a run (metrics.json) must hold before anybody relies on it."""

from typing import Any

from ..errors import InputError
from ..presets import OPTIONS

METRICS = ("image_auroc", "image_ap", "image_f1_max", "pixel_auroc", "pixel_ap", "pixel_f1_max",
           "aupro_30", "aupro_5")
# What tells one variant of a method from another; category and seed only repeat it.
FIRST = ("dataset", "split", "backbone", "weights", "layers", "resize", "crop", "tiles",
         "overlap", "scale", "region", "foreground", "align", "robust", "preset", "coreset_ratio",
         "image_score", "shots", "protocol", "augmentation", "frame")
# No number depends on these, only how fast it comes: they are no part of a run's identity.
WITHOUT_EFFECT = ("device", "batch_size", "reserve")
VARIANT = (*FIRST, *(name for name in OPTIONS if name not in (*FIRST, *WITHOUT_EFFECT, "seed")))
MOST = 2 ** 53  # a count beyond it is none


def check_record(record: object) -> dict:
    """The record itself; raises `InputError` with what is wrong in it first.

    Records of earlier versions say less: what they need not have is checked if it is there.
    """
    if not isinstance(record, dict):
        raise InputError("it is no object")
    metrics, counts, decision, timings, bank, config = (
        _part(record, name) for name in ("metrics", "counts", "decision", "timings", "memory_bank",
                                         "config"))
    for name in {*METRICS, *metrics}:
        _number(metrics, name, highest=1, none=True)
    for name in ("train", "test_good", "test_defective"):
        _count(counts, name)
    for name in {"threshold", "map_threshold", "false_alarms", "misses"} & decision.keys():
        _number(decision, name, lowest=-MOST, none=True)
    for name in ("threshold", "false_alarms", "misses"):
        if name not in decision:
            raise InputError(f"it has no decision {name}")
    for name in ("fit_s", "predict_s"):
        _number(timings, name)
    _number(timings, "images_per_s", lowest=1e-9)
    _count(bank, "bytes")
    for name in ("dataset", "category", "backbone"):
        _text(config, name)
    _count(config, "seed")
    _text(record, "data_fingerprint")
    for name in VARIANT:
        value = config.get(name)
        if not _is_plain(value):
            raise _wrong(name, value, "one value, or a list of them")
    if config.get("shots") is not None:
        _count(config, "shots")
    if config.get("coreset_ratio") is not None:
        _number(config, "coreset_ratio", highest=1)
    _optional(record, counts, decision, config)
    return record


def _is_plain(value: object, depth: int = 2) -> bool:
    """One value, a list of them, or (layers of several backbones) a list of lists."""
    if isinstance(value, list):
        return depth > 0 and all(_is_plain(one, depth - 1) for one in value)
    return not isinstance(value, dict)


def _optional(record: dict, counts: dict, decision: dict, config: dict) -> None:
    if "unreadable" in counts:
        _count(counts, "unreadable")
    if "data_version" in config:
        _count(config, "data_version")
    if "calibration" in decision:
        _text(decision, "calibration")
    if "calibrated_on" in decision:
        _count(decision, "calibrated_on")
    for part, name in ((decision, "lowest_false_alarm_rate"), (config, "false_alarm_rate")):
        if name in part:
            _number(part, name, highest=1, none=True)
    if "suspects" in record:
        _text(record, "suspects")
    if "pixel_threshold" in record:
        threshold = _part(record, "pixel_threshold")
        _number(threshold, "value", lowest=-MOST)
        _text(threshold, "from")
    if "intervals" in record:
        _number(_part(record, "intervals"), "level", highest=1)
        for name, ends in _part(record["intervals"], "ends").items():
            if ends is not None and not (isinstance(ends, list) and len(ends) == 2):
                raise _wrong(name, ends, "two numbers")
            for end in ends or ():
                _number({name: end}, name, highest=1)
    if "defects" in record:
        for size, row in _part(_part(record, "defects"), "by_size").items():
            _count(_part(record["defects"]["by_size"], size), "defects")
            for name in row:
                _number(row, name, none=True)
    if not isinstance(record.get("environment") or {}, dict):
        raise _wrong("environment", record["environment"], "an object")


def _part(record: dict, name: str) -> dict:
    if not isinstance(record.get(name), dict):
        raise InputError(f"it has no {name}")
    return record[name]


def _number(part: dict, name: str, *, lowest: float = 0, highest: float = MOST,
            none: bool = False) -> None:
    value = part.get(name, "missing")
    if value is None and none:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not (
            lowest <= value <= highest):
        raise _wrong(name, value, f"a number from {lowest:g} to {highest:g}")


def _count(part: dict, name: str) -> None:
    value = part.get(name, "missing")
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST:
        raise _wrong(name, value, "a whole number, 0 or more")


def _text(part: dict, name: str) -> None:
    value = part.get(name, 0)
    if not isinstance(value, str) or not value:
        raise _wrong(name, value, "text")


def _wrong(name: str, value: Any, wanted: str) -> InputError:
    return InputError(f"{name} is {str(value)[:60]!r}; it must be {wanted}")
