"""An index is made with its encoder in one step, or not at all; what the operating system refuses is a typed error."""

import os

import pytest
from hash_encoder import HashEncoder, SavingEncoder, assert_saved

from glot_rag.errors import IndexDiskError, IndexExistsError, IndexNotFoundError, InputError
from glot_rag.index import Document, GlotIndex, export_index
from glot_rag.index.store import store


def names(path):
    return sorted(os.listdir(path))


def test_the_encoder_is_there_before_the_index(path):
    seen = []

    class Watching(SavingEncoder):
        def save(self, directory):
            seen.append(names(path))
            super().save(directory)

    with GlotIndex.create(path, Watching(), save_encoder=True) as index:
        index.add([Document("a", "a")])
    assert seen == [["writer.lock"]]
    assert_saved(path / "encoder")
    with pytest.raises(IndexExistsError, match="There is an index"):
        GlotIndex.create(path, SavingEncoder(), save_encoder=True)
    assert_saved(path / "encoder")


def test_an_encoder_that_cannot_be_saved_is_refused_before_anything_is_made(path):
    with pytest.raises(InputError, match="save_encoder needs an encoder with a method `save`, got HashEncoder"):
        GlotIndex.create(path, HashEncoder(), save_encoder=True)
    assert not path.exists()


@pytest.mark.parametrize("kind", [OSError(28, "No space left on device"), InputError("no"), KeyboardInterrupt()])
def test_a_save_that_fails_leaves_no_index(path, kind):
    class Failing(SavingEncoder):
        def save(self, directory):
            super().save(directory)
            raise kind

    expected = IndexDiskError if isinstance(kind, OSError) else type(kind)
    with pytest.raises(expected, match=r"No space left on device.*free space" if expected is IndexDiskError else None):
        GlotIndex.create(path, Failing(), save_encoder=True)
    assert names(path) == ["writer.lock"]
    with pytest.raises(IndexNotFoundError, match="no index"):
        GlotIndex.open(path)
    GlotIndex.create(path, SavingEncoder(), save_encoder=True).close()
    assert_saved(path / "encoder")


def test_a_full_disk_while_the_store_is_written_leaves_no_index(path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(store.schema, "TABLES", store.schema.TABLES + ";CREATE TABLE documents (x)")  # fails half-way
        with pytest.raises(Exception, match="already exists"):
            GlotIndex.create(path, SavingEncoder(), save_encoder=True)
    assert names(path) == ["writer.lock"]
    GlotIndex.create(path, SavingEncoder(), save_encoder=True).close()


def test_an_encoder_of_the_user_is_not_swept(tmp_path):
    SavingEncoder().save(tmp_path / "models" / "encoder")
    with pytest.raises(IndexExistsError, match="it holds 'encoder'"):
        GlotIndex.create(tmp_path / "models", SavingEncoder(), save_encoder=True)
    assert_saved(tmp_path / "models" / "encoder")


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("{file}/index", IndexDiskError, "Not a directory. Check the path"),
        ("{tmp}/" + "x" * 300, IndexDiskError, "File name too long. Check the path"),
        ("/proc/index", IndexDiskError, "/proc/index: .*Check the path"),
        ("", InputError, "at least one character, got ''"),
        ("a\0b", InputError, "the path of an index must be a str"),
        (7, InputError, "the path of an index must be a str or a Path"),
    ],
)
def test_wrong_paths_are_typed_errors(tmp_path, path, error, message):
    (tmp_path / "file").touch()
    if isinstance(path, str):
        path = path.format(file=tmp_path / "file", tmp=tmp_path)
    with pytest.raises(error, match=message):
        GlotIndex.create(path, HashEncoder())
    with pytest.raises((IndexNotFoundError, IndexDiskError, InputError)):
        GlotIndex.open(path)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a user who may not do everything")
def test_a_directory_that_may_not_be_written(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(IndexDiskError, match=r"Permission denied\. Check the path, its permissions"):
            GlotIndex.create(tmp_path / "index", HashEncoder())
    finally:
        tmp_path.chmod(0o700)


def test_copies_to_wrong_paths(index, tmp_path):
    (tmp_path / "file").touch()
    for copy in (index.backup, lambda path: export_index(index, path)):
        with pytest.raises(IndexDiskError, match="Check the path"):
            copy(tmp_path / "file" / "copy")
        with pytest.raises(IndexExistsError, match="not an empty directory"):
            copy(tmp_path / "file")


def test_a_relative_path_stays_when_the_working_directory_changes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with GlotIndex.create("index", HashEncoder()) as index:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        index.add([Document("a", "a")])
        assert index.search("a", 1)[0].id == "a"
        assert index.path == tmp_path / "index"
    assert names(tmp_path) == ["elsewhere", "index"]
