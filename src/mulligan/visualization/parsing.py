"""Objectives as people write them: `blocks.5:12 + 2 * blocks.5:40`, `-class tabby`, `layer blocks.5`."""

from __future__ import annotations

from collections.abc import Mapping

from ..attribution import find_class
from ..features.dictionaries import Dictionary
from ..networks import Network
from ..records import BadInput, parse_feature
from .objectives import Objective, channel, latent, layer, logit, neuron


def parse_objective(
    text: str, network: Network | None = None, dictionaries: Mapping[str, Dictionary] | None = None
) -> Objective:
    """Read an objective as people write it.

    `SITE:UNIT`, `SITE:UNIT@ROW,COLUMN`, `SITE@NAME:LATENT`, `class NAME`, `layer SITE`, `-a`, `a + 2 * b`.

    Args:
        network: whose classes are meant by name. dictionaries: by name, whose latents may be meant.

    Raises:
        BadInput: if a part of it is none of these.
    """
    total: Objective | None = None
    for sign, part in _parts(text):
        weight, star, rest = part.partition("*")
        one = _parse_term(rest.strip() if star else part, network, dictionaries or {})
        if star:
            try:
                one = float(weight) * one
            except ValueError as error:
                raise BadInput(
                    f"{weight.strip()!r} is not a number", where=text, fix="write 2 * SITE:UNIT"
                ) from error
        total = sign * one if total is None else total + sign * one
    if total is None:
        raise BadInput("this objective is empty", where=repr(text), fix="write SITE:UNIT, for example blocks.5:12")
    return total


def _parts(text: str) -> list[tuple[float, str]]:
    """The summands with their signs: a plus or minus counts only between blanks, or at the very beginning."""
    sign, words, parts = 1.0, [], []
    for word in text.strip().split():
        if word in ("+", "-") and words:
            parts.append((sign, " ".join(words)))
            sign, words = (1.0 if word == "+" else -1.0), []
        elif word in ("+", "-"):
            sign *= 1.0 if word == "+" else -1.0
        else:
            if not words and word.startswith("-") and len(word) > 1:
                sign, word = -sign, word[1:]
            words.append(word)
    return [*parts, (sign, " ".join(words))] if words else parts


def _parse_term(text: str, network: Network | None, dictionaries: Mapping[str, Dictionary]) -> Objective:
    kind, _, rest = text.partition(" ")
    if kind == "class" and rest:
        if network is not None and network.classes is not None:
            index = find_class(network, rest)
            return logit(index, network.classes[index])
        if rest.isdecimal():
            return logit(int(rest))
        raise BadInput("this network's classes have no names", where=rest, fix="give the class's number")
    if kind == "layer" and rest:
        return layer(rest)
    head, at, place = text.rpartition("@")
    if at and place and all(number.strip().isdecimal() for number in place.split(",")):
        feature = parse_feature(head)
        return neuron(feature.reads[0], feature.index, [int(number) for number in place.split(",")])
    feature = parse_feature(text)
    if not feature.dictionary:
        return channel(feature.reads[0], feature.index)
    if feature.dictionary not in dictionaries:
        raise BadInput("this dictionary is not known", where=text, fix="give its file with --dictionary")
    return latent(dictionaries[feature.dictionary], feature.index)
