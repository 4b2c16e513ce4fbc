"""Vectors on disk: killed processes, damaged files, and what is embedded again."""

from __future__ import annotations

import hashlib
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from glot_rag import __version__
from glot_rag.embedder import Vectors
from glot_rag.errors import CacheError
from glot_rag.evaluation.methods import Method, Methods
from glot_rag.evaluation.vector_cache import FILE_NAME, VectorCache, embed_missing, text_key

Hash = Callable[[Sequence[str]], Vectors]

# An evaluation whose vectors depend on what they are computed with, as those of packed batches do: results that are the
# same to the bit show that nothing was embedded otherwise than without the kill. Each text that is embedded is logged.
EVALUATION = """
import hashlib, os, signal, sys, time
import numpy as np
from glot_rag.evaluation import EvaluationSettings, MemoryCollection, evaluate
from glot_rag.evaluation import vector_cache

folder, where, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
done = 0

def hit(place):
    global done
    done += place == where
    if place == where and done == count:
        os.kill(os.getpid(), signal.SIGKILL)

class Encoder:
    dimension = 64

    def __init__(self, name):
        self.fingerprint = name

    def encode_documents(self, texts, *, show_progress=False):
        return self.embed(texts, self.fingerprint)

    def encode_queries(self, texts, *, show_progress=False):
        return self.embed(texts, self.fingerprint + "q")

    def embed(self, texts, name):
        hit("before")
        together = int.from_bytes(hashlib.sha256("".join(texts).encode()).digest()[:4], "big") / 2**32
        rows = [np.frombuffer(hashlib.sha512(f"{name} {text[:40]}".encode()).digest(), np.uint8) for text in texts]
        rows = np.array(rows, np.float32) + 3 * together
        with open(f"{folder}/log", "a") as log:
            log.writelines(f"{name} {text}\\n" for text in texts)
        if where == "slow":
            time.sleep(0.05)
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

checksum = vector_cache._checksum
vector_cache._checksum = lambda *parts: (hit("row"), checksum(*parts))[1]
cache = vector_cache.VectorCache(f"{folder}/cache")
put = cache.put
cache.put = lambda *batch: (put(*batch), hit("after"))
documents = {f"d{i}": f"text {i % 50} of the collection " + " ".join(f"w{i % 50}x{j}" for j in range(20)) for i in range(60)}
dataset = MemoryCollection("toy", documents, {f"q{i}": f"query {i}" for i in range(20)}, {f"q{i}": {f"d{i}": 1} for i in range(20)})
encoders = {"mean": Encoder("m"), "other": Encoder("o")}
settings = EvaluationSettings(["none", "words:0.5", "boilerplate:0.5"], max_words=30, batch_size=16, costs=False)
report = evaluate(dataset, encoders, settings, cache=cache)
report.save(f"{folder}/report.json")
"""  # noqa: E501 (a script)


def evaluation(folder: Path, where: str = "", count: int = 0) -> subprocess.Popen[bytes]:
    folder.mkdir(exist_ok=True)
    return subprocess.Popen([sys.executable, "-c", EVALUATION, str(folder), where, str(count)])


