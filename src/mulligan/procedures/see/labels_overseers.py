"""The overseers of one job: who proposes, and who says whether a person's label fits an example."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from ...activations import Plan, record
from ...datasets import Dataset, load_dataset
from ...features.labels import Concept, LanguageModel, Overseer, Vocabulary, class_concepts, grouped_concepts
from ...features.labels.endpoint import Chat
from ...features.labels.llm import Shown
from ...features.labels.probes import probed_concepts
from ...features.labels.text_vocabulary import TOPICS, embed, text_vocabulary
from ...networks import ImageInput, Network, TokenInput, trunk
from ...records import BadInput, LeftOut, Noted
from ...runs import generator
from ...visualization.examples import names_of
from ...visualization.heat import small
from .labels_naming import Material

if TYPE_CHECKING:
    from .labels import Request

#: Examples of the data, none of them scored on, that concepts of images are told from.
_BACKGROUND = 200
#: How much the meaning of classes' names counts beside the head, when classes are grouped.
_NAMES = 0.5


@dataclass(frozen=True, kw_only=True)
class Overseers:
    """Who proposes (None: only people have), who judges people's labels (None: nobody can), and what to say of it.

    Attributes:
        vocabulary: the built-in one, where the data give one.
        probed: the images of concepts that are judged by probes, and the layer that those read; else None.
    """

    name: str
    proposer: Overseer | None
    judge: Overseer | None
    vocabulary: Vocabulary | None
    probed: Probed | None = None
    chat: Chat | None = None
    notes: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()

    def sent(self) -> dict[str, Any]:
        """Where something was sent, and how often; empty where nothing left the machine."""
        if self.chat is None:
            return {}
        return {"url": self.chat.endpoint.url, "model": self.chat.endpoint.model, "requests": self.chat.sent}


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """Concepts given by images: a data set whose labels are concepts, and the site that probes read."""

    images: Dataset
    site: str
    names: tuple[str, ...]
    background: Sequence[int] = field(default_factory=tuple)


def build_overseers(material: Material, request: Request, peaks: np.ndarray | None) -> Overseers:
    """The overseers that a request asks for.

    Raises:
        BadInput: if the vocabulary is asked for and the data give none.
    """
    notes: list[str] = []
    left_out: list[LeftOut] = []
    probed, vocabulary = None, None
    if material.dataset.kind == "texts":
        if request.overseer == "vocabulary" or (request.overseer == "person" and request.endpoint is None):
            vocabulary = _of_texts(material, request.concepts)
    elif request.concepts is not None:
        probed = _images(material, request.concepts)
        vocabulary, left_out = judged_by_probes(material, material.network, probed, range(len(material.dataset)))
    else:
        vocabulary = _of_classes(material, notes)
    if vocabulary is not None:
        vocabulary = vocabulary.usable([material.search, material.test])
        if not vocabulary.concepts:
            vocabulary = None
    if request.overseer == "vocabulary" and vocabulary is None:
        raise BadInput(
            "no name fits enough examples of these data: a name must fit, and not fit, 5 in either half",
            where=material.dataset.source,
            fix="give more examples a class, or concepts with --concepts",
        )
    chat = model = None
    if request.endpoint is not None and request.overseer != "vocabulary":
        chat = Chat(request.endpoint, material.run)
        model = LanguageModel(chat, shower(material, peaks), material.seed)
        notes.append(f"Examples were sent to {request.endpoint.url}; the run's folder sent/ holds every question.")
    proposer = {"vocabulary": vocabulary, "llm": model, "person": None}[request.overseer]
    judge = model or vocabulary
    if vocabulary is not None and request.overseer == "vocabulary":
        notes.append(f"The vocabulary has {len(vocabulary.concepts)} names.")
    name = proposer.name if proposer is not None else "person"
    return Overseers(
        name=name, proposer=proposer, judge=judge, vocabulary=vocabulary, probed=probed, chat=chat,
        notes=tuple(notes), left_out=tuple(left_out),
    )  # fmt: skip


def search_fit(vocabulary: Vocabulary, values: Float[np.ndarray, "n units"], material: Material) -> float:
    """How well the vocabulary's best names fit units on the search half, the median over units."""
    return float(np.median(vocabulary.correlations(values[material.search], material.search).max(1)))


def _of_classes(material: Material, notes: list[str]) -> Vocabulary | None:
    """Class names, and groups of classes that are alike: to the network's head, and by what their names mean."""
    dataset = material.dataset
    if dataset.labels is None or not (dataset.labels >= 0).any():
        return None
    names = list(names_of(material.network, dataset))
    concepts = class_concepts(dataset.labels, names)
    few = len(concepts) < 4  # groups would be classes, or halves of the data
    alike = None if few else _alike(material.network, names, notes)
    if alike is not None:
        concepts += grouped_concepts(dataset.labels, names, alike)
    return Vocabulary(concepts)


