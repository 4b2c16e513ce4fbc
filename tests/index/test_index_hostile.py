"""Directories and filters from a stranger: typed errors, nothing executed, no memory taken for what is only claimed."""

import json
import math
import os
import re
import shutil
import sqlite3
import tracemalloc

import faiss
import numpy as np
import pytest
from hash_encoder import HashEncoder, assert_all_searches, assert_same_hits, brute_force, corpus
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from glot_rag.errors import GlotError, IndexCorruptedError, IndexRecoveryWarning, IndexStoreError, IndexVersionError
from glot_rag.index import Document, GlotIndex
from glot_rag.index.replica.files import digest_of
from glot_rag.index.store.manifest import FORMAT_VERSION, Manifest
from glot_rag.index.store.schema import checksum

ENCODER = HashEncoder()
DOCUMENTS = corpus(60)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    path = tmp_path_factory.mktemp("original") / "index"
    with GlotIndex.create(path, ENCODER) as index:
        index.add(DOCUMENTS)
    return path


@pytest.fixture
def path(original, tmp_path):
    return shutil.copytree(original, tmp_path / "copy")


def execute(path, sql, *parameters):
    connection = sqlite3.connect(path / "store.sqlite")
    with connection:
        connection.execute(sql, parameters)
    connection.close()


# -- manifests with the right checksum, which is no signature

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
GOOD = json.loads(Manifest(16, ENCODER.fingerprint).to_json())


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from([*GOOD, "other"]), json_values, max_size=3), st.sets(st.sampled_from([*GOOD])))
@example({"format_version": math.inf}, set())
@example({"format_version": 1e400}, set())
@example({"dimension": 10**30}, set())
@example({"index_type": "HNSW32"}, set())
@example({"format_version": 1}, set())
@example({"index_type": {"a": 1}}, set())
@example({"metric": "l2"}, set())
def test_any_manifest_is_read_or_refused(changes, left_out):
    values = {name: value for name, value in {**GOOD, **changes}.items() if name not in left_out}
    try:
        manifest = Manifest.from_json(json.dumps(values).encode())
    except (IndexCorruptedError, IndexVersionError):
        assert json.dumps(values) != json.dumps(GOOD)  # True is no 1 here
    else:
        assert (manifest.metric, manifest.dtype) == ("inner_product", "float32")
        assert manifest.format_version == FORMAT_VERSION
        assert 1 <= manifest.dimension <= 65536


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"[" * 50_000, b'{"format_version": 4}', b"9" * 5000, b"\xff\xfe", b"null"]
)
def test_a_manifest_that_is_none(path, body):
    execute(path, "UPDATE manifest SET body = CAST(? AS TEXT), checksum = ?", body, checksum(body))
    with pytest.raises(IndexCorruptedError, match="manifest"):
        GlotIndex.open(path)


def test_a_manifest_of_many_megabytes_is_not_read(path):
    body = json.dumps({**GOOD, "fingerprint": "x" * 60_000_000}).encode()
    execute(path, "UPDATE manifest SET body = CAST(? AS TEXT), checksum = ?", body, checksum(body))
    tracemalloc.start()
    with pytest.raises(IndexCorruptedError, match="manifest"):
        GlotIndex.open(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20_000_000


# -- a store that is more than tables


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TRIGGER t AFTER INSERT ON documents BEGIN DELETE FROM documents; END",
        "CREATE VIEW v AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n",
        "CREATE TABLE more (x)",
        "ALTER TABLE documents ADD COLUMN more INTEGER",
        "CREATE INDEX i ON documents (load_extension('x'))",
    ],
)
def test_a_schema_that_is_not_ours_is_refused(path, sql):
    try:
        execute(path, sql)
    except sqlite3.OperationalError:
        pytest.skip("this SQLite does not make it")
    with pytest.raises(IndexCorruptedError, match="not one of an index's tables"):
        GlotIndex.open(path, read_only=True)


