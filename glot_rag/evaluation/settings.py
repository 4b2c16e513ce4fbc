"""How an evaluation is made: noise, sizes and seeds, checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from glot_rag.checks import choose
from glot_rag.errors import InputError
from glot_rag.evaluation.baselines import BASELINES
from glot_rag.evaluation.metrics import METRICS, check_metrics
from glot_rag.evaluation.noise.spec import Noise, parse_noise

DEFAULT_NOISES = ("none", "words:0.5", "words:0.8", "boilerplate:0.5", "boilerplate:0.8")


@dataclass(frozen=True)
class EvaluationSettings:
    """What is measured, and how.

    Args:
        noises: noise settings in the order of the report, as text ("words:0.8") or `Noise`. "none" leaves the documents
            as they are, whole and with their line breaks.
        fit: also measure each trained pooling fitted to the noisy documents.
        denoise: also measure each trained pooling with the documents denoised first; fitted, if `fit`. Where no pooling
            is trained, each pooling with the documents denoised by the backbone's shipped head.
        chunk: embed chunks of 1,000 characters that overlap by 200; a document's rank is that of its best chunk. BM25
            reads whole documents all the same.
        baselines: some of `glot_rag.evaluation.baselines.BASELINES`; "hybrid" brings "bm25" along.
        seed: of the noise and of the resampling.
        max_words: words of a document that a generator puts noise into; 0 keeps every word and adds the noise on top.
        metrics: as in `glot_rag.evaluation.measure`.
        k: documents that a search returns.
        own_oracles: also give every pooling and baseline the documents without the noise: its own oracle.
        costs: time what each way of making a document searchable takes, alone, on the noisiest documents.
        batch_size: documents held at a time.

    Raises:
        InputError: a value out of its range, an unknown name, or a noise or baseline given twice.
    """

    noises: Sequence[str | Noise] = DEFAULT_NOISES
    fit: bool = False
    denoise: bool = False
    chunk: bool = False
    baselines: Sequence[str] = ()
    seed: int = 0
    max_words: int = 170
    metrics: Sequence[str] = METRICS
    k: int = 100
    own_oracles: bool = False
    costs: bool = True
    batch_size: int = 256

    def __post_init__(self) -> None:
        if isinstance(self.noises, str) or isinstance(self.baselines, str):
            raise InputError("noises and baselines are lists of names, not one string")
        object.__setattr__(self, "noises", tuple(self.noises))
        check_different("noise setting", [str(noise) for noise in self.parsed_noises])
        for name in self.baselines:
            choose("baseline", name, BASELINES)
        chosen = tuple(self.baselines)
        if "hybrid" in chosen and "bm25" not in chosen:
            chosen = ("bm25", *chosen)
        if chosen:
            check_different("baseline", chosen)
        object.__setattr__(self, "baselines", chosen)
        check_metrics(self.metrics)
        object.__setattr__(self, "metrics", tuple(self.metrics))
        for name, least in (("seed", 0), ("max_words", 0), ("k", 1), ("batch_size", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise InputError(f"{name} must be a whole number of at least {least}, got {value!r}.")

    @property
    def parsed_noises(self) -> list[Noise]:
        """The noise settings."""
        return [parse_noise(noise) if isinstance(noise, str) else noise for noise in self.noises]

    def to_dict(self) -> dict[str, str]:
        """The settings as text, for a report."""
        return {
            "noise": " ".join(map(str, self.parsed_noises)),
            "baselines": " ".join(self.baselines),
            **{name: str(getattr(self, name)).lower() for name in ("fit", "denoise", "chunk")},
        }


def check_different(what: str, given: Sequence[str]) -> None:
    """Raise InputError where nothing is given or something twice."""
    if not given or len(set(given)) < len(given):
        raise InputError(f"Give at least one {what}, each once; got {', '.join(given) or 'none'}.")
