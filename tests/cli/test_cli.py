"""The command line, run in this process; what a user's mistake looks like."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from glot_rag import Denoiser, GlotEncoder, GlotIndex, TorchEncoder
from glot_rag.denoise.storage import load_fitted_head
from glot_rag.denoise.torch_denoiser import TorchDenoiser
from glot_rag.head.block_storage import load_block_head
from glot_rag.head.registry import block_head_fingerprint
from glot_rag.index.kept_denoiser import kept_denoiser
from glot_rag.models.backbone import Backbone
from glot_rag.training.config import default_head

KETTLE = "The kettle boils a litre of water in two minutes and switches itself off when it is done."
BICYCLE = "Pump the tyres of the bicycle once a week and oil its chain before every winter ride in the rain."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pages = tmp_path / "pages"
    pages.mkdir()
    (pages / "kettle.html").write_text(f"<html><body><nav>Home &gt; Shop</nav><p>{KETTLE}</p></body></html>")
    (pages / "bicycle.md").write_text(f"# Care\n\n{BICYCLE}\n")
    return pages


def test_index_then_search(
    command: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    folder: Path,
    tmp_path: Path,
) -> None:
    out = tmp_path / "index"
    (folder / "program.exe").write_bytes(b"\x7f\0")
    assert command("index", folder / "program.exe", "--out", out) == 2
    shown = capsys.readouterr().err
    assert "1 files of kinds that are not read: 1 .exe" in shown
    assert "program.exe: nothing to index" in " ".join(shown.split())
    assert command("index", folder, "--out", out) == 0
    assert "2 chunks from 2 files; 2 in" in capsys.readouterr().out
    assert command("index", tmp_path, "--out", out) == 0  # what the index consists of is not read
    assert "0 chunks from 0 files; 2 files unchanged; 2 in" in capsys.readouterr().out
    assert command("search", out, "how fast does it heat water", "-k", "2", "--json") == 0
    hits = json.loads(capsys.readouterr().out)
    assert [Path(hit["id"]).name for hit in hits] == ["kettle.html#0", "bicycle.md#0"]
    assert hits[0]["score"] > hits[1]["score"]
    assert command("search", out, "bicycle maintenance", "-k", "1") == 0
    shown = capsys.readouterr().out
    assert "bicycle.md" in shown
    assert "oil its chain" in shown
    for mode in ("vector", "hybrid"):
        assert command("search", out, "bicycle", "-k", "1", "--mode", mode) == 0
        assert "bicycle.md" in capsys.readouterr().out
    with monkeypatch.context() as patch:  # by words alone no model is loaded
        patch.setattr("glot_rag.encoder.base.GlotEncoder.from_pretrained", None)
        assert command("search", out, "oiled chains", "--mode", "keyword") == 0
        assert "oil its chain" in capsys.readouterr().out
        assert command("search", out, "zebra", "--mode", "keyword") == 0
        assert "no document has one of these words" in capsys.readouterr().out
    assert command("search", out, "bicycle", "--mode", "both") == 2
    assert "--mode must be one of vector, keyword, hybrid; got 'both'" in capsys.readouterr().err
    assert command("search", out, " ") == 2
    assert "the query is empty" in capsys.readouterr().err
    # Again: nothing is doubled, a new file is added, and the index's own encoder is used.
    (folder / "tea.txt").write_text("Green tea should not be brewed with boiling water.")
    assert command("index", folder, "--out", out) == 0
    with GlotIndex.open(out, encoder=GlotEncoder.from_pretrained(out / "encoder")) as index:
        names = sorted(Path(document.id).name for document in index)
    assert names == ["bicycle.md#0", "kettle.html#0", "tea.txt#0"]
    assert "1 chunks from 1 files; 2 files unchanged; 3 in" in capsys.readouterr().out
    # Another encoder than that of the index is refused, not ignored.
    assert command("index", folder, "--out", out, "--pooling", "glot") == 2
    assert "was made with --pooling mean, not glot; leave the option out" in capsys.readouterr().err
    (folder / "tea.txt").unlink()
    assert command("index", folder, "--out", out, "--pooling", "mean", "--sync") == 0
    assert "0 chunks from 0 files; 2 files unchanged; 1 chunks removed; 2 in" in capsys.readouterr().out


def test_a_file_that_cannot_be_read_is_set_aside_or_with_strict_an_error(
    command: Callable[..., int], capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path
) -> None:
    (folder / "menu.txt").write_bytes(b"caf\xe9 cr\xe8me and more")
    assert command("index", folder, "--out", tmp_path / "strict", "--strict") == 2
    assert "menu.txt: not UTF-8" in capsys.readouterr().err
    out = tmp_path / "index"
    assert command("index", folder, "--out", out) == 0
    shown = capsys.readouterr()
    assert "1 set aside" in shown.err
    assert "2 in" in shown.out
    (folder / "menu.txt").unlink()
    assert command("index", folder, "--out", out, "--strict") == 0
    assert "0 chunks from 0 files; 2 files unchanged" in capsys.readouterr().out  # being strict alters no text


def test_an_index_drops_noise_and_keeps_its_denoiser(
    command: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    prose: list[tuple[str, str]],
) -> None:
    pages = tmp_path / "pages.jsonl"
    bar = "Home\nProducts\nPricing\nLog in\nWe use cookies to improve your experience\nAccept all cookies"
    records = [{"id": name, "text": f"{bar}\n{text[:300]}"} for name, text in prose[:60]]
    pages.write_text("".join(json.dumps(record) + "\n" for record in records))
    out, plain = tmp_path / "index", tmp_path / "plain"
    (tmp_path / "nothing").mkdir()
    assert command("index", tmp_path / "nothing", "--out", out) == 2  # which keeps no denoiser that is not fitted
    assert command("index", pages, "--out", out) == 0
    assert re.search(
        r"noise: [\d,]+ of [\d,]+ words \(\d+%\) and \d+ of \d+ blocks were dropped", capsys.readouterr().err
    )
    assert command("index", pages, "--out", plain, "--no-denoise", "--pooling", "mean") == 0
    shown = capsys.readouterr()
    assert "noise:" not in shown.err
    assert not (plain / "denoiser").exists()
    with GlotIndex.open(out) as index, GlotIndex.open(plain) as whole:
        assert sum("Accept all cookies" in document.text for document in whole) == 60
        assert sum("Accept all cookies" in document.text for document in index) == 0
        assert all(document.metadata["kept"] < 1 for document in index)
        assert index.stats().fingerprint == whole.stats().fingerprint  # the encoder reads clean chunks as they are
    # A later run cleans with the same denoiser, and leaves what did not change as it is.
    assert kept_denoiser(out).fitted  # type: ignore[union-attr]
    (tmp_path / "more.txt").write_text(f"{bar}\n{KETTLE}")
    assert command("index", tmp_path / "more.txt", pages, "--out", out) == 0
    assert "1 chunks from 1 files; 1 files unchanged; 61 in" in capsys.readouterr().out
    assert command("search", out, "how fast does it heat water", "-k", "1", "--json") == 0
    (hit,) = json.loads(capsys.readouterr().out)
    assert (hit["id"].endswith("more.txt#0"), hit["text"], hit["metadata"]["lines"]) == (True, KETTLE, [7, 7])
    # An index is denoised as a whole or not at all.
    assert command("index", pages, "--out", plain, "--denoise") == 2
    assert "was made with --no-denoise: leave the option out" in capsys.readouterr().err
    assert command("index", pages, "--out", out, "--no-denoise") == 2
    assert "was made with --denoise: leave the option out" in capsys.readouterr().err


def test_train_gives_both_heads_and_says_whether_they_help(
    command: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tiny: Callable[[str], Backbone],
    prose: list[tuple[str, str]],
    tmp_path: Path,
) -> None:
    texts = tmp_path / "texts.jsonl"
    lines = [{"text": text, "title": name} for name, text in prose] + [{"text": f"{text} Again."} for _, text in prose]
    texts.write_text("".join(json.dumps(line) + "\n" for line in lines))
    backbone, out = tiny("bert"), tmp_path / "head"
    options = ["--text", texts, "--backbone", backbone.source.location, "--out", out, "--limit", "60"]
    monkeypatch.setattr("glot_rag.training.classifier._STEPS", 2)  # of an epoch
    monkeypatch.setattr("glot_rag.training.corpora._SIZES", (60,))
    monkeypatch.setattr("glot_rag.training.heads.MADE", 120)
    assert command("train", *options) == 0
    shown = capsys.readouterr().out
    for phrase in (
        "pages made of texts: real ones make a better head",
        "F1 of the words kept",
        "word head: best of 2 epochs is",
        "token loss on simulated corpora held out",
    ):
        assert phrase in shown
    assert len(re.findall(r"queries, nDCG@10 × 100: mean pooling \d+\.\d", shown)) == 2
    # The encoder drops lines by the block head that was trained, words by the word head.
    encoder = TorchEncoder.from_pretrained(backbone.source.location, head=out)
    assert encoder.encode_documents([KETTLE]).shape == (1, 32)
    trained = load_block_head(out / "blocks")[0]
    for denoiser in (
        encoder.denoiser,
        encoder.with_pooling("glot", denoise=True).denoiser,
        Denoiser.from_pretrained(backbone.source.location, head=out),
    ):
        assert isinstance(denoiser, TorchDenoiser)
        assert denoiser.block_head is not None
        assert block_head_fingerprint(denoiser.block_head) == block_head_fingerprint(trained)
    assert load_fitted_head(out).classifier is not None
    config = json.loads((out / "config.json").read_text())
    assert config["details"]["files"] == ["texts.jsonl"]
    assert config["details"]["texts"] == 60
    assert config["head"] == json.loads(json.dumps(default_head(backbone).to_dict()))
    assert not (out / "cache" / "target.bin").exists()  # token labels alone: the upper layers are not run
    # A run that is finished is left as it is.
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.*") if "cache" not in path.parts}
    assert command("train", *options) == 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.*") if "cache" not in path.parts} == before
    assert capsys.readouterr().out.splitlines()[:3] == shown.splitlines()[:3]


def test_train_says_when_the_texts_are_too_few(
    command: Callable[..., int], capsys: pytest.CaptureFixture[str], tiny: Callable[[str], Backbone], tmp_path: Path
) -> None:
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps({"text": f"{number} {KETTLE}"}) + "\n" for number in range(8)))
    options = ["--text", texts, "--backbone", tiny("bert").source.location, "--out", tmp_path / "head"]
    assert command("train", *options) == 2
    assert "expected at least 20, got 8" in capsys.readouterr().err
    assert not (tmp_path / "head").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search", "nowhere", "query"], "nowhere"),
        (["index", "nowhere", "--out", "index"], "nowhere: there is no such file or folder"),
        (["train", "--text", "nowhere.jsonl", "--out", "head"], "nowhere.jsonl cannot be read"),
        (["index", ".", "--out", "index", "--pooling", "median"], "pooling must be one of"),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_2(
    command: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command(*arguments) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert "Traceback" not in shown.err
    assert shown.out == ""
    assert not list(tmp_path.iterdir())
