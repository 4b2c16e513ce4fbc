"""A LlamaIndex query as a search of a `GlotIndex`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

from llama_index.core.schema import BaseNode
from llama_index.core.vector_stores.types import VectorStoreQuery, VectorStoreQueryMode, VectorStoreQueryResult
from llama_index.vector_stores.glot.filters import all_of, one_of, to_filter
from llama_index.vector_stores.glot.nodes import NODE_ID, SOURCE_ID, to_node

from glot_rag.errors import InputError
from glot_rag.index import Fusion, GlotIndex, Hit, SearchOptions
from glot_rag.index.filters import Filter
from glot_rag.index.options import Mode
from glot_rag.index.validation import check_count

EVIDENCE = "glot_evidence"
MODES: Mapping[VectorStoreQueryMode, Mode] = {
    VectorStoreQueryMode.DEFAULT: "vector",
    VectorStoreQueryMode.TEXT_SEARCH: "keyword",
    VectorStoreQueryMode.HYBRID: "hybrid",
}
PREFETCH_FACTOR = 4  # MMR chooses k from 4·k nodes


def search(
    get_index: Callable[[], GlotIndex | None], query: VectorStoreQuery, options: Mapping[str, Any]
) -> VectorStoreQueryResult:
    """As `GlotVectorStore.query`; all arguments are checked even where there is no index yet."""
    k, filter = check_count(query.similarity_top_k), _filter_of(query)
    extra: SearchOptions = {}
    options = dict(options)
    evidence = options.pop("evidence", False) is True
    if evidence and not query.query_str:
        raise InputError("evidence=True needs the query's text: the query has none")
    if query.mode == VectorStoreQueryMode.MMR:
        extra = _mmr_options(query, k, options)
    elif query.mode in MODES:
        refuse_unknown(options)
        extra["mode"] = MODES[query.mode]
    else:
        mode = str(getattr(query.mode, "value", query.mode))
        known = ", ".join(repr(each.value) for each in (*MODES, VectorStoreQueryMode.MMR))
        raise InputError(f"the query mode {mode!r} is not supported; known: {known}")
    if query.mode == VectorStoreQueryMode.HYBRID:
        k = check_count(query.hybrid_top_k or k)
        if query.alpha is not None:
            extra["fusion"] = Fusion(weight=query.alpha)
    by_words = query.mode in (VectorStoreQueryMode.TEXT_SEARCH, VectorStoreQueryMode.HYBRID)
    if by_words and not query.query_str:
        raise InputError(f"the query mode {query.mode.value!r} needs query_str, the query's text")
    if query.mode == VectorStoreQueryMode.TEXT_SEARCH:
        index, text = get_index(), query.query_str or ""
        return _result([] if index is None else index.search(text, k, filter, mode="keyword", evidence=evidence))
    by_filter_alone = filter is not None and not query.query_str and query.mode == VectorStoreQueryMode.DEFAULT
    if query.query_embedding is None and not by_filter_alone:
        raise InputError("the query has no embedding; give the index or the retriever an embed_model")
    index = get_index()
    if index is None:
        return _result([])
    if query.query_embedding is None:
        found = list(islice(index.documents(filter), k))
        nodes = [to_node(document.id, document.text, document.metadata) for document in found]
        return VectorStoreQueryResult(nodes=nodes, ids=[document.id for document in found])
    texts = [query.query_str or ""] if by_words or evidence else None
    if evidence:
        extra["evidence"] = True
    return _result(index.search_vectors([query.query_embedding], k, filter, texts=texts, **extra)[0])


def refuse_unknown(arguments: Mapping[str, Any]) -> None:
    """Raise an error that names the arguments, if there are any: a misspelt one must not pass for none.

    Raises:
        InputError: There are.
    """
    if arguments:
        raise InputError(f"unknown arguments: {', '.join(arguments)}")


def _filter_of(query: VectorStoreQuery) -> Filter | None:
    nodes = one_of(NODE_ID, query.node_ids or None)
    return all_of(to_filter(query.filters), one_of(SOURCE_ID, query.doc_ids), nodes)


def _mmr_options(query: VectorStoreQuery, k: int, options: Mapping[str, Any]) -> SearchOptions:
    rest = dict(options)
    threshold = rest.pop("mmr_threshold", query.mmr_threshold)
    prefetch = rest.pop("mmr_prefetch_k", None)
    refuse_unknown(rest)
    threshold = 0.5 if threshold is None else threshold
    if not 0 <= threshold <= 1:
        raise InputError(f"mmr_threshold must be from 0 to 1, got {threshold!r}")
    return {"mmr": threshold, "fetch_k": max(k, PREFETCH_FACTOR * k if prefetch is None else check_count(prefetch))}


def _result(hits: Sequence[Hit]) -> VectorStoreQueryResult:
    return VectorStoreQueryResult(
        nodes=[_node(hit) for hit in hits],
        similarities=[hit.score for hit in hits],
        ids=[hit.id for hit in hits],
    )


def _node(hit: Hit) -> BaseNode:
    """With evidence: the lines that match best, as [start, end, part of the score], among the node's metadata."""
    node = to_node(hit.id, hit.text, hit.metadata)
    if hit.evidence is not None:
        node.metadata[EVIDENCE] = [list(span) for span in hit.evidence.best_spans()]
        node.excluded_embed_metadata_keys = [*node.excluded_embed_metadata_keys, EVIDENCE]
        node.excluded_llm_metadata_keys = [*node.excluded_llm_metadata_keys, EVIDENCE]
    return node
