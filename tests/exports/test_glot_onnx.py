"""ONNX export: the graph gives the torch encoder's vectors, and the bundle runs without torch."""

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
import torch
from glot_onnx import ParityError, ParityReport, check_bundle, export_encoder, export_head
from glot_onnx.parity import sample_texts

from glot_rag import Document, GlotEncoder, GlotIndex, OnnxEncoder
from glot_rag.backbone import Backbone
from glot_rag.cli import main
from glot_rag.config import CONVOLUTIONS
from glot_rag.embedder import Embedder
from glot_rag.errors import BundleError, InputError
from glot_rag.head import AdaPool, BaselinePooling, GlotHead

MakeHead = Callable[..., GlotHead | AdaPool]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, minilm: Backbone) -> tuple[GlotEncoder, Path]:
    """The shipped encoder, with prompts, exported."""
    encoder = GlotEncoder.from_pretrained(
        "minilm", dtype="float32", device="cpu", query_prompt="query: ", document_prompt="passage: "
    )
    path = tmp_path_factory.mktemp("exported") / "bundle"
    report = export_encoder(encoder, path)
    assert report.texts > 50
    return encoder, path


def test_the_bundle_gives_the_encoders_vectors(bundle: tuple[GlotEncoder, Path], prose: list[tuple[str, str]]) -> None:
    encoder, path = bundle
    exported = OnnxEncoder(path)
    texts = [text for _, text in prose[:60]]
    for ours, theirs in (
        (exported.encode_documents(texts), encoder.encode_documents(texts)),
        (exported.encode_queries(texts), encoder.encode_queries(texts)),
    ):
        assert np.abs(ours - theirs).max() < 1e-5
        np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-5)
    # Queries are pooled otherwise and have another prompt: were the outputs mixed up, this would not hold.
    assert np.abs(exported.encode_documents(texts) - exported.encode_queries(texts)).max() > 1e-3
    assert isinstance(exported, Embedder)
    assert (exported.fingerprint, exported.dimension) == (encoder.fingerprint, encoder.dimension)
    assert exported.encode_documents([]).shape == (0, 384)
    assert np.isfinite(exported.encode_documents(["", "\x00", "\ud800 lone", "word " * 100_000])).all()


@pytest.mark.parametrize("wrong", ["one string", ["a", 3]])
def test_what_is_no_list_of_strings_is_refused(bundle: tuple[GlotEncoder, Path], wrong: list[str]) -> None:
    with pytest.raises(InputError, match="expected"):
        OnnxEncoder(bundle[1]).encode_documents(wrong)


def test_the_graph_is_plain_onnx(bundle: tuple[GlotEncoder, Path]) -> None:
    encoder, path = bundle
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


def test_an_index_serves_both(bundle: tuple[GlotEncoder, Path], tmp_path: Path) -> None:
    encoder, path = bundle
    texts = {"kettle": "The kettle boils water in two minutes.", "bicycle": "Oil the chain of the bicycle in winter."}
    with GlotIndex.create(tmp_path / "index", encoder=encoder) as index:
        index.add([Document(id=id, text=text) for id, text in texts.items()])
    with GlotIndex.open(tmp_path / "index", encoder=OnnxEncoder(path), read_only=True) as index:
        assert [hit.id for hit in index.search("how fast is tea water hot", k=1)] == ["kettle"]


def test_without_torch_it_embeds_indexes_and_searches(bundle: tuple[GlotEncoder, Path], tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("The kettle boils water in two minutes.")
    code = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'torch_geometric', 'onnx'): sys.modules[name] = None\n"
        "from glot_rag.cli import main\n"
        "from glot_rag import OnnxEncoder\n"
        f"print(OnnxEncoder({str(bundle[1])!r}).encode_queries(['tea']).shape)\n"
        f"sys.argv = ['glot-rag', 'index', {str(tmp_path / 'note.txt')!r}, '--out', {str(tmp_path / 'index')!r}, "
        f"'--onnx', {str(bundle[1])!r}]\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        f"sys.argv = ['glot-rag', 'search', {str(tmp_path / 'index')!r}, 'hot water', '--json']\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "(1, 384)" in done.stdout
    assert json.loads(done.stdout[done.stdout.index("[\n") :])[0]["id"] == "note.txt"