def _alike(network: Network, names: Sequence[str], notes: list[str]) -> Float[np.ndarray, "classes dimension"] | None:
    """A vector for each class, near where classes are alike; None where neither head nor names say anything.

    The head knows what looks alike, and its groups are those that units serve; names keep out what only the network
    takes for alike.
    """
    parts: list[np.ndarray] = []
    with suppress(BadInput):
        rows = network.head_weights[0].float().cpu().numpy()
        if len(rows) == len(names):
            parts.append(_directions(rows))
    if all(any(c.isalpha() for c in name) for name in names):
        try:
            parts.append(_NAMES * _directions(embed([name.replace("_", " ") for name in names])))
        except BadInput:
            notes.append("The sentence encoder is not installed: what classes' names mean was not asked.")
    return np.concatenate(parts, 1) if parts else None


def _directions(rows: np.ndarray) -> np.ndarray:
    away = rows - rows.mean(0)
    return away / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-12)


def _of_texts(material: Material, concepts: Path | None) -> Vocabulary:
    dataset = material.dataset
    topics: Sequence[str] = TOPICS
    if concepts is not None:
        try:
            topics = [line.strip() for line in concepts.read_text(encoding="utf-8").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput("the topics cannot be read", where=concepts, fix="give a UTF-8 file, one a line") from error
        topics = list(dict.fromkeys(topics))
        if not topics:
            raise BadInput("the list of topics is empty", where=concepts, fix="write one a line")
    material.emit(Noted(text=f"reading {len(dataset)} texts with a sentence encoder"))
    texts = [str(text) for text in dataset.gather(np.arange(len(dataset)))]
    taken = material.network.input
    return text_vocabulary(texts, material.search, topics, taken if isinstance(taken, TokenInput) else None)


# Concepts by images
def _images(material: Material, folder: Path) -> Probed:
    if not isinstance(material.network.input, ImageInput):
        what = "concepts by images need a network that takes images"
        raise BadInput(what, where=folder, fix="give a network of images, or leave --concepts out")
    images = load_dataset(folder)
    if images.labels is None or images.label_names is None or images.kind != "images":
        raise BadInput("this folder holds no folders of images", where=folder, fix="make one folder a concept")
    others = [site.alias for site in trunk(material.network) if site.alias != material.site.alias]
    if not others:
        what = "the network has no other layer that could say where a concept is"
        raise BadInput(what, where=material.site.alias, fix="name units of another site")
    rng = generator(material.seed, "background of concepts")
    background = np.sort(rng.permutation(material.search)[:_BACKGROUND])
    return Probed(
        images=images, site=others[-1], names=tuple(images.label_names), background=tuple(background.tolist())
    )


def judged_by_probes(
    material: Material, network: Network, probed: Probed, rows: Sequence[int], job: str = "concepts"
) -> tuple[Vocabulary, list[LeftOut]]:
    """The concepts as a network's own probes judge them; of the data only `rows` and the background are looked at.

    A random-weight twin's probes are kept however badly they do.
    """
    strict = network is material.network
    plan = Plan((probed.site,), ("mean",), answers=False, batch=material.batch)
    name = f"{probed.site}|mean"

    def read(dataset: Dataset, part: str, indices: Sequence[int] | None = None) -> np.ndarray:
        return record(
            network, dataset, plan, material.run, engine=material.engine, emit=material.emit, job=f"{job}: {part}",
            index=f"tables/{job.replace(' ', '-')}-{part}.parquet", indices=indices,
        ).array(name)  # fmt: skip

    labels = probed.images.labels
    assert labels is not None
    seen = read(probed.images, "images")
    images = {title: seen[labels == number] for number, title in enumerate(probed.names)}
    wanted = np.unique(np.concatenate([np.asarray(rows, np.int64), np.asarray(probed.background, np.int64)]))
    data = read(material.dataset, "data", wanted.tolist())
    background = data[np.searchsorted(wanted, probed.background)]
    concepts, left_out = probed_concepts(images, background, data, material.seed, strict=strict)
    whole = []
    for concept in concepts:
        judged = np.full(len(material.dataset), np.nan)
        judged[wanted] = concept.judged
        whole.append(Concept(concept.name, judged))
    return Vocabulary(whole), left_out


# What a language model is shown
def shower(material: Material, peaks: np.ndarray | None) -> Any:
    """From a row, and a unit's alias where the place may be shown, to what is sent."""
    dataset, taken = material.dataset, material.network.input

    def show(row: int, feature: str | None) -> Shown:
        id = dataset.ids[row]
        raw = dataset.raw(row)
        if isinstance(raw, str):
            unit = int(feature.rpartition(":")[2]) if feature is not None else None
            if unit is None or peaks is None or not isinstance(taken, TokenInput):
                return Shown(id, text=raw[:1500])
            ids, mask = taken.encode([raw])
            words = taken.tokens(ids[0][mask[0].bool()])
            peak = int(peaks[row, unit])
            words = [f"<<{word}>>" if at == peak else word for at, word in enumerate(words)]
            return Shown(id, text="".join(words[max(0, peak - 60) : peak + 30]))
        if not isinstance(taken, ImageInput):
            return Shown(id, text=np.array2string(np.asarray(raw), threshold=200, precision=3))
        out = io.BytesIO()
        small(taken.crop(raw)).save(out, "PNG")
        return Shown(id, png=out.getvalue())

    return show