@pytest.mark.parametrize(
    "sql",
    [
        "ANALYZE",
        "PRAGMA optimize",
        "VACUUM",
        "REINDEX",
        "PRAGMA journal_mode = DELETE",
        "PRAGMA auto_vacuum = FULL",
        "PRAGMA user_version = 7",
        "PRAGMA wal_checkpoint(TRUNCATE)",
    ],
)
def test_what_other_tools_make_sqlite_do_is_no_damage(path, tmp_path, sql):
    for statement in ("ANALYZE", sql, "VACUUM"):
        connection = sqlite3.connect(path / "store.sqlite", isolation_level=None)
        connection.execute(statement).fetchall()
        connection.close()
    with GlotIndex.open(path, ENCODER, read_only=True) as reader:
        assert reader.verify().problems == ()
        assert_same_hits(reader.search("text 3", 60), brute_force(ENCODER, DOCUMENTS, "text 3", 60))
    with GlotIndex.open(path, ENCODER) as index, GlotIndex.open(path, ENCODER, read_only=True) as reader:
        index.add([Document("new", "new", {"n": 99})])
        assert index.ids({"n": {"$gt": 58}}) == ["d59", "new"]
        assert reader.search("new", 1)[0].id == "new"
        index.backup(tmp_path / "backup")
        index.compact()
        assert index.verify().problems == ()
    with GlotIndex.open(tmp_path / "backup", ENCODER) as copy:
        assert len(copy) == 61


@pytest.mark.parametrize(
    "sql", ["CREATE TABLE more (x)", "CREATE INDEX more ON documents (text)", "CREATE VIEW more AS SELECT 1"]
)
def test_what_is_foreign_is_told_by_name_after_an_analysis_too(path, sql):
    execute(path, "ANALYZE")
    execute(path, sql)
    with pytest.raises(IndexCorruptedError, match="'more' in it is not one of an index's tables"):
        GlotIndex.open(path, check=False)


def test_a_view_that_never_ends_in_place_of_a_table(path):
    execute(path, "DROP TABLE manifest")
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS body, i AS checksum FROM n"
    execute(path, f"CREATE VIEW manifest AS {endless}")
    with pytest.raises(IndexCorruptedError, match="'manifest' in it is not one"):
        GlotIndex.open(path)


# -- FAISS files whose record says that they are ours


def claim(path, written, name="index.faiss"):
    """Put a file in place with a record that vouches for it."""
    with open(written, "rb") as file:
        record = (1, digest_of(file), os.path.getsize(written), 60)
    shutil.copyfile(written, path / name)
    sql = "UPDATE checkpoints SET sequence = ?, digest = ?, size = ?, documents = ?, checksum = ? WHERE file = ?"
    execute(path, sql, *record, checksum(name.encode(), *record), name)


def flat(dimension=16, metric=faiss.METRIC_INNER_PRODUCT, size=60):
    index = faiss.IndexFlat(dimension, metric)
    index.add(np.eye(size, dimension, dtype=np.float32))
    return index


def with_keys(index, keys=None):
    mapped = faiss.IndexIDMap(faiss.IndexFlatIP(index.d))
    mapped.index, mapped.ntotal, mapped.metric_type = index, index.ntotal, index.metric_type
    faiss.copy_array_to_vector(np.arange(1, index.ntotal + 1) if keys is None else np.array(keys), mapped.id_map)
    return mapped, index  # the one does not keep the other


