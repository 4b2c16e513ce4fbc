"""A reader process: searches until it sees the last generation. Run by test_index_concurrency.py."""

import sys

from hash_encoder import HashEncoder

from glot_rag.index import GlotIndex


def main():
    path, last = sys.argv[1], int(sys.argv[2])
    generation = searches = generations = 0
    with GlotIndex.open(path, HashEncoder(), read_only=True) as index:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while generation < last:
            mode = ("vector", "keyword", "hybrid")[searches % 3]
            hits = index.search(f"generation {generation}", 10, mode=mode)
            texts = {hit.text for hit in hits}
            seen = {hit.metadata["generation"] for hit in hits}
            if len(hits) != 3 or len(seen) != 1 or texts != {f"generation {min(seen)}"} or min(seen) < generation:
                sys.stdout.write(f"torn: {hits}\n")
                return
            generations += min(seen) != generation
            generation = min(seen)
            searches += 1
    sys.stdout.write(f"{searches} searches, {generations} generations\n")


main()
