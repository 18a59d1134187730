"""What a photo is called, and where the limit comes from, in words."""

from ..calibration import lowest_false_alarm_rate


def verdict(score: float, threshold: float | None, misplaced: str = "") -> str:
    """"defective" above the threshold; else "misplaced" if it is, else "good", or "n/a" if there is
    no threshold."""
    if threshold is not None and score > threshold:
        return "defective"
    return "misplaced" if misplaced else "n/a" if threshold is None else "good"


def title(name: str, score: float, threshold: float | None, misplaced: str = "") -> str:
    """What a picture of an image is headed with: its score, the limit and the verdict."""
    known = "" if threshold is None else f" (limit {threshold:.3g})"
    return f"{name}: score {score:.3g}{known}, verdict {verdict(score, threshold, misplaced)}"


def how_decided(calibration: str, count: int, false_alarm_rate: float) -> str:
    """Where a threshold comes from, in words, and what it cannot promise."""
    if not count:
        return "none where no good image was left to take a threshold from"
    lowest = lowest_false_alarm_rate(count)
    at_best = f"; so few can promise {lowest:.2g} at best" if lowest > false_alarm_rate else ""
    return (f"{calibration} on {count} good images, for a false-alarm rate of "
            f"{false_alarm_rate:.2g}{at_best}")