def test_check_repeats_the_certificate(
    bundle: tuple[GlotEncoder, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = check_bundle(bundle[1])
    assert report.max_difference < 1e-5
    assert report.min_cosine > 0.99999
    assert report.top10_overlap > 0.99
    monkeypatch.setattr(sys, "argv", ["glot-rag", "export", "--check", str(bundle[1])])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert "top-10 overlap" in capsys.readouterr().out


def test_a_graph_of_another_head_is_refused(bundle: tuple[GlotEncoder, Path], tmp_path: Path) -> None:
    """The check must be able to fail: put another encoder's graph, with a checksum that fits, into the bundle."""
    encoder, path = bundle
    forged = tmp_path / "forged"
    shutil.copytree(path, forged)
    other = GlotEncoder(
        encoder.backbone,
        BaselinePooling("max", 384),
        query_pooling=BaselinePooling("mean", 384),
        query_prompt="query: ",
        document_prompt="passage: ",
    )
    export_encoder(other, tmp_path / "other")
    shutil.copy(tmp_path / "other" / "model.onnx", forged / "model.onnx")
    record = json.loads((forged / "onnx.json").read_text())
    record["sha256"] = json.loads((tmp_path / "other" / "onnx.json").read_text())["sha256"]
    (forged / "onnx.json").write_text(json.dumps(record))
    with pytest.raises(ParityError, match="the exported graph differs"):
        check_bundle(forged)


@pytest.mark.parametrize("change", [{"max_difference": 2e-4}, {"min_cosine": 0.9999}, {"batch_difference": 1e-3}])
def test_each_figure_out_of_tolerance_is_refused(change: dict[str, float]) -> None:
    good = {"texts": 1, "max_difference": 0.0, "min_cosine": 1.0, "top10_overlap": 1.0, "batch_difference": 0.0}
    ParityReport(**good).check()
    with pytest.raises(ParityError):
        ParityReport(**(good | change)).check()
    with pytest.raises(ParityError):
        ParityReport(**(good | {"max_difference": float("nan")})).check()


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "onnx.json"])
def test_a_damaged_or_incomplete_bundle_is_refused(bundle: tuple[GlotEncoder, Path], tmp_path: Path, name: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(bundle[1], copy)
    data = (copy / name).read_bytes()
    (copy / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(BundleError):
        OnnxEncoder(copy)
    (copy / name).unlink()
    with pytest.raises(BundleError):
        OnnxEncoder(copy)


def test_what_cannot_be_exported_is_refused_before_anything_is_written(
    minilm: Backbone, make_head: MakeHead, tmp_path: Path
) -> None:
    drop = make_head(form="drop", layers=(2,), readout="sigmoid")
    with pytest.raises(InputError, match="prunes or drops"):
        export_encoder(GlotEncoder(minilm, drop, query_pooling=BaselinePooling("mean", 384)), tmp_path / "out")
    half = GlotEncoder.from_pretrained("minilm", pooling="mean", dtype="bfloat16", device="cpu")
    with pytest.raises(InputError, match="float32 on the CPU"):
        export_encoder(half, tmp_path / "out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="not an exported encoder"):
        export_encoder(GlotEncoder(minilm, BaselinePooling("mean", 384)), tmp_path / "mine")
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "thesis.txt"]


HEADS = [
    *({"convolution": convolution} for convolution in CONVOLUTIONS),
    *({"jumping": jumping} for jumping in ("max", "mean")),
    *({"form": "paper", "output_size": size} for size in (None, 64)),
    {"pooling": "adapool"},
    {"form": "drop", "layers": (2,), "readout": "sigmoid", "convolution": "transformer", "norm": "layer"},
]


@pytest.mark.parametrize("settings", HEADS, ids=lambda settings: "-".join(map(str, settings.values())))
def test_every_head_alone(make_head: MakeHead, tmp_path: Path, settings: dict[str, object]) -> None:
    head = make_head(**{"state_size": 48, "hidden_size": 16, "layers": (2, -1), **settings})
    session = onnxruntime.InferenceSession(export_head(head, tmp_path / "head.onnx"))
    generator = torch.Generator().manual_seed(0)
    for batch, length in ((1, 1), (3, 9), (2, 70), (5, 33)):
        states = torch.randn(batch, length, head.config.input_size, generator=generator)
        mask = torch.ones(batch, length, dtype=torch.int64)
        mask[0, length // 2 + 1 :] = 0
        mask[-1, : length // 3] = 0  # padding on the left
        with torch.no_grad():
            pooled = head(states, mask.bool())
        vector, weights, noise = session.run(None, {"hidden_states": states.numpy(), "attention_mask": mask.numpy()})
        assert pooled.logits is not None
        expected = torch.nn.functional.normalize(pooled.vector, dim=-1).numpy()
        assert np.abs(vector - expected).max() < 1e-5
        assert np.abs(weights - pooled.weights.numpy()).max() < 1e-5
        assert np.abs(noise - (torch.sigmoid(-pooled.logits) * mask).numpy()).max() < 1e-5


@pytest.mark.parametrize("name", ["max", "last"])
def test_the_fixed_poolings(minilm: Backbone, tmp_path: Path, name: str) -> None:
    path = tmp_path / "bundle"
    path.mkdir()
    encoder = GlotEncoder(minilm, BaselinePooling(name, 384))
    report = export_encoder(encoder, path)  # into an empty directory
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


def test_the_sample_has_every_length(minilm: Backbone) -> None:
    lengths = {len(ids) for ids in minilm.tokenizer(sample_texts())}
    assert min(lengths) == 2
    assert max(lengths) == minilm.max_tokens
    assert sample_texts() == sample_texts()