def log(folder: Path) -> list[str]:
    path = folder / "log"
    return path.read_text().splitlines() if path.exists() else []


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing stopped."""
    folder = tmp_path_factory.mktemp("whole")
    assert evaluation(folder).wait() == 0
    return folder


@pytest.mark.parametrize(
    ("where", "count"),
    [
        pytest.param("before", 1, marks=pytest.mark.long),
        ("before", 5),
        ("row", 333),
        ("after", 3),
        ("outside", 5),
    ],
)
def test_a_killed_run_goes_on_and_embeds_only_what_was_missing(
    whole: Path, tmp_path: Path, where: str, count: int
) -> None:
    folder = tmp_path / "run"
    if where == "outside":
        process = evaluation(folder, "slow")
        while len(log(folder)) < 20 * count:
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    else:
        process = evaluation(folder, where, count)
    assert process.wait() == -signal.SIGKILL
    before = log(folder)
    cache = VectorCache(folder / "cache")
    kept = []
    for line in before:
        name, text = line.split(" ", 1)
        role = "queries" if name.endswith("q") else "documents"
        if cache.get(f"glot-rag {__version__} {name[0]} {role}", [text_key(text)]):
            kept.append(line)
    cache.close()
    assert evaluation(folder).wait() == 0
    again = log(folder)[len(before) :]
    assert (folder / "report.json").read_bytes() == (whole / "report.json").read_bytes()
    # Each text of the whole run was embedded before the kill and kept, or afterwards, and none of them both times.
    assert sorted(kept + again) == sorted(log(whole))
    assert len(before) - len(kept) <= 2 * 20  # one batch of both encoders, at most, or the queries
    if where == "after":
        assert sorted(before) == sorted(kept)


def test_a_second_run_embeds_nothing(whole: Path) -> None:
    before, report = log(whole), (whole / "report.json").read_bytes()
    assert evaluation(whole).wait() == 0
    assert log(whole) == before
    assert (whole / "report.json").read_bytes() == report


class Counted:
    """The hash embedder under several names, and what it was asked for."""

    def __init__(self, hasher: Hash) -> None:
        self.hasher = hasher
        self.asked: list[tuple[list[str], list[str]]] = []

    def __call__(self, texts: Sequence[str], names: Sequence[str]) -> Mapping[str, Vectors]:
        self.asked.append((list(texts), list(names)))
        return {name: self.hasher([f"{name} {text}" for text in texts]) for name in names}


TEXTS = [f"apple pear {number} plum" for number in range(30)]


def test_each_text_is_asked_once_for_the_names_that_lack_it(hasher: Hash, tmp_path: Path) -> None:
    embed, cache = Counted(hasher), VectorCache(tmp_path)
    first = embed_missing(embed, ["a", "b", "a"], {"mean": "M"}, cache)
    both = embed_missing(embed, ["b", "c", "ü"], {"mean": "M", "max": "X"}, cache)
    assert embed.asked == [(["a", "b"], ["mean"]), (["b"], ["max"]), (["c", "ü"], ["mean", "max"])]
    np.testing.assert_array_equal(first["mean"], hasher(["mean a", "mean b", "mean a"]))
    np.testing.assert_array_equal(both["max"], hasher(["max b", "max c", "max ü"]))
    # Another encoder under the same name has vectors of its own.
    embed_missing(embed, ["a"], {"mean": "other weights"}, cache)
    assert len(embed.asked) == 4
    assert text_key("\udc80") != text_key("")  # a lone surrogate is a text like any other


def test_without_a_cache_all_is_embedded(hasher: Hash) -> None:
    embed = Counted(hasher)
    embed_missing(embed, ["a", "a"], {"mean": "M"}, None)
    assert embed.asked == [(["a", "a"], ["mean"])]


def test_the_cache_holds_no_text(hasher: Hash, tmp_path: Path) -> None:
    cache = VectorCache(tmp_path)
    embed_missing(Counted(hasher), ["a very secret text"], {"mean": "M"}, cache)
    cache.close()
    assert b"secret" not in (tmp_path / FILE_NAME).read_bytes()


class Queries:
    """An embedder that counts the queries it is given; its vectors are made of its fingerprint and the text."""

    dimension = 64

    def __init__(self, fingerprint: str) -> None:
        self.fingerprint = fingerprint
        self.asked: list[str] = []

    def encode_documents(self, texts: Sequence[str], *, show_progress: bool = False) -> Vectors:
        raise NotImplementedError

    def encode_queries(self, texts: Sequence[str], *, show_progress: bool = False) -> Vectors:
        self.asked += texts
        return self.vectors(texts)

    def vectors(self, texts: Sequence[str]) -> Vectors:
        digests = [hashlib.sha512(f"{self.fingerprint} {text}".encode()).digest() for text in texts]
        return np.array([np.frombuffer(digest, np.uint8) for digest in digests], np.float32)


def test_queries_are_embedded_once_for_each_encoder_and_list_of_texts() -> None:
    mean, prompted = Queries("mean"), Queries("mean, with a prompt")
    methods = Methods([Method("mean", mean, mean), Method("again", mean, mean), Method("other", prompted, prompted)])
    first, second = ["red lamp", "blue lamp"], ["green lamp", "blue lamp"]
    for texts in (first, second, second, first):
        found = methods.queries(texts)
        for label, encoder in (("mean", mean), ("again", mean), ("other", prompted)):
            np.testing.assert_array_equal(found[label], encoder.vectors(texts))
    assert mean.asked == prompted.asked == [*first, *second, *first]


def test_a_flipped_byte_is_never_used(hasher: Hash, tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    cache = VectorCache(tmp_path)
    expected = embed_missing(Counted(hasher), TEXTS, {"mean": "M"}, cache)["mean"]
    cache.close()
    sound = path.read_bytes()
    refused = recomputed = 0
    for place in np.random.default_rng(0).integers(0, len(sound), 150).tolist():
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 0x40]) + sound[place + 1 :])
        embed = Counted(hasher)
        try:
            cache = VectorCache(tmp_path)
        except CacheError:
            refused += 1
            continue
        try:
            np.testing.assert_array_equal(embed_missing(embed, TEXTS, {"mean": "M"}, cache)["mean"], expected)
            recomputed += bool(embed.asked)
            assert cache.damaged <= sum(len(texts) for texts, _ in embed.asked)
        except CacheError:
            refused += 1
        finally:
            cache.close()
    assert recomputed > 50  # of a page of four kilobytes, each with one vector of two, much is empty
    assert refused > 0


def test_a_damaged_vector_is_counted_and_replaced(hasher: Hash, tmp_path: Path) -> None:
    cache = VectorCache(tmp_path)
    expected = embed_missing(Counted(hasher), TEXTS, {"mean": "M"}, cache)["mean"]
    cache.close()
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    connection.execute("UPDATE vectors SET vector = zeroblob(length(vector)) WHERE rowid = 3")
    connection.execute("UPDATE vectors SET vector = substr(vector, 1, 12) WHERE rowid = 5")
    connection.execute("UPDATE vectors SET text = ? WHERE rowid = 7", (text_key("another"),))
    connection.commit()
    connection.close()
    for asked, damaged in (([TEXTS[2], TEXTS[4], TEXTS[6]], 2), ([], 0)):
        embed, cache = Counted(hasher), VectorCache(tmp_path)
        np.testing.assert_array_equal(embed_missing(embed, TEXTS, {"mean": "M"}, cache)["mean"], expected)
        assert [texts for texts, _ in embed.asked] == ([asked] if asked else [])
        assert cache.damaged == damaged
        assert cache.get("M", [text_key("another")]) == {}
        cache.close()


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b"\x80\x04\x95pickle" * 100])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(CacheError, match=r"vectors\.sqlite is damaged .*delete it, it can be computed again"):
        VectorCache(tmp_path)
    assert (tmp_path / FILE_NAME).read_bytes() == content


def test_another_database_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    connection.execute("CREATE TABLE mine (value)")
    connection.close()
    with pytest.raises(CacheError, match=r"no cache of vectors of this version: choose another directory"):
        VectorCache(tmp_path)
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    assert [name for (name,) in connection.execute("SELECT name FROM sqlite_master")] == ["mine"]
    connection.close()


def test_a_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match=r"cannot be a cache's directory"):
        VectorCache(tmp_path / "file" / "cache")


def test_two_processes_share_a_cache(hasher: Hash, tmp_path: Path) -> None:
    one, other = VectorCache(tmp_path), VectorCache(tmp_path)
    embed_missing(Counted(hasher), TEXTS, {"mean": "M"}, one)
    embed = Counted(hasher)
    embed_missing(embed, TEXTS, {"mean": "M"}, other)
    assert embed.asked == []
    one.close()
    other.close()


def test_a_full_disk_is_an_error_with_a_way_out(hasher: Hash, tmp_path: Path) -> None:
    cache = VectorCache(tmp_path)
    cache._connection.execute("PRAGMA max_page_count = 8")  # SQLite's own way to run out of room
    with pytest.raises(CacheError, match="full"):
        embed_missing(Counted(hasher), TEXTS, {"mean": "M"}, cache)
    assert cache.get("M", [text_key(text) for text in TEXTS]) == {}
    cache.close()
