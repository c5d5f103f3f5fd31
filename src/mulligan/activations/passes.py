"""One gradient-free pass over a batch, pooled as it goes: run eagerly, or compiled from the very same lines.

What a pass gives is named arrays, each batch first: "SITE|POOL", and what is kept of the answers. A pass that keeps no
answers ends at its last site.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from ..networks import Network
from ..networks.compiled import Compiled, NotCompiled, compile_pass
from ..records import BadInput, Site
from ..runs import canonical
from .pools import Pool

_log = logging.getLogger(__name__)

Precision = Literal["float32", "bfloat16"]
_NOTHING = torch.empty(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is kept of a pass.

    Attributes:
        sites: resolved ones. pools: how each is pooled. answers: whether what the network answers is kept, too.
        seed: what random places hang on. precision: of the pass; what is stored has 32 bits.
    """

    sites: tuple[Site, ...]
    pools: tuple[Pool, ...]
    answers: bool
    seed: int = 0
    precision: Precision = "float32"

    @property
    def names(self) -> list[str]:
        """The arrays that the sites give."""
        return [pool_name(site, pool.text) for site in self.sites for pool in self.pools]

    def text(self) -> str:
        """All of it as one text, equal where what is kept is equal."""
        sites, pools = [site.alias for site in self.sites], [pool.text for pool in self.pools]
        return canonical({"sites": sites, "pools": pools, "answers": self.answers, "precision": self.precision})


class Pass(Protocol):
    """Runs a batch."""

    @property
    def engine(self) -> str:
        """Who runs it: "eager", "openvino" or "inductor"."""
        ...

    def __call__(self, x: Tensor, mask: Tensor | None, ids: Sequence[object]) -> dict[str, Tensor]:
        """Named tensors of one batch, whose examples are called `ids`."""
        ...


@dataclass(frozen=True, slots=True)
class EagerPass:
    """PyTorch, module by module.

    Attributes:
        channels_last: pictures are given channel by channel within each pixel, which CPUs convolve faster; nothing of
            the network is changed.
        threads: how many of torch's threads a batch is given; None: as many as torch has.
    """

    network: Network
    wanted: Wanted
    channels_last: bool = False
    threads: int | None = None
    engine: str = field(default="eager", init=False)

    def __call__(self, x: Tensor, mask: Tensor | None, ids: Sequence[object]) -> dict[str, Tensor]:
        if self.channels_last and x.dim() == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        if x.device.type == "cpu" and self.network.device.type == "cuda":
            x = x.pin_memory()
        with _threads(self.threads):
            return _compute(self.network, self.wanted, x, mask, ids, stop=not self.wanted.answers)


@dataclass(frozen=True, slots=True)
class CompiledPass:
    """The same as a graph. A batch that the graph refuses is run eagerly, and the log says so."""

    compiled: Compiled
    eager: EagerPass

    @property
    def engine(self) -> str:
        """Who runs it."""
        return self.compiled.engine

    def __call__(self, x: Tensor, mask: Tensor | None, ids: Sequence[object]) -> dict[str, Tensor]:
        try:
            return self.compiled(x, mask)
        except NotCompiled as error:
            _log.warning("a batch of shape %s is run eagerly: %s", tuple(x.shape), error)
            return self.eager(x, mask, ids)


def compiled_pass(network: Network, wanted: Wanted, engine: Any = None) -> CompiledPass:
    """`wanted` of `network` as a graph, built now or read from the cache.

    Args:
        engine: "openvino", "inductor"; None: the fastest that is there and can.

    Raises:
        NotCompiled: if it cannot be one; its text says why.
    """
    reason = not_for_graphs(wanted)
    if reason is not None:
        raise NotCompiled(reason)

    def compute(x: Tensor, mask: Tensor | None) -> dict[str, Tensor]:
        return _compute(network, wanted, x, mask, (), stop=False)

    wide = wanted.precision == "float32"
    compiled = compile_pass(network, compute, what=wanted.text(), engine=engine, wide=wide)
    return CompiledPass(compiled, EagerPass(network, wanted))


def not_for_graphs(wanted: Wanted) -> str | None:
    """Why what is kept cannot be computed in a graph; None if it can."""
    drawn = [pool.text for pool in wanted.pools if pool.kind == "sample"]
    return f"{drawn[0]} draws its places example by example" if drawn else None


