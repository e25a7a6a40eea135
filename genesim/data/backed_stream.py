"""`BackedStream`: shuffled minibatches of counts on disk, in bounded memory and read ahead.

Chunks of neighbouring cells are read in random order and mixed, some dozens at a time, in a buffer whose cells are
shuffled: disks and compression ask for neighbours, gradients for a mixture.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property, lru_cache

import numpy as np
from scipy import sparse

from genesim import rng
from genesim.data.backed import BackedCounts
from genesim.data.stream import checked_rows, joined, most_stored, on_host, packed, padded_rows, refuse_empty
from genesim.types import Condition, Minibatch

CHUNK = 256
"""Cells that are read together."""
_BUFFER_BYTES = 128 * 2**20
_CHUNKS = (8, 64)  # fewest and most chunks in a buffer
_N_HELD = 4  # buffers in memory: a minibatch can need two, one is being read, one spares the last


class BackedStream:
    """Shuffled minibatches of `BackedCounts`, a pure function of (seed, step).

    Epochs are one endless row of orders; step s takes the positions [s * minibatch_size, (s + 1) * minibatch_size),
    so every cell is seen once an epoch and no step holds padding. In an epoch the chunks come in random order, and
    each `chunks_per_buffer` of them are shuffled together. Counts that fit one buffer have the order of `ArrayStream`.

    One thread reads the buffer that comes next. At most `_N_HELD` buffers, of about `_BUFFER_BYTES` each, are held.

    Args:
        counts: Cell x gene, on disk; the file stays open while the stream is used.
        condition: One row a cell.
        minibatch_size: Cells in a step.
        seed: The user's seed.
        name: Tells apart the streams of one run ("train", "validation").
        chunks_per_buffer: How many chunks are shuffled together; None takes as many as fit a buffer, 8 to 64.

    Raises:
        InputError: The rows of `counts` and `condition` differ in number, or the size is not positive.
    """

    constant = False

    def __init__(
        self,
        counts: BackedCounts,
        condition: Condition,
        minibatch_size: int,
        seed: int,
        name: str = "",
        chunks_per_buffer: int | None = None,
    ) -> None:
        checked_rows(counts, condition, minibatch_size)
        self._counts = counts
        self._condition = on_host(condition)
        self.minibatch_size = minibatch_size
        self.seed = seed
        self.name = name
        chunk_bytes = 8 * CHUNK * max(float(counts.stored.mean()), 1.0) if len(counts.stored) else 1.0
        self.chunks_per_buffer = chunks_per_buffer or int(np.clip(_BUFFER_BYTES // chunk_bytes, *_CHUNKS))
        self._capacity = most_stored(counts.stored, minibatch_size)
        self._order = lru_cache(maxsize=4)(self._draw_order)
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="genesim-read")
        self._buffers: OrderedDict[tuple[int, int], Future[sparse.csr_matrix]] = OrderedDict()

    @property
    def n_examples(self) -> int:
        return self._counts.shape[0]

    @cached_property
    def fingerprint(self) -> str:
        settings = ("backed", self.minibatch_size, self.seed, self.name, CHUNK, self.chunks_per_buffer)
        digest = hashlib.sha256(repr((settings, self._counts.digest)).encode())
        condition = self._condition
        for array in (self._counts.rows, condition.categories, condition.continuous, condition.log_library):
            digest.update(f"{array.dtype}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).view(np.uint8).reshape(-1).data)
        return digest.hexdigest()

    def _draw_order(self, epoch: int) -> list[np.ndarray]:
        """Cells of each buffer of an epoch, in the order in which they are given."""
        n, size = self.n_examples, CHUNK * self.chunks_per_buffer
        if n <= size:
            return [rng.generator(self.seed, "stream", self.name, epoch).permutation(n)]
        chunks = rng.generator(self.seed, "stream", self.name, epoch).permutation(-(-n // CHUNK))
        cells = (chunks[:, None] * CHUNK + np.arange(CHUNK)).ravel()
        buffers = np.split(cells, range(size, len(cells), size))
        shuffle = rng.generator(self.seed, "stream", self.name, epoch, "buffers")
        return [shuffle.permutation(buffer[buffer < n]) for buffer in buffers]

    def _buffer(self, epoch: int, number: int) -> sparse.csr_matrix:
        """Counts of one buffer; the next one is asked for at once."""
        following = (epoch, number + 1) if number + 1 < len(self._order(epoch)) else (epoch + 1, 0)
        for place in ((epoch, number), following):
            if place not in self._buffers:
                self._buffers[place] = self._reader.submit(self._read, *place)
            self._buffers.move_to_end(place)
        while len(self._buffers) > _N_HELD:
            self._buffers.popitem(last=False)[1].cancel()
        return self._buffers[epoch, number].result()

    def _read(self, epoch: int, number: int) -> sparse.csr_matrix:
        return self._counts[self._order(epoch)[number]]

    def _pieces(self, step: int) -> Iterator[tuple[int, int, slice]]:
        """Epoch, buffer and part of it, one after another, that make up a step."""
        refuse_empty(self.n_examples)
        position, wanted = step * self.minibatch_size, self.minibatch_size
        while wanted:
            epoch, within = divmod(position, self.n_examples)
            ends = np.cumsum([len(cells) for cells in self._order(epoch)])
            number = int(np.searchsorted(ends, within, side="right"))
            first = within - (int(ends[number - 1]) if number else 0)
            taken = min(wanted, int(ends[number]) - within)
            yield epoch, number, slice(first, first + taken)
            position, wanted = position + taken, wanted - taken

    def rows(self, step: int) -> np.ndarray:
        """Row numbers of the cells in `step`; nothing is read."""
        return np.concatenate([self._order(epoch)[number][part] for epoch, number, part in self._pieces(step)])

    def __call__(self, step: int) -> Minibatch:
        """Minibatch of `step`; all weights are 1."""
        parts = [self._buffer(epoch, number)[part] for epoch, number, part in self._pieces(step)]
        counts = parts[0] if len(parts) == 1 else sparse.vstack(parts, format="csr")
        return joined(packed(counts, self._capacity), self._condition, self.rows(step), self.minibatch_size)

    def ordered(self) -> Iterator[Minibatch]:
        """All cells once, in order; the last minibatch is padded to the same shape with weight 0."""
        refuse_empty(self.n_examples)
        for start in range(0, self.n_examples, self.minibatch_size):
            rows, n_real = padded_rows(start, self.minibatch_size, self.n_examples)
            yield joined(packed(self._counts[rows], self._capacity), self._condition, rows, n_real)

    def close(self) -> None:
        """Let the reading thread finish; to be called before the file is closed."""
        self._reader.shutdown(wait=True, cancel_futures=True)
