"""Texts that are too long for the model lose whole attributes, the last first; the first is cut between words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llmemb_bench.base.errors import SpecError
from llmemb_bench.contracts import TextEncoder, Tokens
from llmemb_bench.values.recdata import Attributes, Items

NOTHING: Attributes = (("", "-"),)
"""What an item without attributes is cut to, in vain: its instruction alone is too long."""


@dataclass(frozen=True)
class CutTexts:
    """Texts as the model reads them."""

    texts: list[str]
    tokens: Tokens
    n_cut: int
    """Texts that were too long."""


def cut(encoder: TextEncoder, items: Items, views: Sequence[Attributes]) -> CutTexts:
    """The longest text of each view that fits into `max_tokens`, found by bisection for all long ones at once.
    A SpecError where not even the instruction fits."""
    encoder.instruction = items.prompt.instruction  # here, where its texts are made: nobody can forget it
    texts = [items.text(view) for view in views]
    whole = encoder.tokenize(texts)
    ids = list(whole.ids)
    long = [row for row, tokens in enumerate(ids) if len(tokens) > encoder.max_tokens]
    shortened = {row: _versions(views[row] or NOTHING) for row in long}
    fits, too_long = dict.fromkeys(long, 0), {row: len(shortened[row]) for row in long}
    while open_rows := [row for row in long if too_long[row] - fits[row] > 1]:
        middle = {row: (fits[row] + too_long[row]) // 2 for row in open_rows}
        tried = [items.text(shortened[row].view(middle[row])) for row in open_rows]
        for row, text, tokens in zip(open_rows, tried, encoder.tokenize(tried).ids, strict=True):
            if len(tokens) <= encoder.max_tokens:
                fits[row], texts[row], ids[row] = middle[row], text, tokens
            else:
                too_long[row] = middle[row]
    if hopeless := [row for row in long if not fits[row]]:
        raise SpecError(
            f"max_tokens {encoder.max_tokens} leaves no room for a text: {texts[hopeless[0]][:60]!r}",
            where="embeddings.encoder.max_tokens",
            fix="set more, or a shorter dataset.instruction",
        )
    return CutTexts(texts, Tokens(tuple(ids), whole.pad), len(long))


@dataclass(frozen=True)
class _Versions:
    """A view's shortened versions, numbered by length from 1: characters of the first word (some languages put no
    blank between words, and some words are links), words of the first attribute, then whole attributes."""

    attributes: Attributes
    words: list[str]

    @property
    def characters(self) -> int:
        return len(self.words[0]) - 1

    def __len__(self) -> int:
        return self.characters + len(self.words) + len(self.attributes) - 1

    def view(self, number: int) -> Attributes:
        name, _ = self.attributes[0]
        if number <= self.characters:
            return ((name, self.words[0][:number]),)
        number -= self.characters
        if number <= len(self.words):
            return ((name, " ".join(self.words[:number])),)
        return self.attributes[: number - len(self.words) + 1]


def _versions(attributes: Attributes) -> _Versions:
    return _Versions(attributes, attributes[0][1].split())
