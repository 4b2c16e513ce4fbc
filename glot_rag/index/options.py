"""What a search may be asked, checked, and what it gives."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypedDict, get_args

from numpy.typing import ArrayLike

from glot_rag.checks import choose
from glot_rag.errors import InputError
from glot_rag.index.filters import Filter, compile_filter
from glot_rag.index.fusion import Fusion
from glot_rag.index.index_types import has_graph, has_lists
from glot_rag.index.validation import check_count, check_number

if TYPE_CHECKING:
    from glot_rag.encoder.evidence import Evidence

Mode = Literal["vector", "keyword", "hybrid"]
MODES: tuple[str, ...] = get_args(Mode)
Rerank = Callable[[str, list[str]], ArrayLike]
FETCH_FACTOR = 4  # diverse or reranked hits are chosen from so many times k
_JSON = json.JSONDecoder()  # stored JSON has no space around it: `raw_decode` skips the search for some


class Hit:
    """One document that a search found. Two are equal if id, score, text and metadata are.

    Args:
        id: The document's id.
        score: By vectors the inner product of the unit vectors of query and document (their cosine), in [-1, 1] up to
            rounding; by keywords BM25, more than 0; of both see `Fusion`; after `rerank`, what that gave.
        text: The document's text.
        metadata: The document's metadata, as a dict or as its JSON.

    Attributes:
        evidence: Why it was found, see `GlotEncoder.explain`; None unless the search was asked for it.
    """

    __slots__ = ("_metadata", "evidence", "id", "score", "text")

    def __init__(self, id: str, score: float, text: str, metadata: Mapping[str, Any] | str) -> None:
        # One by one: a batch makes ten thousand, and a tuple on the way takes a third more time.
        self.id = id
        self.score = score
        self.text = text
        self._metadata = metadata
        self.evidence: Evidence | None = None

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The document's metadata. They are read from JSON when they are first asked for."""
        if isinstance(self._metadata, str):
            self._metadata = _JSON.raw_decode(self._metadata)[0]
        return self._metadata  # type: ignore[return-value]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Hit):
            return NotImplemented
        mine, theirs = (self.id, self.score, self.text), (other.id, other.score, other.text)
        return mine == theirs and self.metadata == other.metadata

    def __hash__(self) -> int:
        return hash((self.id, self.score, self.text))

    def __repr__(self) -> str:
        return f"Hit(id={self.id!r}, score={self.score!r}, text={self.text!r}, metadata={self.metadata!r})"


class SearchOptions(TypedDict, total=False):
    """What the searches of a `GlotIndex` take besides the query, `k` and `filter`. Counts may be NumPy integers.

    Attributes:
        mode: "vector" (the default): nearest by meaning. "keyword": BM25 over the words, which needs no encoder and
            finds only documents that have one of them. "hybrid": both, made into one ranking.
        fusion: How "hybrid" makes one ranking of two, see `Fusion`.
        offset: Leave out so many of the best: page 3 of 10 is `k=10, offset=20`. Pages are parts of one list where the
            search is exact and nothing is added meanwhile; in an index that is a graph or lists, and beyond the depth
            of a fusion, a document near an edge may change sides.
        min_score: Only hits with at least this score, so there may be fewer than `k`.
        mmr: Choose hits that are near to the query and unlike each other (maximal marginal relevance): from 0, as
            unlike as can be, to 1, by nearness alone. Hits come in the order in which they were chosen. Other scores
            than cosines are divided by the best one for it.
        rerank: A function that takes the query and N texts and gives N scores, such as a cross-encoder's; the hits are
            the best by these. `min_score` is of the search, before.
        fetch_k: With `mmr` or `rerank`, the number of best documents to choose from; 4·k if not given.
        evidence: Say of each hit which of its lines match and what was dropped from it: the encoder reads the hits
            once more. Needs an encoder with the capability "explain".
        nprobe: Lists to look into, of an index with lists: more is slower and more precise. Not given: one in 32, at
            least 128. Where few documents match the filter, more lists are looked into.
        ef_search: Candidates to keep, of an index that is a graph: more is slower and more precise. Not given: 128.
    """

    mode: Mode
    fusion: Fusion
    offset: int
    min_score: float | None
    mmr: float | None
    rerank: Rerank | None
    fetch_k: int | None
    evidence: bool
    nprobe: int | None
    ef_search: int | None


@dataclass(frozen=True)
class Search:
    """A checked search: `k`, `filter` and the `SearchOptions`.

    Raises:
        InputError: An argument that cannot be used.
    """

    k: int
    filter: Filter | None = None
    mode: Mode = "vector"
    fusion: Fusion | None = None
    offset: int = 0
    min_score: float | None = None
    mmr: float | None = None
    rerank: Rerank | None = None
    fetch_k: int | None = None
    evidence: bool = False
    nprobe: int | None = None
    ef_search: int | None = None

    def __post_init__(self) -> None:
        choose("mode", self.mode, MODES)
        if self.fusion is not None and not isinstance(self.fusion, Fusion):
            raise InputError(f"fusion must be a Fusion, such as Fusion(weight=0.3), got {self.fusion!r:.100}")
        if self.fusion is not None and self.mode != "hybrid":
            raise InputError(f"fusion goes with mode='hybrid', got mode={self.mode!r}")
        for name in ("k", "fetch_k", "nprobe", "ef_search", "offset"):
            if (count := getattr(self, name)) is not None or name in ("k", "offset"):
                object.__setattr__(self, name, check_count(count, name, least=0 if name == "offset" else 1))
        for name in ("min_score", "mmr"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, check_number(value, name))
        if self.mmr is not None and not 0 <= self.mmr <= 1:
            raise InputError(f"mmr must be from 0 to 1, got {self.mmr!r}")
        if self.rerank is not None and not callable(self.rerank):
            raise InputError(f"rerank must be a function of a query and a list of texts, got {self.rerank!r:.100}")
        if self.mmr is not None and self.rerank is not None:
            raise InputError("mmr does not go with rerank: both choose the order; leave one out")
        if not self.chooses and self.fetch_k is not None:
            raise InputError("fetch_k goes with mmr or rerank; for more hits give a larger k")
        if self.chooses and self.offset:
            raise InputError("offset does not go with mmr or rerank, which choose k hits together; give a larger k")
        if self.filter is not None:
            compile_filter(self.filter)

    @property
    def chooses(self) -> bool:
        """Whether hits are chosen among more documents than are asked for."""
        return self.mmr is not None or self.rerank is not None

    @property
    def wanted(self) -> int:
        """How many of the best documents are looked for."""
        if self.chooses:
            return max(self.k, FETCH_FACTOR * self.k if self.fetch_k is None else self.fetch_k)
        return self.offset + self.k

    def check_for(self, index_type: str) -> None:
        """Refuse a setting that means nothing to an index of that type, or to this mode.

        Raises:
            InputError: There is one.
        """
        checks: Sequence[tuple[str, Callable[[str], bool], str]] = (
            ("nprobe", has_lists, "'ivf' and 'ivfpq'"),
            ("ef_search", has_graph, "'hnsw'"),
        )
        for name, takes, types in checks:
            if getattr(self, name) is None:
                continue
            if self.mode == "keyword":
                raise InputError(f"{name} is for searches by vectors, this one is by keywords; leave it out")
            if not takes(index_type):
                raise InputError(f"{name} is for the index types {types}, this index is {index_type!r}; leave it out")
