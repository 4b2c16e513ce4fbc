"""Settings of a training run."""

from __future__ import annotations

from dataclasses import dataclass

from glot_rag.errors import InputError


@dataclass(frozen=True)
class TrainingConfig:
    """How a head is trained.

    Args:
        seed: of the noise, the split, the first weights and the order. On a CPU the same seed gives the same head.
        views: noisy views of each text, made and encoded once. An epoch sees one of them.
        epochs: at most so many.
        patience: stop after so many epochs without a better validation loss.
        batch_texts: texts a step; also the number of candidates of the contrastive objective.
        learning_rate: AdamW's peak, reached after the warm-up, then cosine decay to 0.
        weight_decay: AdamW's.
        warmup: share of all steps.
        validation: share of the texts, held out.
        temperature: of the contrastive objective.
        negatives: hard ones a text for the contrastive objective, beside those of the batch: the queries of other
            texts that the frozen backbone ranks highest (`glot_rag.training.negatives`).
        denoising: weight of 1 - cos(z(noisy), mean(clean words)), the frozen backbone's own vector as the target.
        contrastive: weight of symmetric InfoNCE between queries and noisy texts (texts without a query take no part).
        tokens: weight of the binary cross-entropy of the readout's scores against "this token is signal". With the
            other two weights 0 the backbone is run only up to the highest layer that the head reads.
        rarity: how much more it costs to lose a rare token than a frequent one
            (`glot_rag.training.objectives.signal_costs`); 0 makes all cost the same.
        without: families of noise to leave out (`glot_rag.training.noise.FAMILIES`), to measure what the head makes of
            noise of a kind that it never saw.

    Raises:
        InputError: a value out of its range.
    """

    seed: int = 0
    views: int = 3
    epochs: int = 9
    patience: int = 3
    batch_texts: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup: float = 0.05
    validation: float = 0.05
    temperature: float = 0.05
    negatives: int = 0
    denoising: float = 1.0
    contrastive: float = 0.1
    tokens: float = 0.3
    rarity: float = 0.0
    without: tuple[str, ...] = ()

    @property
    def vectors(self) -> bool:
        """Whether vectors are trained for, not token labels alone."""
        return self.denoising + self.contrastive > 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "without", tuple(self.without))
        for name in ("views", "epochs", "patience", "batch_texts"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1; got {getattr(self, name)}")
        if self.negatives < 0:
            raise InputError(f"negatives must be at least 0; got {self.negatives}")
        if self.negatives and not self.contrastive:
            raise InputError("negatives belong to the contrastive objective, whose weight is 0")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"seed must be from 0 to 2**63 - 1; got {self.seed}")
        for name in ("learning_rate", "temperature"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} must be above 0; got {getattr(self, name)}")
        for name in ("weight_decay", "denoising", "contrastive", "tokens", "rarity"):
            if not getattr(self, name) >= 0:
                raise InputError(f"{name} must be at least 0; got {getattr(self, name)}")
        if not self.denoising + self.contrastive + self.tokens > 0:
            raise InputError("at least one objective needs a weight above 0")
        for name in ("warmup", "validation"):
            if not 0 < getattr(self, name) < 1:
                raise InputError(f"{name} must be between 0 and 1; got {getattr(self, name)}")
