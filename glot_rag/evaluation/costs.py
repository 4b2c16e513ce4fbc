"""What a document costs: every way of making documents searchable, timed alone on the same few texts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

# A way takes texts and does with them all that is done before a search.
Way = Callable[[Sequence[str]], object]

SAMPLE = 256  # documents at most; one batch of them at least
_BATCH, _SECONDS = 32, 2.0


def measure_costs(
    ways: Mapping[str, Way], texts: Sequence[str], clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Milliseconds a document of each way.

    Each way is run over one batch first, so that what happens once does not count, then over as many batches of the
    texts as two seconds take. One after another: what several ways share when they run together counts for each.

    Args:
        ways: by name.
        texts: N documents, not none.
        clock: seconds; for tests.
    """
    costs = {}
    for name, way in ways.items():
        way(texts[:_BATCH])
        done = 0
        start = clock()
        while done < len(texts) and (done == 0 or clock() - start < _SECONDS):
            batch = texts[done : done + _BATCH]
            way(batch)
            done += len(batch)
        costs[name] = 1000 * (clock() - start) / done
    return costs
