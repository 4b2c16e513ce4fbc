"""An exported bundle gives the torch encoder's vectors, runs without torch, and says what is wrong with it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from exported import PROMPTS, Exported
from glot_onnx import export_encoder

from glot_rag import Document, GlotEncoder, GlotIndex, OnnxEncoder, TorchEncoder
from glot_rag.embedder import Embedder
from glot_rag.errors import BundleError, InputError
from glot_rag.head import BaselinePooling
from glot_rag.models.backbone import Backbone

TEXT = "A kettle boils water in two minutes. Oil the chain of the bicycle in winter."


def test_the_bundle_gives_the_encoders_vectors(shipped: Exported, prose: list[tuple[str, str]]) -> None:
    encoder, path, _ = shipped
    exported = OnnxEncoder(path)
    texts = [text for _, text in prose[:24]]
    documents, queries = exported.encode_documents(texts), exported.encode_queries(texts)
    for ours, theirs in ((documents, encoder.encode_documents(texts)), (queries, encoder.encode_queries(texts))):
        assert np.abs(ours - theirs).max() < 1e-5
        np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-5)
    # Queries are pooled otherwise and have another prompt: were the outputs mixed up, this would not hold.
    assert np.abs(documents - queries).max() > 1e-3
    assert isinstance(exported, Embedder)
    assert (exported.fingerprint, exported.dimension) == (encoder.fingerprint, encoder.dimension)
    assert exported.encode_documents([]).shape == (0, 384)
    assert np.isfinite(exported.encode_documents(["", "\x00", "\ud800 lone", "word " * 10_000])).all()


def test_the_drop_form_keeps_the_same_tokens(shipped: Exported, noisy: list[str]) -> None:
    """In the graph the dropped tokens stay in their places, unseen; in torch they leave."""
    encoder, path, _ = shipped
    prompted = [PROMPTS["document_prompt"] + text for text in noisy]
    exported = OnnxEncoder(path)
    assert np.abs(exported.encode_documents(noisy) - encoder.encode_documents(noisy)).max() < 1e-5
    session = onnxruntime.InferenceSession(path / "model.onnx")
    for text, whole in zip(noisy, prompted, strict=True):
        evidence = encoder.explain(text)
        (ids,) = encoder.backbone.tokenizer([whole])
        feed = {"input_ids": np.array([ids]), "attention_mask": np.ones((1, len(ids)), np.int64)}
        (weights,) = session.run(["token_weights"], feed)
        expected = np.array([token.weight for token in evidence.tokens])
        dropped = expected < 1 / len(expected)  # each kept token counts for more, as the weights sum to 1
        assert 0 < dropped.sum() < len(expected)
        np.testing.assert_allclose(weights[0], expected, atol=1e-6)


@pytest.mark.parametrize("name", ["small", "decoder"])
def test_evidence_is_the_torch_encoders(name: str, request: pytest.FixtureRequest) -> None:
    """One head with graph layers in the vector, one that drops tokens; the graph of tokens is not given."""
    encoder, path, _ = request.getfixturevalue(name)
    exported = OnnxEncoder(path)
    query = "how fast does water boil?"
    found, expected = exported.explain(TEXT, query), encoder.explain(TEXT, query)
    for ours, theirs in zip(found.tokens, expected.tokens, strict=True):
        assert (ours.token, ours.span) == (theirs.token, theirs.span)
        assert (ours.weight, ours.noise) == pytest.approx((theirs.weight, theirs.noise), abs=1e-5)
        assert ours.contribution == pytest.approx(theirs.contribution, abs=1e-5)
    score = float(exported.encode_documents([TEXT])[0] @ exported.encode_queries([query])[0])
    assert sum(each.contribution or 0.0 for each in found.tokens) == pytest.approx(score, abs=1e-5)
    assert found.graph is None


def test_a_decoder_in_the_drop_form(decoder: Exported) -> None:
    """Each token of a decoder sees those before it; of these, in the layers above, only those that were kept."""
    exported = OnnxEncoder(decoder.path)
    texts = [TEXT, "tea", ""]
    assert np.abs(exported.encode_documents(texts) - decoder.encoder.encode_documents(texts)).max() < 1e-5
    assert np.abs(exported.encode_documents([TEXT]) - exported.encode_queries([TEXT])).max() > 1e-2
    assert any(token.weight == 0 for token in decoder.encoder.explain(TEXT).tokens)


def test_a_decoder_with_a_fixed_pooling(tiny: Callable[[str], Backbone], tmp_path: Path) -> None:
    path = tmp_path / "bundle"
    path.mkdir()
    encoder = TorchEncoder(tiny("llama"), BaselinePooling("last", 32))
    report = export_encoder(encoder, path, texts=5)  # into an empty directory
    assert report.max_difference < 1e-5
    exported = OnnxEncoder(path)
    texts = ["a note on wings", "tea"]
    assert np.array_equal(exported.encode_queries(texts), exported.encode_documents(texts))  # one output for both
    exported.save(tmp_path / "copy")
    assert np.array_equal(OnnxEncoder(tmp_path / "copy").encode_documents(texts), exported.encode_documents(texts))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="not an exported encoder"):
        exported.save(tmp_path / "mine")


@pytest.mark.parametrize("backend", [None, "onnx"])
def test_it_loads_by_its_path(small: Exported, backend: str | None) -> None:
    encoder, path, _ = small
    loaded = GlotEncoder.from_pretrained(path, backend=backend)
    assert isinstance(loaded, OnnxEncoder)
    assert (loaded.fingerprint, loaded.embeds_alike) == (encoder.fingerprint, False)
    texts = ["a note on wings", "tea"]
    assert np.abs(loaded.encode_documents(texts) - encoder.encode_documents(texts)).max() < 1e-5
    with pytest.raises(InputError, match="settings built in; got query_prompt: leave them out"):
        GlotEncoder.from_pretrained(path, backend=backend, query_prompt="query: ")
    with pytest.raises(InputError, match="is an exported encoder, which ONNX Runtime runs"):
        GlotEncoder.from_pretrained(path, backend="torch")


@pytest.mark.parametrize("wrong", ["one string", ["a", 3]])
def test_what_is_no_list_of_strings_is_refused(small: Exported, wrong: list[str]) -> None:
    with pytest.raises(InputError, match="expected"):
        OnnxEncoder(small.path).encode_documents(wrong)


def test_the_graph_is_plain_onnx(shipped: Exported) -> None:
    encoder, path, _ = shipped
    model = onnx.load(path / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} == {""}
    shapes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert list(shapes)[:3] == ["input_ids", "attention_mask", "sentence_embedding"]
    assert shapes["input_ids"] == shapes["token_weights"] == ["batch", "seq"]
    assert shapes["sentence_embedding"] == ["batch", 384]
    metadata = {prop.key: prop.value for prop in model.metadata_props}
    assert metadata["fingerprint"] == encoder.fingerprint
    assert metadata["document_prompt"] == "passage: "


def test_an_index_serves_both(shipped: Exported, tmp_path: Path) -> None:
    encoder, path, _ = shipped
    texts = {"kettle": "The kettle boils water in two minutes.", "bicycle": "Oil the chain of the bicycle in winter."}
    with GlotIndex.create(tmp_path / "index", encoder=encoder) as index:
        index.add([Document(id=id, text=text) for id, text in texts.items()])
    with GlotIndex.open(tmp_path / "index", encoder=OnnxEncoder(path), read_only=True) as index:
        assert [hit.id for hit in index.search("how fast is tea water hot", k=1)] == ["kettle"]


def test_without_torch_it_embeds_indexes_and_searches(shipped: Exported, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("The kettle boils water in two minutes.")
    code = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'torch_geometric', 'onnx'): sys.modules[name] = None\n"
        "from glot_rag.cli.app import main\n"
        "from glot_rag import OnnxEncoder\n"
        f"print(OnnxEncoder({str(shipped.path)!r}).encode_queries(['tea']).shape)\n"
        f"sys.argv = ['glot-rag', 'index', {str(tmp_path / 'note.txt')!r}, '--out', {str(tmp_path / 'index')!r}, "
        f"'--backbone', {str(shipped.path)!r}]\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        f"sys.argv = ['glot-rag', 'search', {str(tmp_path / 'index')!r}, 'hot water', '--json']\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "(1, 384)" in done.stdout
    assert json.loads(done.stdout[done.stdout.index("[\n") :])[0]["id"].endswith("/note.txt#0")


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "onnx.json"])
def test_a_damaged_or_incomplete_bundle_is_refused(small: Exported, tmp_path: Path, name: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(small.path, copy)
    data = (copy / name).read_bytes()
    (copy / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(BundleError):
        OnnxEncoder(copy)
    (copy / name).unlink()
    with pytest.raises(BundleError):
        OnnxEncoder(copy)


def test_what_cannot_be_exported_is_refused_before_anything_is_written(small: Exported, tmp_path: Path) -> None:
    encoder = small.encoder
    half = Backbone.load(encoder.backbone.source.name, dtype="bfloat16", device="cpu")
    with pytest.raises(InputError, match="float32 on the CPU"):
        export_encoder(TorchEncoder(half, BaselinePooling("mean", 32)), tmp_path / "out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="not an exported encoder"):
        export_encoder(encoder, tmp_path / "mine")
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "thesis.txt"]
