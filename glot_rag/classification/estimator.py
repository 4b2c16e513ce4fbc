"""`GlotClassifier`: texts in, classes out, in scikit-learn's estimator form."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from glot_rag.errors import BundleError, InputError, MissingExtraError

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, column_or_1d
except ImportError as error:
    raise MissingExtraError("scikit-learn", "classify") from error

import torch

from glot_rag.classification.classifier import TextClassifier, build_pooling
from glot_rag.classification.fit import Examples, fit_classifier, hold_out
from glot_rag.classification.states import CachedStates
from glot_rag.classification.storage import SavedClassifier, load_classifier, save_classifier
from glot_rag.denoise.noisy_views import NoiseGenerator
from glot_rag.head.config import TRAINED_POOLINGS
from glot_rag.head.fit import FitConfig, seeded
from glot_rag.models.backbone import Backbone
from glot_rag.models.tokenizer import check_texts

if TYPE_CHECKING:
    from typing_extensions import Self

# Passages of other texts would bring the other classes' signal along.
_WITHOUT = ("shuffled", "offtopic")
_MOST_SEEDS = 2**31 - 1


@lru_cache(maxsize=2)
def _load(backbone: str, device: str | None, dtype: str | None, max_tokens: int | None) -> Backbone:
    """A backbone, kept for the next call: a grid search fits many times, and the estimator itself stays light."""
    return Backbone.load(backbone, device=device, dtype=dtype, max_tokens=max_tokens)


class GlotClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Classifies texts by a pooling over a frozen transformer's token states, trained together with a linear layer.

    GLOT (arXiv 2603.03389) as in its paper: token graph, graph layers, learned readout, linear layer, trained on the
    logistic loss by AdamW. The transformer runs once over each training text; its states lie in a temporary directory
    while `fit` runs. The epoch is chosen on a part of the training texts, by the loss.

    >>> classifier = GlotClassifier(noisy_views=2).fit(texts, labels)  # doctest: +SKIP
    >>> classifier.predict_proba(["Home > Shop > Cookies … The kettle leaks. … All rights reserved"])  # doctest: +SKIP

    Args:
        backbone: "minilm", "mpnet", "e5", "smollm2", a hub id, a directory or a .gguf file.
        pooling: "glot", "adapool", or one without parameters: "mean", "max", "cls", "last".
        noisy_views: copies of each training text with page lines, logs, stray words and the like among its words, to
            train on beside the text itself (`glot_rag.denoise.noisy_views`). Some help where the texts to classify are
            noisier than those at hand; 0 for none.
        layers: the backbone layers whose states "glot" and "adapool" read, concatenated.
        convolution: GLOT's graph layer: gat, gcn, gin, gine or transformer.
        num_layers: K, graph layers.
        hidden_size: their width.
        threshold: tau; tokens with a higher cosine are joined.
        epochs: at most so many.
        patience: stop after so many without a better validation loss.
        batch_size: texts a step.
        learning_rate: AdamW's peak.
        weight_decay: AdamW's.
        validation: share of the texts, class by class, that the epoch is chosen on.
        max_tokens: longest text in tokens, the rest is cut off; None is the model's own limit.
        device: "cpu", "cuda", …; None chooses.
        dtype: of the backbone; None chooses.
        random_state: a seed, a RandomState, or None for another result each time.

    Attributes:
        classes_: (C,) the classes, sorted.
        history_: one `Epoch` (`glot_rag.head.fit`) an epoch.
        n_iter_: epochs run.
        net_: the trained `TextClassifier`.
    """

    def __init__(
        self,
        backbone: str = "minilm",
        pooling: str = "glot",
        *,
        noisy_views: int = 0,
        layers: Sequence[int] = (-1,),
        convolution: str = "gat",
        num_layers: int = 2,
        hidden_size: int = 128,
        threshold: float = 0.3,
        epochs: int = 20,
        patience: int = 5,
        batch_size: int = 32,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.01,
        validation: float = 0.1,
        max_tokens: int | None = None,
        device: str | None = None,
        dtype: str | None = None,
        random_state: Any = 0,
    ) -> None:
        self.backbone = backbone
        self.pooling = pooling
        self.noisy_views = noisy_views
        self.layers = layers
        self.convolution = convolution
        self.num_layers = num_layers
        self.hidden_size = hidden_size
        self.threshold = threshold
        self.epochs = epochs
        self.patience = patience
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.validation = validation
        self.max_tokens = max_tokens
        self.device = device
        self.dtype = dtype
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        """Texts as X, one string a sample."""
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.target_tags.required = True
        return tags

    def fit(self, X: Sequence[str], y: Any) -> Self:
        """Train on N texts and their classes (strings, whole numbers or booleans).

        Raises:
            InputError: not a list of strings, another number of classes than texts, fewer than two classes, fewer than
                two texts of each class that could be held out, or a setting out of its range.
            MissingExtraError, ModelNotFoundError: the backbone cannot be loaded.
            TrainingError: the loss is not finite.
        """
        if y is None:
            raise InputError("requires y to be passed, but the target y is None")
        texts = check_texts(X)
        given = column_or_1d(y, warn=True)
        check_classification_targets(given)
        if len(texts) != len(given):
            raise InputError(f"{len(texts)} texts, but {len(given)} classes: expected one class a text")
        if not isinstance(self.noisy_views, (int, np.integer)) or self.noisy_views < 0:
            raise InputError(f"noisy_views must be a whole number from 0; got {self.noisy_views!r}")
        classes, labels = np.unique(given, return_inverse=True)
        if len(classes) < 2:
            raise InputError(f"expected at least 2 classes; got {len(classes)} class")
        seed = int(check_random_state(self.random_state).randint(_MOST_SEEDS))
        config = FitConfig(
            seed=seed,
            epochs=self.epochs,
            patience=self.patience,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
        )
        parts = hold_out(Examples(np.arange(len(texts))[:, None], labels), self.validation, seed)
        backbone = self._backbone()
        with seeded(seed):
            net = self._network(backbone.state_size, len(classes)).to(backbone.device)
        with tempfile.TemporaryDirectory(prefix="glot-rag-classifier-") as folder:
            views = self._noisy(texts, seed)
            states = CachedStates(folder, [*texts, *views], backbone, layers=self._layers())
            train, validation = (_with_views(part, len(texts), int(self.noisy_views)) for part in parts)
            history = fit_classifier(net, states, train, validation, config)
        self.classes_ = classes
        self.net_ = net
        self.history_ = history
        self.n_iter_ = len(history)
        self.fingerprint_ = backbone.fingerprint
        self.state_size_ = backbone.state_size
        return self

    def predict(self, X: Sequence[str]) -> NDArray[Any]:
        """The most probable class of each text: (N,), as they were given to `fit`."""
        winners = self.predict_proba(X).argmax(axis=1)  # first, as it checks that there are classes
        return np.asarray(self.classes_[winners])

    @torch.no_grad()
    def predict_proba(self, X: Sequence[str]) -> NDArray[np.float64]:
        """The probability of each class: (N, C), in the order of `classes_`.

        Raises:
            NotFittedError: `fit` has not been called.
            InputError: not a list of strings.
            BundleError: the backbone is not the one that the classifier was trained over.
        """
        check_is_fitted(self)
        texts = check_texts(X)
        backbone = self._backbone()
        if backbone.fingerprint != self.fingerprint_:
            raise BundleError(
                f"the classifier was trained over a backbone with fingerprint {self.fingerprint_}; '{self.backbone}' "
                f"has {backbone.fingerprint}: use the same model files, or train again"
            )
        net = self.net_.to(backbone.device).eval()
        out = np.empty((len(texts), len(self.classes_)), np.float64)
        for batch in backbone.pack(backbone.tokenizer(texts)):
            by_layer, mask = backbone.hidden_states(batch, self._layers())
            outputs = net((torch.cat(by_layer, dim=-1), mask))
            out[batch.rows] = torch.softmax(outputs.double(), dim=-1).cpu().numpy()
        return out

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `classifier.json` and `classifier.safetensors` into a directory, made if it is missing. No pickle.

        The backbone is named, not copied.

        Raises:
            NotFittedError: `fit` has not been called.
            InputError: a parameter or class that JSON cannot hold, such as a RandomState.
        """
        check_is_fitted(self)
        save_classifier(
            SavedClassifier(self._plain_params(), self.classes_, self.fingerprint_, self.state_size_, self.net_), path
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, device: str | None = None, dtype: str | None = None) -> Self:
        """Read what `save` wrote; `history_` is not kept.

        Args:
            path: the directory.
            device: overrides the saved one.
            dtype: overrides the saved one.

        Raises:
            BundleError: a file is missing, damaged (SHA-256), of another format or version, or does not fit.
        """

        def network(params: dict[str, Any], state_size: int, outputs: int) -> TextClassifier:
            return cls(**params)._network(state_size, outputs)

        saved = load_classifier(path, network)
        overridden = {"device": device, "dtype": dtype}
        loaded = cls(**{**saved.params, **{name: value for name, value in overridden.items() if value is not None}})
        loaded.layers = tuple(loaded.layers)
        loaded.classes_, loaded.net_ = saved.classes, saved.net.eval()
        loaded.fingerprint_, loaded.state_size_ = saved.fingerprint, saved.state_size
        return loaded

    def _backbone(self) -> Backbone:
        return _load(os.fspath(self.backbone), self.device, self.dtype, self._plain_params()["max_tokens"])

    def _plain_params(self) -> dict[str, Any]:
        """The parameters without NumPy's numbers, which a search over a grid sets."""
        params = {**self.get_params(deep=False), "layers": np.asarray(self.layers).tolist()}
        return {name: value.tolist() if isinstance(value, np.generic) else value for name, value in params.items()}

    def _layers(self) -> tuple[int, ...]:
        return tuple(self._plain_params()["layers"]) if self.pooling in TRAINED_POOLINGS else (-1,)

    def _network(self, state_size: int, outputs: int) -> TextClassifier:
        settings: dict[str, Any] = {"layers": self._layers()}
        if self.pooling == "glot":
            params = self._plain_params()
            settings |= {name: params[name] for name in ("convolution", "num_layers", "hidden_size", "threshold")}
        return TextClassifier(build_pooling(self.pooling, state_size, **settings), outputs)

    def _noisy(self, texts: list[str], seed: int) -> list[str]:
        """The first view of every text, then the second of every text, and so on."""
        noise = NoiseGenerator(texts, seed, without=_WITHOUT)
        return [noise.view(row, number).text for number in range(self.noisy_views) for row in range(len(texts))]


def _with_views(examples: Examples, texts: int, views: int) -> Examples:
    """The examples with their noisy views: row r + k · texts of the states is view k - 1 of text r."""
    rows = np.concatenate([examples.rows + texts * number for number in range(views + 1)])
    return Examples(rows, np.tile(examples.labels, views + 1))
