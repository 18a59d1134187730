"""From a score to a verdict, with good images only.

The F1-best threshold of the test set, which most projects report, needs the answers it is about
to give. Here the threshold comes from good images that the memory bank had not seen.
"""

import math

import numpy as np


def conformal_threshold(good_scores: np.ndarray, false_alarm_rate: float) -> float:
    """The score above which an image is called defective.

    Among n + 1 exchangeable good images, the new one exceeds the ceil((n + 1)(1 - a))-th smallest
    of the other n with probability at most a. With n < 1/a - 1 no finite threshold can promise
    that; the largest score is taken, and the rate that it does promise is `1 / (n + 1)`.

    Args:
        good_scores: `(n,)` scores of good images that the model had not seen, n >= 1.
        false_alarm_rate: a, in (0, 1).
    """
    if not 0 < false_alarm_rate < 1:
        raise ValueError(f"false_alarm_rate is {false_alarm_rate}; it must be between 0 and 1")
    if len(good_scores) == 0:
        raise ValueError("no good scores to take a threshold from")
    n = len(good_scores)
    rank = math.ceil((n + 1) * (1 - false_alarm_rate))
    return float(np.sort(good_scores)[min(rank, n) - 1])
