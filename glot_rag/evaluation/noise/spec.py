"""What noise a setting asks for: kinds, shares, where it goes and in what pieces; written KIND:RATIO and more.

>>> str(parse_noise("boilerplate:0.8@end"))
'boilerplate:0.8@end'
>>> mixture = parse_noise("words:0.4+boilerplate:0.4@start/lines")
>>> mixture.label, mixture.ratio
('words+boilerplate@start/lines', 0.8)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from glot_rag.errors import InputError
from glot_rag.evaluation.noise.generators import SOURCES

# Damages the document's own words and adds none.
OCR = "ocr"
NOISE_KINDS = ("none", *SOURCES, OCR)
PLACEMENTS = ("random", "start", "end", "interleaved")
GRANULARITIES = ("own", "words", "lines", "paragraphs")


@dataclass(frozen=True)
class NoiseSpec:
    """A kind of noise, its share, its place and the size of its pieces.

    Args:
        kind: one of `NOISE_KINDS`. Added between the document's words: `words` (common words, one by one),
            `boilerplate` (lines of web pages, mails, PDFs), `gibberish` (random letters), `offtopic` (passages of the
            collection's other documents), `log`, `markup` (HTML, CSS and JSON remains), `strings` (hexadecimal,
            base64 and the like), `chat` (what a chat program shows around messages), `headers` (a header and a footer
            again and again, with page numbers), `foreign` (sentences in other languages). Done to the words
            themselves: `ocr` (characters confused, words broken and joined). `none` adds nothing.
        ratio: noise words / all words of the noisy document, in [0, 1); of `ocr`, damaged words / own words. 0 for
            `none`.
        placement: where pieces of noise go: `random` (gaps of their own choice), `start`, `end`, or `interleaved`
            (spread evenly).
        granularity: what stays together: `own` (as the kind has it), `words` (1 to 3 of them), `lines` (5 to 20) or
            `paragraphs` (40 to 120).

    Raises:
        InputError: an unknown name, a ratio out of range, or a placement or granularity for `none` or `ocr`.
    """

    kind: str
    ratio: float = 0.0
    placement: str = "random"
    granularity: str = "own"

    def __post_init__(self) -> None:
        if self.kind not in NOISE_KINDS:
            raise InputError(f"Unknown kind of noise {self.kind!r}. {FORM}")
        if not 0.0 <= self.ratio < 1.0:
            raise InputError(f"The ratio of noise must be in [0, 1), got {self.ratio} for {self.kind!r}. {FORM}")
        if self.kind == "none" and self.ratio != 0.0:
            raise InputError(f"Noise 'none' takes no ratio, got {self.ratio}. {FORM}")
        if self.placement not in PLACEMENTS:
            raise InputError(f"Unknown placement of noise {self.placement!r}. {FORM}")
        if self.granularity not in GRANULARITIES:
            raise InputError(f"Unknown granularity of noise {self.granularity!r}. {FORM}")
        if self.kind in ("none", OCR) and (self.placement, self.granularity) != ("random", "own"):
            raise InputError(f"Noise {self.kind!r} adds no words, so it takes no placement or granularity. {FORM}")

    @classmethod
    def parse(cls, text: str) -> NoiseSpec:
        """`"words:0.8"`, `"words:0.8@end/lines"` or `"none"` -> NoiseSpec; mixtures are read by `parse_noise`.

        Raises:
            InputError: the text has another form.
        """
        kind, colon, rest = text.strip().partition(":")
        if kind == "none" and not colon:
            return cls("none")
        rest, slash, granularity = rest.partition("/")
        ratio, at, placement = rest.partition("@")
        try:
            share = float(ratio)
        except ValueError:
            raise InputError(f"Cannot read the noise setting {text!r}. {FORM}") from None
        return cls(kind, share, placement if at else "random", granularity if slash else "own")

    @property
    def parts(self) -> tuple[NoiseSpec, ...]:
        """Itself: a mixture of one."""
        return (self,)

    @property
    def label(self) -> str:
        """The setting without its ratio, as reports name it: `words`, `boilerplate@end`."""
        return self.kind + self._where

    @property
    def _where(self) -> str:
        place = "" if self.placement == "random" else f"@{self.placement}"
        return place if self.granularity == "own" else f"{place}/{self.granularity}"

    def __str__(self) -> str:
        return self.kind if self.kind == "none" else f"{self.kind}:{self.ratio:g}{self._where}"


@dataclass(frozen=True)
class NoiseMixture:
    """Several noises in the same documents.

    Args:
        parts: two or more. Their ratios are of the noisy document's words, so they add up to less than 1; `ocr`, of
            which there is at most one, damages its share of the own words that are left, and does not count.

    Raises:
        InputError: too few parts, `none` among them, `ocr` twice, or too much noise.
    """

    parts: tuple[NoiseSpec, ...]

    def __post_init__(self) -> None:
        kinds = [part.kind for part in self.parts]
        if len(kinds) < 2 or "none" in kinds or kinds.count(OCR) > 1:
            raise InputError(f"A mixture has two or more parts, none of them 'none', one 'ocr' at most. {FORM}")
        if self.ratio >= 1.0:
            raise InputError(f"The ratios of {str(self)!r} add up to {self.ratio:g}: expected less than 1. {FORM}")

    @property
    def ratio(self) -> float:
        """Added words / all words of the noisy document."""
        # fsum, rounded: 0.1 + 0.2 should be the 0.3 that the same noise at one ratio has.
        return round(math.fsum(part.ratio for part in self.parts if part.kind != OCR), 12)

    @property
    def label(self) -> str:
        """The setting as reports name it: without ratios where all are the same, so that they make one curve."""
        if OCR not in (part.kind for part in self.parts) and len({part.ratio for part in self.parts}) == 1:
            return "+".join(part.label for part in self.parts)
        return str(self)

    def __str__(self) -> str:
        return "+".join(map(str, self.parts))


Noise = NoiseSpec | NoiseMixture


def parse_noise(text: str) -> Noise:
    """One setting as text -> NoiseSpec, or NoiseMixture where there are pluses in it.

    Raises:
        InputError: the text has another form.
    """
    parts = tuple(NoiseSpec.parse(part) for part in text.split("+"))
    return parts[0] if len(parts) == 1 else NoiseMixture(parts)


FORM = (
    f"Write KIND:RATIO, as in 'words:0.8', or 'none'; kinds: {', '.join(NOISE_KINDS[1:])}; 0 <= ratio < 1. "
    f"KIND:RATIO@PLACE says where ({', '.join(PLACEMENTS)}), KIND:RATIO/SIZE in what pieces "
    f"({', '.join(GRANULARITIES)}), and 'words:0.4+log:0.4@end' mixes."
)
