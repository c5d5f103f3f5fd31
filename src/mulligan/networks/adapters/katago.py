"""KataGo's networks, which play Go: `katago:policy` (the one that the package katrain ships), `FILE.bin.gz:policy`.

A network has one body and several heads; the one that is named is its answer, the others are sites like any other.
"""

from __future__ import annotations

from pathlib import Path

from ...records import BadInput, Task
from ..inputs import ArrayInput
from ..network import Network
from ..parts import Part, head, heads, pattern
from .katago_files import read_model
from .katago_modules import GLOBALS, PLANES, POINTS, Attention, points
from .packages import shipped_file

_SUFFIXES = (".bin.gz", ".txt.gz")
_RESULTS = ("win", "loss", "no result")
_SCORES = (
    "score mean",
    "score deviation (before softplus)",
    "lead",
    "time left (before softplus)",
    "short-term value error (before softplus)",
    "short-term score error (before softplus)",
)
# What each head answers: names, task, the layer whose rows they are.
_HEADS: dict[str, tuple[tuple[str, ...], Task, str | None]] = {
    "policy": (points(), "classification", None),
    "optimistic": (points(), "classification", None),
    "value": (_RESULTS, "classification", "value_head.linear_valuehead"),
    "score": (_SCORES, "other", "value_head.linear_miscvaluehead"),
    "ownership": (points()[:-1], "other", None),
}
_BLOCK = "the stream after this block: its input plus what it adds (pre-norm), {channels} channels a point"
_MEANINGS = {
    "conv_spatial": "the 22 planes of the board, convolved: half of the stream's first value",
    "linear_global": "the 19 global features (komi, rules, passes): the other half, the same at each point",
    "norm_trunkfinal": "the last block's stream after the final norm, zero off the board",
    "act_trunkfinal": "what the heads read: the final norm after its nonlinearity",
    "": "the policy: logits of the 361 points, in the order of reading, and of passing",
    "[optimistic]": "the policy of a player who hopes to do better than expected, logits",
    "[value]": "logits of win, loss and no result, for the player to move",
    "[score]": "score mean, its deviation, lead, time left and (from version 9 on) two errors, before their scales",
    "[ownership]": "who will own each point, before tanh: above 0 the player to move",
    "*.blockstack.*.attention": "what attention adds to the stream of its block, [batch, point, channel]",
    "*.ffn_linear1": "the feed-forward layer's units before their nonlinearity",
    "*.ffn_act": "the feed-forward layer's units after SiLU, before the gate multiplies them",
    "*.ffn_linear2.in": "the feed-forward layer's units times their gate: what is read out into the stream",
    "*.gpool": "pooled over the board: means, means scaled by its width, maxima (value head: scaled again)",
}


class Katago:
    """`katago:HEAD` or `FILE.bin.gz:HEAD`, HEAD one of policy, optimistic, value, score and ownership.

    It takes arrays [41, 19, 19]: KataGo's 22 spatial planes (inputs of version 7), then its 19 global features, each
    spread over a plane (their mean is what counts). A smaller board stands at the top left, with zeros around it.
    """

    forms = ("katago:policy", "katago:value", "path/to/network.bin.gz:policy")

    def accepts(self, spec: str) -> bool:
        return spec == "katago" or spec.startswith("katago:") or _file(spec)[0].endswith(_SUFFIXES)

    def load(self, spec: str, weights: Path | None) -> Network:
        name, chosen = _file(spec)
        if chosen and chosen not in _HEADS:
            raise BadInput("a KataGo network has no such head", where=spec, fix=f"choose among {', '.join(_HEADS)}")
        if not chosen:
            raise BadInput(
                "a KataGo network has several heads, and none is named",
                where=spec,
                fix=f"write {name}:policy, or one of {', '.join(list(_HEADS)[1:])}",
            )
        shipped = name == "katago" and weights is None
        found = read_model(shipped_file("katrain", "models/*.bin.gz") if shipped else weights or Path(name))
        if chosen == "optimistic" and found.version < 12:
            raise BadInput(
                f"this network is of version {found.version} and has no optimistic policy", where=spec, fix="use policy"
            )
        names, task, layer = _HEADS[chosen]
        module, channels = found.module, found.module.conv_spatial.out_channels
        block = _BLOCK.format(channels=channels)
        return Network(
            module,
            name=f"{found.name}:{chosen}",
            input=ArrayInput(shape=(PLANES + GLOBALS, POINTS, POINTS)),
            classes=names[: module.value_head.linear_miscvaluehead.out_features] if chosen == "score" else names,
            task=task,
            parts=[
                part
                for path, inner in module.named_modules()
                if isinstance(inner, Attention)
                for part in _parts(path, inner.heads)
            ],
            meanings={f"blocks.{number}": block for number in range(len(module.blocks))} | _MEANINGS,
            answer=lambda out: out[chosen],
            head=layer,
        )


def _file(spec: str) -> tuple[str, str]:
    """The network's name or file, and its head ("" if none is named)."""
    if spec == "katago" or spec.endswith(_SUFFIXES):
        return spec, ""
    name, _, chosen = spec.rpartition(":")
    return name, chosen


def _parts(attention: str, count: int) -> list[Part]:
    """Attention patterns and heads; positions are points in the order of reading, from the top left."""
    out = f"{attention}.out_proj"
    weights = "attention weights after the softmax, from each point (query) to each (key)"
    whole = "each head's mix of values, before the output projection"
    return [
        pattern(attention, count, weights),
        heads(attention, out, count, whole),
        *(head(attention, out, count, index, f"head {index}'s mix of values, before the output projection")
          for index in range(count)),
    ]  # fmt: skip


ADAPTER = Katago()
