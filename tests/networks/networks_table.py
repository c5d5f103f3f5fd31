"""The page that says what the sites of each family mean, written from the networks themselves."""

from __future__ import annotations

from collections.abc import Callable

from networks_families import ZOO, Family, transformers

from mulligan.networks import Network
from mulligan.networks.adapters.anatomy import Anatomy, examine
from mulligan.records import BadInput

HEAD = """\
# What the sites of a transformer are

This page is written by `tests/networks/test_networks_table.py` from small networks of each family, and a test holds it
against the code: do not edit it by hand.

A network that `hf:FOLDER` or `hf:ID` loads is looked at once while it runs. What is said of a site was proven then, by
comparing the tensors that passed: a block's output is called a residual stream only if it is the block's input plus
what its parts add. A family that is not listed is treated alike; what cannot be proven of it is not said.
`mulligan sites` lists the sites of your own network, each with its sentence.

How to read the tables: `N` is the number of a block. *Norms* says where the norms stand. *Heads and patterns* are at
the path `P` that stands there: `P#heads`, `P#head0`, `P#pattern`; all heads are what the output projection reads,
before it mixes them. *Streams within* are the block's own parts, `BLOCK#mid`: an edit there reaches what follows and
the skip past it. *Neurons* are what the feed-forward's last matrix reads. A dash means that there is none, or that none
could be proven.
"""

GROUPS = {
    "Language models": lambda family: family.task == "language" and _takes(family) == "texts" and not _both(family),
    "Encoder-decoders": lambda family: _both(family),
    "Encoders and classifiers of texts": lambda family: family.task != "language" and _takes(family) == "texts",
    "Classifiers and encoders of pictures": lambda family: _takes(family) == "pictures",
}

NOTES = {
    "Encoder-decoders": "One text is given to both: the encoder reads all of it, the decoder the start token and then "
    "the same text, one place later. Encoder and decoder so have as many places as the text has tokens. The decoder's "
    "answer at a place is of the text's token there; `Network.logits` moves the answers by one, so that they are of "
    "the next token, as in every language model here. `#mid-attention` is the stream between self-attention and "
    "cross-attention.",
    "Encoders and classifiers of texts": "An encoder's answer is one vector a text: pooled as the folder's "
    "`modules.json` says (sentence-transformers), without one the mean over the tokens, at length 1; of CLIP and "
    "SigLIP their own.",
    "Classifiers and encoders of pictures": "An encoder's answer is one vector a picture: what the network projects it "
    "to (CLIP), else what its pooler gives, else its first token.",
}


def page(loaded: Callable[[str], Network]) -> str:
    """The page's text."""
    examples: dict[str, tuple[str, list[str]]] = {}
    tables = []
    for title, belongs in GROUPS.items():
        rows = [
            "| family | blocks | norms | heads and patterns | streams within | neurons | answer |",
            "|---" * 7 + "|",
        ]
        remarks = []
        for name, family in ZOO.items():
            if belongs(family):
                network = loaded(name)
                x, mask = network.example()
                found = examine(network.module, lambda network=network, x=x, mask=mask: network(x, mask))
                rows += _rows(family, network, found)
                remarks += [f"- {family.shown}: {family.note}"] if family.note else []
                for path, kind in found.blocks.items():
                    examples.setdefault(kind, (family.shown, _sentences(network, found, path)))
        note = f"\n{NOTES[title]}\n" if title in NOTES else ""
        listed = "\n".join(["", *remarks, ""]) if remarks else ""
        tables.append(f"\n## {title}\n{note}\n" + "\n".join(rows) + "\n" + listed)
    kinds = "\n".join(
        f"\n### {kind}\n\nOf {shown}:\n\n" + "\n".join(lines) for kind, (shown, lines) in examples.items() if kind
    )
    what = "\nWhat is said of the ports of one block, by where its norms stand.\n"
    return f"{HEAD}{''.join(tables)}\n## Sentences\n{what}{kinds}\n"


def _takes(family: Family) -> str:
    return "pictures" if getattr(transformers, family.model).main_input_name == "pixel_values" else "texts"


def _both(family: Family) -> bool:
    return (
        any(stack.path.startswith(("decoder.", "model.decoder.")) for stack in family.stacks) and family.shown != "OPT"
    )


def _rows(family: Family, network: Network, found: Anatomy) -> list[str]:
    rows = []
    for number, stack in enumerate(family.stacks):
        block = f"{stack.path}.{stack.blocks[-1]}"
        inside = [part for part in network.parts if part.path == block or part.path.startswith(f"{block}.")]
        heads = [_short(part.path, block) for part in inside if part.part == "heads" and not part.call]
        streams = [f"`#{part.part}`" for part in inside if part.part.startswith("mid")]
        neurons = [
            _short(alias, block) for alias in found.neurons if alias.startswith(f"{block}.") and "!" not in alias
        ]
        cells = [
            f"{family.shown}<br>`{family.model}`" if number == 0 else "",
            f"`{stack.path}.{'N' if len(stack.blocks) == 2 or family.shown == 'ModernBERT' else 0}`",
            found.blocks[block] or "not proven",
            ", ".join(heads) or "—",
            ", ".join(streams) or "—",
            ", ".join(neurons) or "—",
            (f"`{_head(network)}`" if _head(network) else "a vector") if number == 0 else "",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def _short(path: str, block: str) -> str:
    return f"`{path.removeprefix(f'{block}.')}`"


def _head(network: Network) -> str:
    if network.task == "embedding":
        return ""
    try:
        return network.head
    except BadInput:
        return ""


def _sentences(network: Network, found: Anatomy, block: str) -> list[str]:
    """What is said of the block and the ports and parts within."""
    lines = []
    for alias, text in sorted(found.meanings.items(), key=lambda item: len(item[0])):
        if alias in (block, f"{block}.in") or alias.startswith(f"{block}."):
            lines.append(f"- `{alias.replace(block, 'BLOCK')}`: {_general(text, block)}")
    for site, part in network.parts.items():
        if (site.path == block or site.path.startswith(f"{block}.")) and site.part != "head0":
            if site.part[:4] == "head" and site.part != "heads":
                continue
            lines.append(f"- `{site.alias.replace(block, 'BLOCK')}`: {_general(part.meaning, block)}")
    return lines


def _general(text: str, block: str) -> str:
    number = block.rpartition(".")[2]
    return text.replace(f"`{block}`", "block N").replace(block, "block N").replace(f"block {number}", "block N")
