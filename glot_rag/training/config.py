"""Settings of a training run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from glot_rag.errors import InputError
from glot_rag.head.config import HeadConfig
from glot_rag.head.fit import FitConfig

if TYPE_CHECKING:
    from glot_rag.models.backbone import Backbone


@dataclass(frozen=True)
class TrainingConfig(FitConfig):
    """How a head is trained. The defaults are those of the shipped heads for MiniLM: token labels alone.

    Args:
        seed, epochs, patience, batch_size, learning_rate, weight_decay: see `FitConfig`; an example is a text.
        views: noisy views of each text, made and encoded once. An epoch sees one of them.
        validation: share of the texts, held out.
        tokens: weight of the binary cross-entropy of the readout's scores against "this token is signal". With the
            other two weights 0 the backbone is run only up to the highest layer that the head reads.
        denoising: weight of 1 - cos(z(noisy), mean(clean words)); the target is the frozen backbone's own vector, or
            the teacher's.
        contrastive: weight of symmetric InfoNCE between queries and noisy texts (texts without a query take no part).
        without: families of noise to leave out (`glot_rag.denoise.noisy_views.FAMILIES`), to measure what the head
            makes of noise of a kind that it never saw.

    Raises:
        InputError: a value out of its range.
    """

    epochs: int = 2
    patience: int = 3
    batch_size: int = 64
    views: int = 1
    validation: float = 0.05
    tokens: float = 1.0
    denoising: float = 0.0
    contrastive: float = 0.0
    without: tuple[str, ...] = ()

    @property
    def vectors(self) -> bool:
        """Whether vectors are trained for, not token labels alone."""
        return self.denoising + self.contrastive > 0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "without", tuple(self.without))
        if self.views < 1:
            raise InputError(f"views must be at least 1; got {self.views}")
        for name in ("denoising", "contrastive", "tokens"):
            if not getattr(self, name) >= 0:
                raise InputError(f"{name} must be at least 0; got {getattr(self, name)}")
        if not self.denoising + self.contrastive + self.tokens > 0:
            raise InputError("at least one objective needs a weight above 0")
        if not 0 < self.validation < 1:
            raise InputError(f"validation must be between 0 and 1; got {self.validation}")


def default_head(backbone: Backbone, pooling: str = "glot") -> HeadConfig:
    """The shape of the shipped heads for MiniLM, for any backbone.

    The head reads the states after layer 2 (1 of fewer than six), and noise tokens leave there (the drop form): further
    up, the signal's states have mixed with the noise, and training and denoising would cost more.

    Args:
        backbone: the frozen transformer.
        pooling: "glot" or "adapool".
    """
    return HeadConfig(
        state_size=backbone.state_size,
        layers=(max(1, min(2, backbone.num_layers // 3)),),
        pooling=pooling,
        convolution="transformer",
        num_layers=3,
        norm="layer",
        form="drop",
        readout="sigmoid",
        mix_weight=0.2,
    )
