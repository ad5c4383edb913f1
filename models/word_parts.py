"""Which words of a text make an n-gram model's score: parts that add up to it."""

from __future__ import annotations

import numpy as np

from feedmill.events.limits import MAX_TEXT_CHARACTERS
from feedmill.features.text.byte_rows import ByteRows, Indices, TokenBlock, word_bounds
from feedmill.features.text.ngrams import TextBatch
from feedmill.models.text_model import NgramModel, Scores


def word_parts(model: NgramModel, text: str) -> dict[str, float]:
    """Return what each word adds to the score of a text, without the model's bias.

    An n-gram of bytes counts for the words that its bytes are in, in equal parts; what is between
    words counts for the word before it, and a pair of words for both.  Words are as the model reads
    them: in lower case, disguises undone.  Equal words count together.
    """
    batch = TextBatch([text])
    (chunk,) = batch.chunks
    clean = bytes(chunk.raw.buffer[1 : chunk.raw.ends[0] - 1]).decode("utf-8", "replace")
    folded = clean if clean.isascii() else clean.lower()[:MAX_TEXT_CHARACTERS]
    rows = ByteRows.of([folded.lower()])
    starts, ends, _, _ = word_bounds(rows)
    parts = np.zeros(max(len(starts), 1))
    # The byte n-grams come first, the shortest of 3 bytes; then words, then pairs.
    sizes = iter((3, 4, 5))
    spans = iter((1, 2))
    for block in chunk.blocks:
        weights = _weights(model, block)
        if block.words:
            span = next(spans)
            for offset in range(span):
                parts[offset : offset + len(weights)] += weights / span
        else:
            _add_bytes(parts, weights, int(block.starts[0]), next(sizes), starts)
    parts *= model.scale / float(batch.norms[0])
    names = [
        bytes(rows.buffer[start:end]).decode("utf-8", "replace")
        for start, end in zip(starts, ends, strict=True)
    ] or [folded.strip()]
    added: dict[str, float] = {}
    for name, part in zip(names, parts.tolist(), strict=True):
        added[name] = added.get(name, 0.0) + part
    return added


def _weights(model: NgramModel, block: TokenBlock) -> Scores:
    """Return what each token of the only row weighs, before the model's scale."""
    tokens = block.tokens[block.starts[0] : block.ends[0]]
    factor = model.word_factor if block.words else 1
    return model.weights[tokens].astype(np.float64) * factor


def _add_bytes(parts: Scores, weights: Scores, first: int, size: int, starts: Indices) -> None:
    """Add n-grams of so many bytes, the first of which begins at byte `first`."""
    for offset in range(size):
        place = np.arange(first + offset, first + offset + len(weights))
        word = np.maximum(np.searchsorted(starts, place, side="right") - 1, 0)
        np.add.at(parts, word, weights / size)
