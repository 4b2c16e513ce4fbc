"""Another index is put in place of one that is open: no writer harms it, and no reader serves the old one for ever."""

import os
import shutil
import threading

import pytest
from hash_encoder import HashEncoder

from glot_rag.errors import IndexReplacedError
from glot_rag.index import Document, GlotIndex

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows does not let an open directory be replaced")
ENCODER = HashEncoder()


def made(path, *texts, encoder=ENCODER):
    with GlotIndex.create(path, encoder) as index:
        index.add([Document(text, text) for text in texts])
    return path


def replace(path, new, how="rename"):
    if how == "rename":
        os.rename(path, path.with_name("old"))
    else:
        shutil.rmtree(path)
    if new is not None:
        os.rename(new, path)


@pytest.fixture
def path(tmp_path):
    return made(tmp_path / "index", "old")


@pytest.fixture
def new(tmp_path):
    return made(tmp_path / "new", "new", "newer")


HOW = pytest.mark.parametrize("how", ["rename", "remove"])


@HOW
def test_a_reader_turns_to_the_new_index(path, new, how, caplog):
    with GlotIndex.open(path, ENCODER, read_only=True) as reader:
        assert [hit.id for hit in reader.search("old")] == ["old"]
        before = iter(reader)
        assert next(before).id == "old"
        replace(path, new, how)
        assert {hit.id for hit in reader.search("new")} == {"new", "newer"}
        assert caplog.messages == [f"another index was put in place of {path}; reading that one from now on"]
        assert reader.ids() == [document.id for document in reader] == ["new", "newer"]
        assert len(reader) == 2
        assert "old" not in reader
        assert reader.get(["new"]) == [Document("new", "new")]
        assert reader.verify().problems == ()
        assert list(before) == []  # an iteration goes on over the commit at which it started
        with GlotIndex.open(path, ENCODER) as writer:
            writer.add([Document("newest", "newest")])
        assert reader.search("newest", 1)[0].id == "newest"


@HOW
@pytest.mark.parametrize("change", ["add", "delete", "update_metadata", "checkpoint", "compact", "reindex"])
def test_a_writer_stops_and_the_new_index_is_whole(path, new, how, change):
    changes = {
        "add": lambda index: index.add([Document("late", "late")]),
        "delete": lambda index: index.delete(["new"]),
        "update_metadata": lambda index: index.update_metadata({"old": {"x": 1}}),
        "checkpoint": lambda index: index.checkpoint(),
        "compact": lambda index: index.compact(),
        "reindex": lambda index: index.reindex("hnsw"),
    }
    with GlotIndex.open(path, ENCODER) as writer:
        writer.add([Document("acknowledged", "acknowledged")])
        replace(path, new, how)
        files = {file.name: file.read_bytes() for file in path.iterdir()}
        for _ in range(2):
            with pytest.raises(IndexReplacedError, match=r"another index was put in its place.*open it again"):
                changes[change](writer)
        with pytest.raises(IndexReplacedError, match="open it again"):
            writer.search("old")
    assert {file.name: file.read_bytes() for file in path.iterdir()} == files
    with GlotIndex.open(path, ENCODER) as index:
        assert index.ids() == ["new", "newer"]
        assert index.verify().problems == ()
    if how == "rename":  # what was acknowledged is where it was moved to
        with GlotIndex.open(path.with_name("old"), ENCODER) as index:
            assert index.ids() == ["old", "acknowledged"]
            assert index.verify().problems == ()


def test_replaced_between_the_change_and_its_commit(path, new):
    class Slow(HashEncoder):
        def encode_documents(self, texts, *, show_progress=False):
            replace(path, new)
            return super().encode_documents(texts)

    with GlotIndex.open(path, Slow()) as writer, pytest.raises(IndexReplacedError, match="repeat them"):
        writer.add([Document("late", "late")])
    with GlotIndex.open(path, ENCODER) as index:
        assert index.ids() == ["new", "newer"]


def test_an_index_of_another_encoder_and_none(path, tmp_path):
    other = made(tmp_path / "other", "other", encoder=HashEncoder(fingerprint="another"))
    with GlotIndex.open(path, ENCODER, read_only=True) as reader:
        replace(path, other)
        for _ in range(2):
            with pytest.raises(IndexReplacedError, match="encoder 'another' made it, this one was made by 'hash-enc"):
                reader.search("old")
        shutil.rmtree(path)
        with pytest.raises(IndexReplacedError, match="was removed since it was opened"):
            reader.search("old")
        made(path, "back")
        assert [hit.id for hit in reader.search("old")] == ["back"]


def test_a_link_that_is_turned_while_threads_search(path, new, tmp_path):
    """How an index is replaced without a moment in which there is none."""
    link = tmp_path / "current"
    link.symlink_to(path)
    problems, seen, stop = [], set(), threading.Event()

    def search(reader):
        while not stop.is_set():
            try:
                found = frozenset(hit.id for hit in reader.search("new"))
            except Exception as error:
                problems.append(error)
                return
            seen.add(found)

    with GlotIndex.open(link, ENCODER, read_only=True) as reader:
        threads = [threading.Thread(target=search, args=(reader,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for number in range(20):
            (tmp_path / "next").symlink_to(path if number % 2 else new)
            os.replace(tmp_path / "next", link)
            assert len(reader.search("new")) == (1 if number % 2 else 2)
        stop.set()
        for thread in threads:
            thread.join()
    assert problems == []
    assert seen <= {frozenset({"old"}), frozenset({"new", "newer"})}
