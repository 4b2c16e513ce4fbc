"""Noisy documents of your own as a retrieval task of mteb: mean pooling and GLOT, measured by mteb. Offline, seconds.

`LocalRetrieval` takes a folder in BEIR layout or, as here, a collection in memory: docstrings of Python's standard
library with noise between their words. Each docstring's first sentence is its query. A fitted encoder is a model like
any other.

Fifty documents show how it is used, not how much better it is. For that, take a collection of your own, or see
`glot-rag evaluate`.
"""

from __future__ import annotations

import dataclasses
import logging
import warnings

import mteb
from datasets import disable_progress_bars
from mteb_glot import GlotModel, LocalRetrieval, get_model

from glot_rag.evaluation import MemoryCollection, NoiseSpec, corrupt, load_stdlib

SEED = 0
DOCUMENTS = 50
NOISES = ("none", "boilerplate:0.8")
MEASURES = ("ndcg_at_10", "recall_at_1", "recall_at_5")


def noisy(dataset: MemoryCollection, noise: str) -> MemoryCollection:
    """The same queries and judgements over documents with noise in them."""
    texts = corrupt(list(dataset.documents.values()), NoiseSpec.parse(noise), seed=SEED)
    documents = {name: each.text for name, each in zip(dataset.documents, texts, strict=True)}
    return dataclasses.replace(dataset, name=f"stdlib {noise}", documents=documents)


def main() -> None:
    # mteb warns about models that are not in its own registry.
    warnings.simplefilter("ignore")
    logging.getLogger("mteb").setLevel(logging.ERROR)
    disable_progress_bars()
    dataset = load_stdlib(limit=DOCUMENTS, seed=SEED)
    name, text = next(iter(noisy(dataset, NOISES[-1]).documents.items()))
    print(f"{len(dataset.documents)} documents. One of them, four fifths boilerplate ({name}):\n  {text[:300]} …\n")
    print(f"The query for it: {dataset.queries[name]}\n")

    models = {pooling: get_model("minilm", pooling=pooling) for pooling in ("mean", "glot")}
    print(f"{'noise':17}{'model':9}" + "".join(f"{measure:>13}" for measure in MEASURES))
    for noise in NOISES:
        collection = noisy(dataset, noise)
        fitted = models["glot"].model.fit(list(collection.documents.values()))
        for name, model in {**models, "fitted": GlotModel(fitted, "my/fitted")}.items():
            result = mteb.evaluate(
                model, LocalRetrieval(collection), cache=None, show_progress_bar=False, co2_tracker=False
            )
            (scores,) = result.task_results[0].scores["test"]
            print(f"{noise:17}{name:9}" + "".join(f"{scores[measure]:13.3f}" for measure in MEASURES))
    meta = models["glot"].mteb_model_meta
    print(f"\nIn mteb's results the model is {meta.name}, revision {meta.revision}: of these very weights.")


if __name__ == "__main__":
    main()
