"""What a network answers: accuracy with its interval, calibration, errors by class, beside a random-weight twin."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from ...evidence import bootstrap, fraction, mean
from ...records import Behaviour, ClassBehaviour, ExampleRef, Quantity, ReliabilityBin
from ...runs import generator

BINS = 10


@dataclass(frozen=True, slots=True)
class Answers:
    """A network's answers on data, as recorded.

    Attributes:
        logits: [n, classes] of a classifier, else None.
        token, answer, loss, confidence: [n, position] of a language model (see `activations.recording`), else None.
        embedding: [n, features] of an encoder, else None.
    """

    logits: Float[np.ndarray, "n classes"] | None = None
    token: Int[np.ndarray, "n position"] | None = None
    answer: Int[np.ndarray, "n position"] | None = None
    loss: Float[np.ndarray, "n position"] | None = None
    confidence: Float[np.ndarray, "n position"] | None = None
    embedding: Float[np.ndarray, "n features"] | None = None


def softmax(logits: Float[np.ndarray, "n classes"]) -> Float[np.ndarray, "n classes"]:
    """Probabilities, in float64."""
    shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
    out = np.exp(shifted)
    return out / out.sum(1, keepdims=True)


def classifier(
    answers: Answers,
    twin: Answers | None,
    labels: Int[np.ndarray, " n"],
    twin_labels: Int[np.ndarray, " m"],
    names: Sequence[str],
    preparation: Sequence[str],
    examples: Sequence[ExampleRef],
    seed: int,
    notes: Sequence[str] = (),
) -> Behaviour:
    """Behaviour of a classifier; without labels, what it answers and how surely."""
    assert answers.logits is not None
    chances = softmax(answers.logits)
    said = chances.argmax(1)
    sure = chances.max(1)
    known = labels >= 0
    figures = _figures(chances, labels, seed)
    floor = _figures(softmax(twin.logits), twin_labels, seed) if twin is not None and twin.logits is not None else {}
    classes: list[ClassBehaviour] = []
    if known.any():
        for c in np.unique(labels[known]):
            mine = labels == c
            wrong = Counter(names[int(a)] for a in said[mine] if a != c)
            classes.append(
                ClassBehaviour(
                    name=names[int(c)],
                    n=int(mine.sum()),
                    recall=fraction(
                        int((said[mine] == c).sum()), int(mine.sum()), "fraction of the class answered right"
                    ),
                    answered=int((said == c).sum()),
                    confused_with=tuple(wrong.most_common(3)),
                )
            )
    classes.sort(key=lambda c: (c.recall.value, -c.n, c.name))
    return Behaviour(
        task="classification",
        n=len(said),
        figures=figures,
        twin=floor,
        preparation=tuple(preparation),
        classes=tuple(classes),
        reliability=reliability(sure[known], said[known] == labels[known]) if known.any() else (),
        errors=tuple(examples),
        notes=tuple(notes),
    )


def _figures(chances: Float[np.ndarray, "n classes"], labels: Int[np.ndarray, " n"], seed: int) -> dict[str, Quantity]:
    known = labels >= 0
    sure = chances.max(1)
    out: dict[str, Quantity] = {}
    if known.any():
        p, y = chances[known], labels[known]
        right = p.argmax(1) == y
        out["accuracy"] = fraction(int(right.sum()), len(y), "fraction of images answered right")
        if chances.shape[1] > 10:
            top = np.argpartition(-p, 5, axis=1)[:, :5]
            out["top-5 accuracy"] = fraction(
                int((top == y[:, None]).any(1).sum()),
                len(y),
                "fraction of images whose class is among the five likeliest",
            )
        out["loss"] = mean(-np.log(np.maximum(p[np.arange(len(y)), y], 1e-12)), "nats an image")
        pairs = np.stack([p.max(1), right.astype(float)], 1)
        out["calibration error"] = bootstrap(
            pairs,
            "mean gap between confidence and accuracy (10 bins)",
            expected_calibration_error,
            generator(seed, "ece"),
            repeats=300,
        )
    out["confidence"] = mean(sure, "probability given to the answer")
    return out


def expected_calibration_error(pairs: Float[np.ndarray, "n 2"]) -> float:
    """Mean over 10 equal-width bins of |confidence - accuracy|, weighted by count (Guo et al. 2017,
    arXiv:1706.04599).
    """
    bins = np.minimum((pairs[:, 0] * BINS).astype(int), BINS - 1)
    total = 0.0
    for b in range(BINS):
        inside = pairs[bins == b]
        if len(inside):
            total += len(inside) / len(pairs) * abs(float(inside[:, 0].mean() - inside[:, 1].mean()))
    return total


def reliability(sure: Float[np.ndarray, " n"], right: np.ndarray) -> tuple[ReliabilityBin, ...]:
    """Ten bins of confidence; empty ones are left out."""
    bins = np.minimum((sure * BINS).astype(int), BINS - 1)
    out = []
    for b in range(BINS):
        mine = bins == b
        if mine.any():
            accuracy = fraction(int(right[mine].sum()), int(mine.sum()), "fraction right")
            out.append(
                ReliabilityBin(
                    low=b / BINS,
                    high=(b + 1) / BINS,
                    n=int(mine.sum()),
                    confidence=float(sure[mine].mean()),
                    accuracy=accuracy,
                )
            )
    return tuple(out)


def language(
    answers: Answers, twin: Answers | None, preparation: Sequence[str], seed: int, notes: Sequence[str] = ()
) -> Behaviour:
    """Behaviour of a language model: loss and accuracy of the next token; texts, not tokens, are the independent
    units.
    """
    assert answers.loss is not None
    assert answers.confidence is not None
    assert answers.answer is not None
    assert answers.token is not None
    valid = answers.token >= 0
    return Behaviour(
        task="language",
        n=len(answers.loss),
        figures=_token_figures(answers, seed),
        twin=_token_figures(twin, seed) if twin is not None else {},
        preparation=tuple(preparation),
        reliability=reliability(answers.confidence[valid].astype(np.float64), (answers.answer == answers.token)[valid]),
        notes=tuple(notes),
    )


def _token_figures(answers: Answers, seed: int) -> dict[str, Quantity]:
    assert answers.loss is not None
    assert answers.answer is not None
    assert answers.token is not None
    assert answers.confidence is not None
    valid = answers.token >= 0
    count = valid.sum(1)
    keep = count > 0
    loss = np.where(valid, answers.loss, 0).sum(1)[keep]
    right = ((answers.answer == answers.token) & valid).sum(1)[keep]
    count = count[keep]
    rows = np.stack([loss, right, count], 1).astype(np.float64)
    rng = generator(seed, "tokens")
    ratio = lambda k: lambda r: float(r[:, k].sum() / max(r[:, 2].sum(), 1))  # noqa: E731
    out = {
        "loss": bootstrap(rows, "nats a token", ratio(0), rng, repeats=500),
        "perplexity": bootstrap(
            rows, "of the next token", lambda r: float(np.exp(min(ratio(0)(r), 50.0))), rng, repeats=500
        ),
        "next-token accuracy": bootstrap(
            rows, "fraction of next tokens that are the likeliest answer", ratio(1), rng, repeats=500
        ),
    }
    pairs = np.stack([answers.confidence[valid], (answers.answer == answers.token)[valid]], 1).astype(np.float64)
    if len(pairs):
        out["calibration error"] = Quantity(
            value=expected_calibration_error(pairs),
            unit="mean gap between confidence and accuracy (10 bins)",
            n=len(pairs),
        )
    return out


def embedding(
    answers: Answers, twin: Answers | None, preparation: Sequence[str], seed: int, notes: Sequence[str] = ()
) -> Behaviour:
    """Behaviour of an encoder: how spread out its embeddings are (all alike would be a collapse)."""
    figures = _embedding_figures(answers, seed)
    return Behaviour(
        task="embedding",
        n=len(answers.embedding) if answers.embedding is not None else 0,
        figures=figures,
        twin=_embedding_figures(twin, seed) if twin is not None else {},
        preparation=tuple(preparation),
        notes=tuple(notes),
    )


def _embedding_figures(answers: Answers, seed: int) -> dict[str, Quantity]:
    values = answers.embedding
    if values is None or len(values) < 3:
        return {}
    unit = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    rng = generator(seed, "embedding")
    order = rng.permutation(len(unit))
    # Disjoint pairs are independent, so Student's interval holds.
    pairs = order[: len(order) // 2 * 2].reshape(-1, 2)
    cosine = (unit[pairs[:, 0]] * unit[pairs[:, 1]]).sum(1)
    centred = values - values.mean(0)
    energy = np.linalg.svd(centred, compute_uv=False) ** 2
    return {
        "likeness of two random examples": mean(cosine, "cosine"),
        "effective dimensions": Quantity(
            value=float(energy.sum() ** 2 / max((energy**2).sum(), 1e-30)),
            unit="participation ratio of the covariance",
            n=len(values),
        ),
    }
