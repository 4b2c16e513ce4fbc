"""A folder in BEIR layout as a retrieval task of mteb: nothing is downloaded."""

from __future__ import annotations

import os
import re
from typing import Any

from datasets import Dataset
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData
from mteb.abstasks.task_metadata import TaskMetadata

from glot_rag.evaluation.collections.beir import load_beir
from glot_rag.evaluation.collections.collection import MemoryCollection
from glot_rag.evaluation.collections.judgements import QueryHalf


class LocalRetrieval(AbsTaskRetrieval):
    """Documents, queries and judgements of your own, measured by mteb.

    nDCG@10 is the one of `glot-rag evaluate --dataset FOLDER --noise none`, which reads the same texts.

    Args:
        dataset: a folder with `corpus.jsonl`, `queries.jsonl` and `qrels/test.tsv`, or a dataset that is in memory
            (one that `glot_rag.evaluation.corrupt` has put noise into, say).
        queries: "all", "even" or "odd", for a folder.
        seed: as mteb's tasks take it.

    Raises:
        DatasetError: the folder cannot be read, or there is nothing to evaluate.

    Example:
        >>> import mteb
        >>> from mteb_glot import get_model
        >>> mteb.evaluate(get_model("minilm"), LocalRetrieval("my-collection"), cache=None)  # doctest: +SKIP
    """

    # Overwritten by each object; mteb looks at the class, too.
    metadata = TaskMetadata(
        name="LocalRetrieval",
        type="Retrieval",
        category="t2t",
        description="A retrieval collection on this machine.",
        dataset={"path": "local", "revision": "local"},
        main_score="ndcg_at_10",
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
        modalities=["text"],
    )

    def __init__(
        self, dataset: str | os.PathLike[str] | MemoryCollection, *, queries: QueryHalf = "all", seed: int = 42
    ) -> None:
        loaded = dataset if isinstance(dataset, MemoryCollection) else load_beir(os.fspath(dataset), queries)
        name = re.sub(r"\W+", "-", loaded.name).strip("-") or "collection"
        self.metadata = type(self).metadata.model_copy(update={"name": f"Local-{name}"})
        super().__init__(seed=seed)
        self._loaded = loaded

    def load_data(self, num_proc: int | None = None, **kwargs: Any) -> None:
        """Hand the texts to mteb."""
        if self.data_loaded:
            return
        loaded = self._loaded
        self.dataset = {
            "default": {
                "test": RetrievalSplitData(
                    corpus=_rows(loaded.documents),
                    queries=_rows(loaded.queries),
                    relevant_docs=loaded.qrels,
                    top_ranked=None,
                )
            }
        }
        self.data_loaded = True


def _rows(texts: dict[str, str]) -> Dataset:
    return Dataset.from_dict({"id": list(texts), "text": list(texts.values())})