FOREIGN = {
    "no keys": lambda: (flat(), None),
    "another dimension": lambda: with_keys(flat(32)),
    "distances": lambda: with_keys(flat(metric=faiss.METRIC_L2)),
    "keys too few": lambda: with_keys(flat(), range(1, 31)),
    "keys twice": lambda: with_keys(flat(), [1] * 60),
    "keys below zero": lambda: with_keys(flat(), range(-60, 0)),
    "keys of others": lambda: with_keys(flat(), range(1001, 1061)),
    "a type without filters": lambda: with_keys(faiss.index_factory(16, "LSH")),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_faiss_file_that_is_not_ours_is_not_used(path, tmp_path, name):
    made = FOREIGN[name]()
    faiss.write_index(made[0], str(tmp_path / "file"))
    claim(path, tmp_path / "file")
    for memory_map in (False, True):
        with (
            pytest.warns(IndexRecoveryWarning, match="rebuilding it from the stored vectors"),
            GlotIndex.open(path, ENCODER, read_only=True, memory_map=memory_map) as index,
        ):
            assert_same_hits(index.search("text 3", 60), brute_force(ENCODER, DOCUMENTS, "text 3", 60))


@pytest.mark.parametrize("position", ["vectors", "keys"])
def test_a_faiss_file_that_claims_to_be_huge(original, path, tmp_path, position):
    """The counts in its header are raised to 2⁵⁰: FAISS would set memory aside for them."""
    data = bytearray((original / "index.faiss").read_bytes())
    count = (60 * (16 if position == "vectors" else 1)).to_bytes(8, "little")
    places = [i for i in range(len(data) - 8) if data[i : i + 8] == count]
    assert places
    for place in places:
        damaged = data[:place] + (1 << 50).to_bytes(8, "little") + data[place + 8 :]
        (tmp_path / "file").write_bytes(damaged)
        claim(path, tmp_path / "file")
        with pytest.warns(IndexRecoveryWarning), GlotIndex.open(path, ENCODER, read_only=True) as index:
            assert_same_hits(index.search("text 3", 60), brute_force(ENCODER, DOCUMENTS, "text 3", 60))


# -- keyword files whose record says that they are ours

CHANGES = {
    "another kind": lambda file: b"GLOTKW99" + file[8:],
    "cut off": lambda file: file[:-1],
    "longer": lambda file: file + b"\0",
    "empty": lambda file: b"",
    "huge": lambda file: file[:8] + (1 << 60).to_bytes(8, "little") + file[16:],
    "negative": lambda file: file[:8] + (-1).to_bytes(8, "little", signed=True) + file[16:],
    "another width": lambda file: file[:32] + (3).to_bytes(8, "little") + file[40:],
    "keys of others": lambda file: (
        file[:64] + file[64:544].replace((60).to_bytes(8, "little"), b"\xff" * 4 + b"\0" * 4)
    ),
    "keys twice": lambda file: file[:72] + file[64:72] + file[80:],
    "positions of nobody": lambda file: file[:-130] + b"\xff" * 130,
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_keyword_file_that_is_not_ours_is_not_used(original, path, tmp_path, name):
    (tmp_path / "file").write_bytes(CHANGES[name]((original / "index.keywords").read_bytes()))
    claim(path, tmp_path / "file", "index.keywords")
    with (
        pytest.warns(IndexRecoveryWarning, match="rebuilding it from the stored counts of terms"),
        GlotIndex.open(path, ENCODER, read_only=True) as index,
    ):
        assert_all_searches(index, DOCUMENTS, "text 3", 60)


# -- names in the directory


def test_nothing_outside_the_directory_is_written_through_links(path, tmp_path):
    """A link in place of a file that the index writes: what it points to stays as it is."""
    outside = tmp_path / "outside"
    outside.write_bytes(b"mine")
    for name in ("index.faiss", "index.keywords"):
        (path / name).unlink()
        (path / name).symlink_to(outside)
        (path / f"{name}.tmp").symlink_to(outside)
    with pytest.warns(IndexRecoveryWarning), GlotIndex.open(path, ENCODER) as index:
        index.add([Document("new", "new")])
    assert outside.read_bytes() == b"mine"
    with GlotIndex.open(path, ENCODER) as index:
        assert len(index) == 61
        assert index.verify().problems == ()
    assert not any(file.is_symlink() for file in path.iterdir())


# -- a log that was cut off or damaged: what a copy of an index in use looks like when it goes wrong


@pytest.fixture(scope="module")
def in_use(tmp_path_factory):
    """The files of an index in use: three documents, replaced together in eight commits, all of them in the log."""
    live, copy = tmp_path_factory.mktemp("live") / "index", tmp_path_factory.mktemp("copy") / "index"
    with GlotIndex.create(live, ENCODER) as index:
        for number in range(8):
            index.add([Document(f"generation {number}", id, {"generation": number}) for id in ("a", "b", "c")])
        shutil.copytree(live, copy, ignore=shutil.ignore_patterns("*-shm", "*.lock"))
    return copy


@pytest.mark.parametrize("last_commit", ["kept", "deleted", "damaged"])
def test_a_damaged_log_gives_a_whole_commit_or_a_refusal(in_use, tmp_path, figures, last_commit):
    """With the number of the last commit none is lost silently; without it, there is a whole earlier commit."""
    log, generator = (in_use / "store.sqlite-wal").read_bytes(), np.random.default_rng(0)
    outcomes = {"refused": 0, "earlier commit": 0, "last commit": 0}
    for number in range(60 if last_commit == "kept" else 20):
        copy = shutil.copytree(in_use, tmp_path / f"copy {number}")
        damaged = bytearray(log)
        place = int(generator.integers(len(log)))
        if number % 2:
            damaged[place] ^= 1 << int(generator.integers(8))
        else:
            del damaged[place:]
        (copy / "store.sqlite-wal").write_bytes(damaged)
        if last_commit == "deleted":
            (copy / "store.commit").unlink()
        elif last_commit == "damaged":
            (copy / "store.commit").write_bytes(b"0" * 19 + b"9" + (copy / "store.commit").read_bytes()[20:])
        try:
            with GlotIndex.open(copy, ENCODER) as opened:
                generations = {document.metadata["generation"] for document in opened}
                assert len(generations) <= 1, "half a commit"
                assert len(opened) == 3 * len(generations)
                assert opened.verify().problems == ()
                outcomes["last commit" if generations == {7} else "earlier commit"] += 1
        except IndexStoreError:
            outcomes["refused"] += 1
    assert (outcomes["earlier commit"] == 0) == (last_commit == "kept")
    assert outcomes["refused"] > 30 or last_commit != "kept"
    figures(f"log cut off or one bit flipped, number of the last commit {last_commit}: {outcomes}, half commits 0")


def test_a_lost_commit_is_named_and_can_be_added_again(in_use, tmp_path):
    copy = shutil.copytree(in_use, tmp_path / "copy")
    log = copy / "store.sqlite-wal"
    os.truncate(log, log.stat().st_size - 1)
    lost = r"Commit 8 was acknowledged, the store ends at commit 7: its log was cut off"
    for read_only in (True, False):
        with pytest.raises(IndexCorruptedError, match=lost):
            GlotIndex.open(copy, ENCODER, read_only=read_only)
    with GlotIndex.open(copy, ENCODER, check=False) as index:
        assert re.search(lost, index.verify().problems[0])
        index.checkpoint()
    with pytest.raises(IndexCorruptedError, match=lost):  # a commit without documents changes nothing
        GlotIndex.open(copy, ENCODER)
    with GlotIndex.open(copy, ENCODER, check=False) as index:
        index.add([Document("generation 7", id, {"generation": 7}) for id in ("a", "b", "c")])
    with GlotIndex.open(copy, ENCODER) as index:
        assert {document.text for document in index} == {"generation 7"}
        assert index.verify().problems == ()


@pytest.mark.parametrize("what", ["link", "pipe", "folder", "megabytes"])
def test_what_lies_in_place_of_the_last_commit_is_not_followed(path, tmp_path, what):
    last, outside = path / "store.commit", tmp_path / "outside"
    last.unlink(missing_ok=True)
    outside.write_bytes(b"mine")
    if what == "link":
        last.symlink_to(outside)
    elif what == "pipe":
        os.mkfifo(last)
    elif what == "folder":
        last.mkdir()
    else:
        last.write_bytes(b"9" * (1 << 22))
    with GlotIndex.open(path, ENCODER) as index:
        index.add([Document("new", "new")])
    with GlotIndex.open(path, ENCODER) as index:
        assert index.get(["new"]) == [Document("new", "new")]
        assert index.verify().problems == ()
    assert outside.read_bytes() == b"mine"


# -- filters


@pytest.fixture(scope="module")
def opened(original):
    with GlotIndex.open(original, ENCODER, read_only=True) as index:
        yield index


words = st.sampled_from(
    [
        "lang",
        "n",
        "$and",
        "$or",
        "$not",
        "$eq",
        "$in",
        "$gt",
        "$exists",
        "$where",
        "$.lang",
        "lang') OR 1=1 --",
        '"',
        "\0",
        "",
    ]
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=3) | words,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner)
        | st.dictionaries(words | st.text(max_size=3), inner, max_size=4)
        | st.dictionaries(st.integers(), inner, max_size=1)
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(anything)
def test_any_filter_searches_or_is_a_typed_error(opened, filter):
    try:
        ids = opened.ids(filter)
        hits = opened.search("text 1", 60, filter)
    except GlotError:
        return
    assert sorted(hit.id for hit in hits) == sorted(ids)
    assert len(opened) == 60


@pytest.mark.parametrize(
    "filter",
    [
        {"$and": [{}] * 100_000},
        {"$or": [{"$and": []}] * 5_000},
        {"$and": [{"n": {"$gt": 0}}] * 5_000},
        {"lang": {"$in": ["x"] * 1_000_000}},
        {"lang": "x" * (1 << 25)},
        {"k" * (1 << 25): 1},
        {f"k{i}": 1 for i in range(5_000)},
    ],
    ids=range(7),
)
def test_a_filter_that_would_exhaust_is_refused(opened, filter):
    with pytest.raises(ValueError, match="more than"):
        opened.search("text 1", 3, filter)


def test_a_filter_that_injects_finds_what_it_says(path):
    with GlotIndex.open(path, ENCODER) as index:
        key = "x') OR 1=1; DROP TABLE documents; --"
        index.add([Document("hostile", "hostile", {key: key})])
        assert index.ids({key: key}) == ["hostile"]
        assert index.ids({key: "1"}) == index.ids({"lang": "en' OR '1'='1"}) == []
        assert len(index) == 61
