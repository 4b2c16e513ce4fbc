"""The same corpus through Ray and through one process: the same rows, bit by bit."""

import pytest
import ray
from fake_encoder import GROUP, all_rows
from fake_engine import FakeEngine
from ray_glot import RayEngine, connecting

from glot_rag.errors import InputError
from glot_rag.shards import embed_corpus, embedding
from glot_rag.shards.format import CHUNKS, DOCUMENTS, manifests


def test_ray_makes_what_one_process_makes(corpus, tmp_path, encoder, ray_here, monkeypatch):
    monkeypatch.setattr(embedding, "GROUP_DOCUMENTS", GROUP)  # as in the workers: a group is a row group of a file
    (corpus / "005.txt").write_text("POISON")
    here = embed_corpus([corpus], tmp_path / "here", encoder, denoise=False)
    there = embed_corpus([corpus], tmp_path / "there", encoder, denoise=False, engine=FakeEngine(workers=2))
    assert all_rows(tmp_path / "there") == all_rows(tmp_path / "here")
    assert there.set_aside == here.set_aside
    assert len(there.set_aside) == 1
    assert (there.chunks, there.embedded, there.recomputed) == (here.chunks, here.chunks, 0)
    for kind in (DOCUMENTS, CHUNKS):
        hashes = [{record.version for record in manifests(tmp_path / run, kind)} for run in ("here", "there")]
        assert hashes[0] == hashes[1]


def test_a_document_that_ends_its_worker_is_set_aside(corpus, tmp_path, encoder, ray_here):
    (corpus / "005.txt").unlink()
    embed_corpus([corpus], tmp_path / "here", encoder, denoise=False)
    (corpus / "005.txt").write_text("DEADLY")
    report = embed_corpus([corpus], tmp_path / "there", encoder, denoise=False, engine=FakeEngine(workers=2))
    assert all_rows(tmp_path / "there") == all_rows(tmp_path / "here")
    reason = "the process ended twice at this document alone; was it short of memory?"
    assert [tuple(each) for each in report.set_aside] == [(f"{corpus.resolve()}/005.txt", reason)]


def test_the_model_reads_the_same_through_ray(tmp_path, ray_here, minilm_folder, prose):
    """With denoising: fitted over shards by workers, denoised and embedded by others."""
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number, (_, text) in enumerate(prose[:50]):
        words = text.split()[:30]
        (corpus / f"{number}.txt").write_text(f"Home | News\nLog in\nSearch\n{' '.join(words)}\nImprint\nContact us\n")
    embed_corpus([corpus], tmp_path / "here", "minilm")
    embed_corpus([corpus], tmp_path / "there", "minilm", engine=RayEngine(workers=1))
    rows = all_rows(tmp_path / "there")
    assert len(rows) >= 50
    assert not [text for text, _, _ in rows.values() if "Log in" in text]
    assert rows == all_rows(tmp_path / "here")


def test_settings_that_cannot_be(ray_here):
    with pytest.raises(InputError, match="workers must be an int of 1 or more, got 0"):
        RayEngine(workers=0)
    with pytest.raises(InputError, match="gpus must be 0 or more, got -1"):
        RayEngine(gpus=-1)
    with pytest.raises(InputError, match="no worker of 1 CPUs and 1 GPUs fits the cluster, which has 2 CPUs"):
        RayEngine(gpus=1)
    with pytest.raises(InputError, match="ask for less, or first start a machine that has them"):
        RayEngine(workers=1, cpus=3)  # Ray would wait for one
    assert RayEngine().workers == 2


def test_a_cluster_answers_who_connects(ray_here):
    connecting._check_answers(ray.get_runtime_context().gcs_address, "here")
