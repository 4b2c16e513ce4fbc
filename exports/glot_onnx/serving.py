r"""What other servers read from a bundle, beside the graph and the tokeniser.

The graph's first output is the finished vector, so a server must not pool it again. Neither server puts prompts before
texts by itself, and both give documents' vectors: where queries are pooled otherwise, as with the shipped heads, take
the output `query_embedding`, or the stock model's vectors, for queries.

**FastEmbed** takes the bundle as a custom model with its pooling disabled:

    from fastembed import TextEmbedding
    from fastembed.common.model_description import ModelSource, PoolingType

    TextEmbedding.add_custom_model(
        model="my/glot", pooling=PoolingType.DISABLED, normalization=False,
        sources=ModelSource(hf="my/glot"), dim=384, model_file="model.onnx",
    )
    model = TextEmbedding("my/glot", specific_model_path="my-bundle")
    vectors = list(model.embed(texts))

`add_custom_model(..., output_name="query_embedding")` under a second name gives the queries' vectors.

**text-embeddings-inference**, in its image for CPUs with ONNX Runtime, takes `sentence_embedding` as it is; `--pooling`
must be given, since the image asks for one, but has no effect:

    docker run -p 8080:80 -v $PWD/my-bundle:/model ghcr.io/huggingface/text-embeddings-inference:cpu-1.8 \
        --model-id /model --pooling mean --auto-truncate
    curl 127.0.0.1:8080/embed -H 'Content-Type: application/json' -d '{"inputs": "a document"}'

An encoder that is fitted to a corpus has neither: its graph also takes `corpus_features`, which these servers
do not compute. Serve `OnnxEncoder`, or export the encoder from before `fit()`.

(From its source, `backends/ort/src/lib.rs`: it reads `model.onnx`, `config.json`, `tokenizer.json` and
`tokenizer_config.json` of a local directory. Not run here.)
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from glot_onnx.graphs import fitted_of
from glot_rag.encoder.torch_encoder import TorchEncoder
from glot_rag.errors import InputError


def write_server_files(encoder: TorchEncoder, made: Path) -> None:
    """Write `config.json`, `tokenizer_config.json` and the three small files beside them into a bundle.

    Raises:
        InputError: the encoder is fitted to a corpus, of whose statistics these servers feed nothing to the graph.
    """
    if fitted_of(encoder.pooling) is not None:
        raise InputError(
            "FastEmbed and text-embeddings-inference feed a graph ids and mask only, not the corpus features "
            "of a fitted encoder: serve glot_rag.OnnxEncoder, or export the encoder from before fit()"
        )
    backbone = encoder.backbone
    tokenizer = backbone.tokenizer
    pad = tokenizer.core.id_to_token(tokenizer.pad_id)
    # A token that is no special one must not become one: it would be cut out of texts. Any id can stand for padding.
    special = {"pad_token": pad} if tokenizer.pad_id in tokenizer.special_ids else {}
    config = json.loads(backbone.model.config.to_json_string(use_diff=False))
    files: dict[str, dict[str, Any]] = {
        "config.json": {**config, "pad_token_id": tokenizer.pad_id},
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": encoder.max_tokens,
            "pad_token": pad,
            "padding_side": "right",
            "truncation_side": "right",
        },
        "special_tokens_map.json": special,
        "sentence_bert_config.json": {"max_seq_length": encoder.max_tokens, "do_lower_case": False},
        "config_sentence_transformers.json": {
            "prompts": {"query": encoder.query_prompt, "document": encoder.document_prompt},
            "default_prompt_name": None,
            "similarity_fn_name": "cosine",
        },
    }
    for name, content in files.items():
        (made / name).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
