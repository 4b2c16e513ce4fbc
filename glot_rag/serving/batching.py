"""One model for many clients: texts of several requests go through it together, and no request holds up the others."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import numpy as np

from glot_rag.embedder import Embedder, Vectors
from glot_rag.serving.limits import RETRY_AFTER
from glot_rag.serving.replies import ApiError

T = TypeVar("T")

Kind = Literal["document", "query"]


@dataclass(eq=False)
class _Job:
    """Texts of one request, or a call that needs the model.

    Attributes:
        kind: what the texts are; None for a call.
        texts: N of them.
        tokens: of each.
        done: what the client waits for; cancelled if it went away.
        call: to be made; None for texts.
        next: the first text that has not been read yet.
        vectors: of the texts that were.
    """

    kind: Kind | None
    texts: Sequence[str]
    tokens: Sequence[int]
    done: asyncio.Future[Any]
    call: Callable[[], Any] | None = None
    next: int = 0
    vectors: list[Vectors] = field(default_factory=list)

    @property
    def waiting_tokens(self) -> int:
        return sum(self.tokens[self.next :])


class Batcher:
    """Runs an encoder in one thread for many requests.

    Requests take turns: a batch holds some texts of each, up to a token budget, so that a short request does not wait
    for a long one. The texts of a client that went away are left out from the next batch on.

    Args:
        encoder: makes the vectors.
        batch_tokens: tokens of a batch.
        waiting_tokens: tokens that may wait; with more, `encode` and `call` refuse.
        observe: called with the number of texts and of tokens of each batch.
    """

    def __init__(
        self, encoder: Embedder, batch_tokens: int, waiting_tokens: int, observe: Callable[[int, int], None]
    ) -> None:
        self._encoder = encoder
        self._batch_tokens = batch_tokens
        self._most_waiting = waiting_tokens
        self._observe = observe
        self._jobs: deque[_Job] = deque()
        self._waiting = 0
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="glot-rag-model")
        self._loop_task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Tokens that wait."""
        return self._waiting

    def start(self) -> None:
        """Begin; in the event loop that serves."""
        self._loop_task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """End: what is running is finished, what waits is not."""
        if self._loop_task is not None:
            self._loop_task.cancel()
            await asyncio.gather(self._loop_task, return_exceptions=True)
        await asyncio.to_thread(self._thread.shutdown)

    async def encode(self, texts: Sequence[str], tokens: Sequence[int], kind: Kind) -> Vectors:
        """Embed texts.

        Args:
            texts: N of them.
            tokens: the number of tokens of each.
            kind: what they are.

        Returns:
            (N, D) float32.

        Raises:
            ApiError: too much waits already (429).
        """
        found: Vectors = await self._queue(kind, texts, tokens, None)
        return found

    async def call(self, function: Callable[[], T], tokens: int) -> T:
        """Call something that runs the model, in its turn.

        Args:
            function: without arguments.
            tokens: about how many it will read.
        """
        found: T = await self._queue(None, (), (tokens,), function)
        return found

    async def _queue(
        self, kind: Kind | None, texts: Sequence[str], tokens: Sequence[int], call: Callable[[], Any] | None
    ) -> Any:
        if self._waiting and self._waiting + sum(tokens) > self._most_waiting:
            raise ApiError(
                429, f"{self._waiting:,} tokens wait for the model: try again", code="busy", retry_after=RETRY_AFTER
            )
        job = _Job(kind, texts, tokens, asyncio.get_running_loop().create_future(), call)
        self._jobs.append(job)
        self._waiting += sum(tokens)
        self._wake.set()
        try:
            return await job.done
        finally:
            if job in self._jobs:  # the client went away
                self._jobs.remove(job)
                self._waiting -= job.waiting_tokens

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            while not self._jobs:
                self._wake.clear()
                await self._wake.wait()
            first = self._jobs[0]
            if first.call is not None:
                await self._run_call(loop, first)
                continue
            parts = self._take(first.kind)
            texts = [text for job, start, end in parts for text in job.texts[start:end]]
            encode = self._encoder.encode_queries if first.kind == "query" else self._encoder.encode_documents
            try:
                vectors = await loop.run_in_executor(self._thread, encode, texts)
            except Exception as error:
                for job, _, _ in parts:
                    self._end(job, error=error)
                continue
            at = 0
            for job, start, end in parts:
                job.vectors.append(vectors[at : at + end - start])
                at += end - start
                if job.next == len(job.texts):
                    self._end(job, np.concatenate(job.vectors))

    async def _run_call(self, loop: asyncio.AbstractEventLoop, job: _Job) -> None:
        self._jobs.popleft()
        self._waiting -= job.waiting_tokens
        assert job.call is not None
        try:
            found = await loop.run_in_executor(self._thread, job.call)
        except Exception as error:
            self._end(job, error=error)
        else:
            self._end(job, found)

    def _end(self, job: _Job, found: Any = None, error: Exception | None = None) -> None:
        if job in self._jobs:
            self._jobs.remove(job)
            self._waiting -= job.waiting_tokens
        if not job.done.done():
            if error is None:
                job.done.set_result(found)
            else:
                job.done.set_exception(error)

    def _take(self, kind: Kind | None) -> list[tuple[_Job, int, int]]:
        """Texts for the next batch: (job, first, end). Those that have waited longest come first, one share each."""
        jobs = [job for job in self._jobs if job.kind == kind]
        share = max(1, self._batch_tokens // len(jobs))
        parts = []
        room = self._batch_tokens
        for job in jobs:
            if room <= 0:
                break
            start, used = job.next, 0
            while job.next < len(job.texts) and (used == 0 or used + job.tokens[job.next] <= min(share, room)):
                used += job.tokens[job.next]
                job.next += 1
            room -= used
            self._waiting -= used
            parts.append((job, start, job.next))
        for job, _, _ in parts:  # whoever had a turn goes to the end of the line
            self._jobs.remove(job)
            if job.next < len(job.texts):
                self._jobs.append(job)
        self._observe(sum(end - start for _, start, end in parts), self._batch_tokens - room)
        return parts
