"""Concepts of texts: topics, told by what a text means, and tokens, told by whether a text holds them.

What a text means is a vector of the sentence encoder `minilm-l6` (Wang et al. 2020, arXiv:2002.10957), another network
than the one that is looked at. A topic fits a text whose cosine to its name is as large as the largest tenth is among
the texts that nothing is scored on.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from ...networks import Network, TokenInput, load
from .vocabulary import Concept, Vocabulary

ENCODER = "minilm-l6"
#: The share of texts that a topic fits.
SHARE = 0.1
#: Tokens that are offered as names: the commonest that most texts do not hold.
MOST_TOKENS = 400
_BATCH = 32
_LONGEST = 2000  # characters: more than the encoder reads

TOPICS = (
    "animals", "architecture and buildings", "art and painting", "astronomy and space", "aviation", "biology",
    "birds", "books and literature", "business and money", "chemistry", "childhood and family", "cities and towns",
    "computers and software", "cooking and food", "crime and police", "dates and numbers", "death and funerals",
    "disease and medicine", "economics", "education and schools", "elections and politics", "engineering", "fashion",
    "film and cinema", "football and team sports", "geography and maps", "government and law", "history",
    "hurricanes and weather", "instructions", "language and grammar", "love and marriage", "mathematics",
    "military and war", "music and songs", "mythology", "names of people", "nature and plants", "newspapers",
    "oceans and ships", "philosophy", "physics", "poetry", "questions", "quotations and speech", "railways",
    "religion and churches", "rivers and mountains", "roads and cars", "royalty", "science and research",
    "television series", "theatre", "travel", "video games", "weapons", "work and labour",
)  # fmt: skip


@cache
def _encoder() -> Network:
    return load(ENCODER)


def embed(texts: Sequence[str]) -> Float[np.ndarray, "n dimension"]:
    """What each text means, as a vector of length 1.

    Raises:
        BadInput: if the encoder is not installed.
    """
    network = _encoder()
    assert isinstance(network.input, TokenInput)
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    parts = []
    with torch.no_grad():
        for begin in range(0, len(order), _BATCH):
            some = [texts[row][:_LONGEST] or " " for row in order[begin : begin + _BATCH]]
            parts.append(network.logits(*network.input.encode(some)).float().cpu().numpy())
    found = np.concatenate(parts) if parts else np.zeros((0, 1), np.float32)
    found = found[np.argsort(order)]
    return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)


class TextVocabulary(Vocabulary):
    """A vocabulary of texts, which can also judge a name that is none of its concepts: by what the name means.

    Args:
        meaning: what each text means. search: rows of the texts that nothing is scored on.
    """

    def __init__(
        self,
        concepts: Sequence[Concept],
        meaning: Float[np.ndarray, "n dimension"],
        search: Int[np.ndarray, " k"],
        name: str = "vocabulary",
    ) -> None:
        super().__init__(concepts, name)
        self._meaning, self._search_rows = meaning, search

    def _only(self, concepts: Sequence[Concept]) -> TextVocabulary:
        return TextVocabulary(concepts, self._meaning, self._search_rows, self.name)

    def judge(self, label: str, rows: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """See `Overseer`."""
        found = super().judge(label, rows)
        if np.isfinite(found).any():
            return found
        (concept,) = topic_concepts(self._meaning, [label], self._search_rows)
        return concept.judged[rows]


def text_vocabulary(
    texts: Sequence[str], search: Int[np.ndarray, " k"], topics: Sequence[str], input: TokenInput | None
) -> TextVocabulary:
    """Topics, and with the network's own tokenizer tokens, judged on all texts.

    Args:
        search: rows of the texts that nothing is scored on. topics: names.
    """
    meaning = embed(texts)
    concepts = topic_concepts(meaning, topics, search)
    if input is not None:
        concepts = [*concepts, *token_concepts(texts, search, input)]
    return TextVocabulary(concepts, meaning, search)


def topic_concepts(
    texts: Float[np.ndarray, "n dimension"], names: Sequence[str], search: Int[np.ndarray, " k"]
) -> list[Concept]:
    """Topics by name: 0.5 at the cosine that a tenth of the texts at `search` exceed."""
    cosines = texts @ embed([name.replace("_", " ") for name in names]).T
    threshold = np.quantile(cosines[search], 1 - SHARE, axis=0)
    judged = np.clip(0.5 + (cosines - threshold), 0, 1)
    return [Concept(name, judged[:, number]) for number, name in enumerate(names)]


def token_concepts(texts: Sequence[str], search: Int[np.ndarray, " k"], input: TokenInput) -> list[Concept]:
    """Tokens of the network's own vocabulary that between 1 % and half of the texts at `search` hold."""
    held: list[np.ndarray] = []
    for begin in range(0, len(texts), 256):
        ids, mask = input.encode(list(texts[begin : begin + 256]))
        held += [np.unique(row[there].numpy()) for row, there in zip(ids, mask.bool(), strict=True)]
    tokens, counts = np.unique(np.concatenate([held[row] for row in search]), return_counts=True)
    able = (counts >= 0.01 * len(search)) & (counts <= 0.5 * len(search))
    chosen = tokens[able][np.argsort(-counts[able], kind="stable")[:MOST_TOKENS]]
    names = input.tokens([int(token) for token in chosen])
    concepts, seen = [], set()
    for token, name in zip(chosen, names, strict=True):
        said = f"texts with the token {name!r}"
        fit: Bool[np.ndarray, " n"] = np.array([bool(np.isin(token, row)) for row in held])
        if said not in seen:
            concepts.append(Concept(said, fit.astype(np.float64)))
        seen.add(said)
    return concepts