def pool_name(site: Site | str, pool: str) -> str:
    """The name of an array in a recording."""
    return f"{site if isinstance(site, str) else site.alias}|{pool}"


def _compute(
    network: Network,
    wanted: Wanted,
    x: Tensor,
    mask: Tensor | None,
    ids: Sequence[object],
    *,
    stop: bool,
) -> dict[str, Tensor]:
    """One pass. These lines are also what becomes a graph, so nothing here looks at a value.

    Args:
        stop: end at the last site.
    """
    kept: dict[str, Tensor] = {}

    def reduce(tensor: Tensor, site: Site) -> Tensor:
        for pool in wanted.pools:
            pooled = pool(tensor, site, mask, wanted.seed, ids)
            if pool.kind == "full":
                # A view of what passes may be overwritten in place, and would hold more than is wanted alive.
                pooled = pooled.clone()
            name = pool_name(site, pool.text)
            # A site that runs twice in a pass gives rows twice, which the caller sees and refuses.
            kept[name] = torch.cat([kept[name], pooled]) if name in kept else pooled
        return _NOTHING

    with torch.no_grad(), _rounding(network, wanted), network.watching(wanted.sites, reduce=reduce, stop=stop):
        output = network(x, mask)
        if wanted.answers:
            kept.update(_answers(network, network.answer_unchecked(output), x))
    return kept


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    if number is None or number == before:
        yield
        return
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _rounding(network: Network, wanted: Wanted) -> AbstractContextManager[Any]:
    if wanted.precision == "float32":
        return nullcontext()
    return torch.autocast(network.device.type, torch.bfloat16)


def _answers(network: Network, logits: Tensor, x: Tensor) -> dict[str, Tensor]:
    """All logits of a classifier, an embedding; of a language model three numbers for each token but the first."""
    if network.task != "language":
        return {"answers": logits}
    tokens = x[:, 1:].to(logits.device)
    if torch.compiler.is_exporting():
        columns = _predicted(logits[:, :-1], tokens)
    else:
        # Text by text: the logits of a batch are large, and each step would copy them.
        rows = [_predicted(logits[i, :-1], tokens[i]) for i in range(len(x))]
        columns = tuple(torch.stack(column) for column in zip(*rows, strict=True))
    return dict(zip(("answer", "loss", "confidence"), columns, strict=True))


def _predicted(logits: Tensor, token: Tensor) -> tuple[Tensor, ...]:
    """Of logits [..., position, vocabulary]: the likeliest token, the loss (nats), the likeliest's probability."""
    logits = logits.float()
    total = logits.logsumexp(-1)
    best, answer = logits.max(-1)
    # By number and not by `gather`, of which OpenVINO makes nothing where lengths are free.
    rows = logits.flatten(0, -2)
    found = rows[torch.arange(rows.shape[0], device=rows.device), token.flatten()]
    loss = total - found.view(token.shape)
    return answer.to(torch.int32), loss, (best - total).exp()


def finished(
    network: Network, found: dict[str, Tensor], x: Tensor, mask: Tensor | None, answers: bool
) -> dict[str, Tensor]:
    """What a pass gave, on the CPU and as it is stored: a language model's answers get their padding.

    A language model's arrays are [batch, position]: `token` (the id to be predicted), `loss` (nats), `confidence` (of
    the likeliest token), `answer` (its id); the first position, which nothing predicts, and padding hold -1 or NaN.

    Raises:
        BadInput: if an answer is not finite, or there are other than the classes' number.
    """
    kept = {name: tensor.detach().cpu() for name, tensor in found.items()}
    if not answers:
        return kept
    if network.task != "language":
        network.check_answer(kept["answers"])
        return kept
    x = x.cpu()
    real = mask.cpu().bool() if mask is not None else torch.ones_like(x, dtype=torch.bool)
    valid = real[:, 1:] & real[:, :-1]
    if not torch.isfinite(kept["loss"][valid]).all():
        raise BadInput(
            "the network answers with NaN or infinity",
            where=network.name,
            fix="check the weights file and the input's scale",
        )
    kept["token"] = x[:, 1:].to(torch.int32)
    for name in ("token", "answer", "loss", "confidence"):
        values = kept[name]
        fill = torch.nan if values.is_floating_point() else -1
        first = torch.full((len(x), 1), fill, dtype=values.dtype)
        kept[name] = torch.cat([first, values.masked_fill(~valid, fill)], 1)
    return kept
