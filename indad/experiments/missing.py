"""Why a metric is n/a, in words: from what a run counted."""

from collections.abc import Mapping

SINGLE = "one training image alone: none was left to take a threshold from"


def why_missing(counts: Mapping[str, int], decision: Mapping) -> list[str]:
    """The reasons for whatever is n/a in a run with these counts and this decision.

    Args:
        counts, decision: as in metrics.json.
    """
    reasons = []
    if not counts.get("test_defective"):
        reasons.append("metrics: no defective test images")
    elif not counts.get("test_good"):
        reasons.append("image metrics: no good test images")
    if counts.get("test_defective") and not counts.get("test_masks"):
        reasons.append("pixel metrics: no masks of the defective test images")
    if decision.get("threshold") is None and "calibrated_on" in decision:
        reasons.append(f"verdicts: {SINGLE}")
    return reasons
