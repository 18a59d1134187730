"""What scikit-learn's pipelines, searches and scorers ask besides `fit` and `predict`."""

from typing import Any

import numpy as np
from sklearn.base import OutlierMixin
from sklearn.exceptions import NotFittedError

from ..errors import InputError
from ..metrics import image_metrics


class NotFitted(InputError, NotFittedError):
    """Asked before `fit`."""


class Estimator(OutlierMixin):
    """Scores as scikit-learn asks for them: in all of them higher is *more* anomalous.

    That is contrary to the habit of its outlier detectors, and as of its binary classifiers, with
    the labels that `fit` takes: 0 is good, 1 is defective. So scorers by name ("roc_auc",
    "average_precision") mean what they say.
    """

    def score_samples(self, X: object) -> np.ndarray:
        """`(n,)` scores of images."""
        return self.predict(X).scores

    def decision_function(self, X: object) -> np.ndarray:
        """`(n,)` scores above the threshold: positive is defective.

        Raises `InputError` if there is no threshold, as no good image was left to take it from.
        """
        if self.threshold_ is None:
            raise InputError("this PatchCore has no threshold, as no good image was left to take "
                             "one from; ask score_samples")
        return self.score_samples(X).astype(float) - self.threshold_

    def score(self, X: object, y: object) -> float:
        """AUROC of images with labels `(n,)`, 1 for defective: what searches maximise if they are
        not given a scorer."""
        found = image_metrics(self.score_samples(X), np.asarray(y))["image_auroc"]
        if found is None:
            raise InputError("the AUROC needs good and defective images, and these are all one; "
                             "split them with StratifiedKFold")
        return found

    def __sklearn_tags__(self) -> Any:
        """X holds pictures, and what it may be is our own business."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.no_validation = True
        return tags

    def __sklearn_clone__(self) -> Any:
        """A clone is not fitted, but need not load the network again."""
        twin = super().__sklearn_clone__()
        if hasattr(self, "_loaded"):
            twin._loaded = self._loaded
        return twin
