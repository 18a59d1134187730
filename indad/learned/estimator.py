"""What scikit-learn's pipelines, searches and scorers ask besides `fit` and `predict`.

They ask by name and not by class. So nothing is inherited from scikit-learn, whose import takes two
thirds as long as torch's: it is imported where somebody asks who has done that before.
"""

import copy
from inspect import signature
from typing import Any, TypeVar

import numpy as np

from ..errors import InputError, unknown
from ..metrics import image_metrics

Same = TypeVar("Same", bound="Estimator")


def __getattr__(name: str) -> Any:
    """`NotFitted`, an error of ours and of scikit-learn's, from when it is first raised on."""
    if name != "NotFitted":
        raise AttributeError(f"module {__name__} has no attribute {name}")
    from sklearn.exceptions import NotFittedError

    errors = InputError, NotFittedError
    globals()[name] = type(name, errors, dict(__module__=__name__, __doc__="Asked before `fit`."))
    return globals()[name]


class Estimator:
    """Scores as scikit-learn asks for them: in all of them higher is *more* anomalous.

    That is contrary to the habit of its outlier detectors, and as of its binary classifiers, with
    the labels that `fit` takes: 0 is good, 1 is defective. So scorers by name ("roc_auc",
    "average_precision") mean what they say.
    """

    _estimator_type = "outlier_detector"  # where scikit-learn before 1.6 looks
    fit: Any  # this and the next are `PatchCore`'s
    predict: Any
    threshold_: Any
    _loaded: Any

    @classmethod
    def _defaults(cls) -> dict[str, Any]:
        """What the constructor takes, as of a subclass too, and what it is if not given."""
        return {name: one.default for name, one in sorted(signature(cls).parameters.items())
                if one.kind is not one.VAR_KEYWORD}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """All parameters by name, which make this anew. None is an estimator, so none is `deep`."""
        return {name: getattr(self, name) for name in self._defaults()}

    def set_params(self: Same, **params: Any) -> Same:
        """Change parameters. Raises `InputError` for a name that is none."""
        known = self._defaults()
        for name in params:
            if name not in known:
                raise unknown("parameter", name, known)
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        """With what differs from the defaults."""
        given = (f"{name}={getattr(self, name)!r}" for name, usual in self._defaults().items()
                 if repr(getattr(self, name)) != repr(usual))
        return f"{type(self).__name__}({', '.join(given)})"

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

    def fit_predict(self, X: object, y: object = None) -> Any:
        """Learn from images, and judge them."""
        return self.fit(X, y).predict(X)

    def __sklearn_tags__(self) -> Any:
        """X holds pictures, and what it may be is our own business."""
        from sklearn.utils import InputTags, Tags, TargetTags

        return Tags(estimator_type=self._estimator_type, target_tags=TargetTags(required=False),
                    transformer_tags=None, classifier_tags=None, regressor_tags=None,
                    input_tags=InputTags(two_d_array=False), no_validation=True)

    def __sklearn_clone__(self) -> Any:
        """A clone is not fitted, but need not load the network again."""
        twin = type(self)(**copy.deepcopy(self.get_params()))
        if hasattr(self, "_loaded"):
            twin._loaded = self._loaded
        return twin
