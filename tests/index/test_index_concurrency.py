import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hash_encoder import HashEncoder, assert_same_hits, brute_force, corpus, keyword_scores

from glot_rag.index import Document, GlotIndex
from glot_rag.index.replica.shared_lock import SharedLock
from glot_rag.index.vectors.faiss_index import FaissIndex

READER = Path(__file__).with_name("reader_child.py")


def generation(number):
    return [Document(f"generation {number}", id, {"generation": number}) for id in ("a", "b", "c")]


def test_reader_processes_see_whole_commits_in_order(path, encoder, figures):
    """Three documents change together; a reader that saw two generations at once, or went back, would say so."""
    last = 200
    with GlotIndex.create(path, encoder) as index:
        index.add(generation(0))
        environment = {**os.environ, "PYTHONPATH": str(READER.parents[2])}
        command = [sys.executable, str(READER), str(path), str(last)]
        readers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(2)]
        for reader in readers:
            assert reader.stdout.readline() == "ready\n"
        for number in range(1, last + 1):
            index.add(generation(number))
            if number % 20 == 0:
                index.checkpoint()
        for reader in readers:
            output = reader.communicate(timeout=60)[0]
            searches, generations = (int(part.split()[0]) for part in output.split(","))
            assert searches >= generations > 3, output
            figures(f"a reader beside a writer of {last} commits: {output.strip()}, torn reads 0")


def test_threads_search_while_another_adds_and_deletes(path, encoder):
    """By vectors, by keywords and by both. Every commit changes all BM25 scores: each search must give those of one."""
    base = corpus(300)
    query = base[7].text
    states = list(states_of(base, 60))
    expected = {
        tuple(np.float32(sorted(keyword_scores(state, query))[:-6:-1]).round(4)): number
        for number, state in enumerate(states)
    }
    failures, searches, done = [], dict.fromkeys(("vector", "keyword", "hybrid"), 0), threading.Event()
    with GlotIndex.create(path, encoder) as index:
        index.add(base)

        def by_vectors(hits, wanted):
            assert hits[0].id == wanted.id  # never touched by the writer: always there, always first
            scores = [hit.score for hit in hits]
            assert scores == sorted(scores, reverse=True)
            vectors = HashEncoder().vectors([hit.text for hit in hits])
            np.testing.assert_allclose(vectors @ HashEncoder().vectors([wanted.text])[0], scores, atol=1e-6)

        def look(mode, filter=None):
            generator, seen = np.random.default_rng(0), 0
            try:
                while not done.is_set():
                    wanted = base[int(generator.integers(0, 300))] if mode == "vector" else base[7]
                    hits = index.search(wanted.text, 5, filter, mode=mode)
                    if mode == "keyword":
                        number = expected[tuple(np.float32([hit.score for hit in hits]).round(4))]
                        assert number >= seen, "a search went back"
                        seen = number
                    elif mode == "vector" and (filter is None or wanted.metadata["even"]):
                        by_vectors(hits, wanted)
                    else:
                        assert all(hit.metadata["even"] for hit in hits) or filter is None
                        if mode == "hybrid":
                            assert (hits[0].id, hits[0].score) == (wanted.id, pytest.approx(1))
                    searches[mode] += 1
            except BaseException as error:
                failures.append(error)

        asked = [("vector",), ("vector", {"even": True}), ("keyword",), ("hybrid",)]
        threads = [threading.Thread(target=look, args=each) for each in asked]
        for thread in threads:
            thread.start()
        for step in range(60):
            index.add(added(step))
            index.delete([f"new {step % 10}"])
            if step % 20 == 0:
                index.checkpoint()
        done.set()
        for thread in threads:
            thread.join()
        assert failures == []
        assert min(searches.values()) > 5, searches
        assert sorted(document.id for document in index) == sorted(document.id for document in states[-1])
        assert index.verify().ok


def added(step):
    """Ten documents, longer with each step."""
    return [Document(f"new {step} {i}" + " grown" * step, f"new {i}", {"even": True}) for i in range(10)]


def states_of(base, steps):
    """The documents before the first and after each commit of `steps` additions and deletions."""
    state = {document.id: document for document in base}
    yield list(state.values())
    for step in range(steps):
        state |= {document.id: document for document in added(step)}
        yield list(state.values())
        del state[f"new {step % 10}"]
        yield list(state.values())


def test_no_lock_keeps_threads_from_searching_at_once(index, encoder, monkeypatch):
    """Four searches meet inside of FAISS: with one lock around it, the first would wait there for ever."""
    index.add(corpus(50))
    meeting, original = threading.Barrier(4, timeout=60), FaissIndex.search

    def met(self, *args):
        meeting.wait()
        return original(self, *args)

    monkeypatch.setattr(FaissIndex, "search", met)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda number: index.search(f"text {number}", 3), range(4)))
    for number, hits in enumerate(found):
        assert_same_hits(hits, brute_force(encoder, corpus(50), f"text {number}", 3))


def test_reader_left_behind_by_two_checkpoints(index, path, encoder):
    """The deletions that it would replay are forgotten by then: it must take the new file."""
    index.add(corpus(20))
    with GlotIndex.open(path, encoder, read_only=True) as reader:
        assert reader.search("text 3", 1)[0].id == "d3"
        for step in range(3):
            index.delete([f"d{step + 3}"])
            index.add([Document(f"new {step}", f"new {step}")])
            index.checkpoint()
        assert {hit.id for hit in reader.search("text 3", 50)} == {document.id for document in index}
        assert reader.verify().problems == ()


def test_writers_in_threads_take_turns(index):
    def add(part):
        for step in range(10):
            index.add([Document(f"{part} {step}", f"{part}-{step}")])

    threads = [threading.Thread(target=add, args=[part]) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {document.id for document in index} == {f"{part}-{step}" for part in range(4) for step in range(10)}
    assert index.verify().ok


def test_many_threads_leave_few_connections(index):
    index.add(corpus(5))
    threads = [threading.Thread(target=index.search, args=["text 1"]) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(index._store._idle) <= 8


def test_closing_during_an_iteration(path, encoder):
    with GlotIndex.create(path, encoder) as index:
        index.add(corpus(5))
        iterator = iter(index)
        assert next(iterator).id == "d0"
        index.delete(["d3"])
        index.close()
        assert [document.id for document in iterator] == ["d1", "d2", "d3", "d4"]  # as of its start


def test_shared_lock_prefers_who_waits_to_be_alone():
    lock, order, inside = SharedLock(), [], threading.Event()

    def alone():
        inside.set()
        with lock.exclusive():
            order.append("alone")

    def shared():
        with lock.shared():
            order.append("shared")

    with lock.shared():
        with pytest.raises(ZeroDivisionError), lock.shared():  # several at once; released by an exception
            _ = 1 / 0
        first = threading.Thread(target=alone)
        first.start()
        inside.wait()
        while not lock._waiting:
            pass
        second = threading.Thread(target=shared)
        second.start()
        second.join(0.05)
        assert order == []
    first.join()
    second.join()
    assert order == ["alone", "shared"]
