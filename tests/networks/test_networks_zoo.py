"""Every family that is promised: its sentences against its authors' own names, and what is read against plain hooks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from networks_families import (
    ACTIVATED,
    AFTER,
    PARALLEL,
    PLAIN,
    POST,
    PRE,
    SCALED,
    WINDOWS,
    ZOO,
    Stack,
    make,
    padded,
    raw,
)
from networks_small import assert_close, check_every_port, no_hooks_left
from torch import Tensor, nn

from mulligan.networks import Ablate, Network, Steer, TokenInput, load
from mulligan.networks.rehearsal import rehearse
from mulligan.records import Site

STREAM = "the residual stream"
GATED = ("llama", "mistral", "qwen3", "phi3", "gemma2", "gemma3", "olmo2", "granite", "flan", "modernbert")


@pytest.fixture(params=list(ZOO))
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def network(family: str, loaded: Callable[[str], Network]) -> Iterator[Network]:
    yield loaded(family)
    no_hooks_left(loaded(family).module)


class Passed:
    """What plain hooks see in one pass of one block (the first time that it runs)."""

    def __init__(self, network: Network, block: str) -> None:
        self.block = block
        self.ins: dict[str, Tensor] = {}
        self.outs: dict[str, Tensor] = {}
        handles = []
        for path, child in network.module.get_submodule(block).named_modules():

            def before(module: nn.Module, args: Any, kwargs: Any, path: str = path) -> None:
                given = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
                if given:
                    self.ins.setdefault(path, given[0].clone())

            def after(module: nn.Module, args: Any, output: Any, path: str = path) -> None:
                first = output if isinstance(output, Tensor) else output[0]
                if isinstance(first, Tensor):
                    self.outs.setdefault(path, first.clone())

            handles += [child.register_forward_pre_hook(before, with_kwargs=True), child.register_forward_hook(after)]
        with torch.no_grad():
            network(*network.example(2))
        for handle in handles:
            handle.remove()

    def into(self, path: str = "") -> Tensor:
        return self.ins[path].reshape(self.ins[""].shape)

    def out(self, path: str = "") -> Tensor:
        return self.outs[path].reshape(self.outs[""].shape)


def stacks(family: str) -> list[tuple[Stack, str]]:
    return [(stack, f"{stack.path}.{number}") for stack in ZOO[family].stacks for number in stack.blocks]


def said(network: Network, alias: str) -> str:
    return network.meaning(network.site(alias))


def named(family: str, block: str) -> str:
    """How sentences call the block."""
    many = len({stack.path for stack in ZOO[family].stacks}) > 1
    again = " (pass 1 of 2)" if family == "albert" else ""
    return (block if many else f"block {block.rpartition('.')[2]}") + again


def test_answers_are_those_of_transformers_itself(network: Network, family: str) -> None:
    x, mask = padded(network)
    known = ZOO[family]
    assert network.task == known.task
    with torch.no_grad():
        answer = network.logits(x, mask)
    theirs = raw(network, x, mask)
    if known.task == "classification":
        assert_close(answer, theirs.logits)
    elif known.task == "language":
        logits = theirs.logits
        if network.module.config.is_encoder_decoder:  # at i for the token at i + 1, as in every language model here
            logits = torch.cat([logits[:, 1:], torch.zeros_like(logits[:, :1])], 1)
        assert mask is not None
        assert_close(answer[mask], logits[mask])
    assert network.dtype == torch.float32
    if known.head is not None:
        assert network.head == known.head


def test_every_port_holds_what_plain_hooks_see(network: Network) -> None:
    assert check_every_port(network, *network.example()) > 30


def test_axes_say_what_grows_with_the_batch_and_with_the_text(network: Network) -> None:
    x, mask = network.example(3)
    texts = isinstance(network.input, TokenInput)
    if texts:
        x, mask = x[:, :7], mask[:, :7] if mask is not None else None
    other = rehearse(network.module, network, x, mask, network.input)
    sizes = {"batch": 3, **({"position": 7, "query": 7, "key": 7} if texts else {})}
    checked = 0
    for port, axes in network.dry_run.axes.items():
        if port not in other.ports:
            continue
        for axis, size in zip(axes, other.ports[port], strict=True):
            # A table of distances between positions has two axes of them.
            if axis in sizes and "batch" in axes:
                checked += 1
                assert size == sizes[axis], (port.alias, axes, other.ports[port])
    assert checked > 20


def test_an_identity_stays_and_follows_the_weights(network: Network, family: str, tmp_path: Path) -> None:
    again = make(family)
    again.save_pretrained(tmp_path)
    for name in ("preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"):
        source = Path(network.recipe["spec"].removeprefix("hf:")) / name
        if source.is_file():
            (tmp_path / name).write_bytes(source.read_bytes())
    assert load(f"hf:{tmp_path}").identity == network.identity
    with torch.no_grad():
        next(p for p in again.parameters() if p.requires_grad)[0].add_(0.5)
    again.save_pretrained(tmp_path)
    assert load(f"hf:{tmp_path}").identity != network.identity


def test_what_is_said_of_a_stream_is_what_its_authors_add_up(network: Network, family: str) -> None:
    for stack, block in stacks(family):
        seen = Passed(network, block)
        _SAID[stack.kind](network, stack, block, named(family, block), seen)


def _pre(network: Network, stack: Stack, block: str, name: str, seen: Passed) -> None:
    adds = [stack.adds(), *([stack.cross[0]] if stack.cross[0] else [])]
    sums = [seen.into()]
    for path in adds:
        sums.append(sums[-1] + seen.out(path))
    assert_close(seen.out(), sums[-1] + seen.out(stack.fed))
    assert_close(seen.into(stack.first), sums[0])
    assert_close(seen.into(stack.second), sums[-1])
    _residual(network, stack, block, name, ", before the next block's norm")
    what = "self-attention" if stack.cross[0] else "attention"
    assert said(network, f"{block}.{stack.first}") == f"{STREAM} before {name}, after its norm: what {what} reads"
    assert said(network, f"{block}.{stack.second}").startswith(f"{STREAM} of {name} between ")
    assert re.search(r", after the (second|third) norm$", said(network, f"{block}.{stack.second}"))
    _mid(network, block, seen, sums, stack)


def _after(network: Network, stack: Stack, block: str, name: str, seen: Passed) -> None:
    middle = seen.into() + seen.out(stack.added)
    assert_close(seen.out(), middle + seen.out(stack.fed))
    assert_close(seen.into(stack.attention), seen.into())  # what is read is not normed
    assert_close(seen.into(stack.added), seen.out(stack.attention))
    _residual(network, stack, block, name, "")
    assert said(network, f"{block}.{stack.fed}").endswith("after a norm of its own")
    _mid(network, block, seen, [seen.into(), middle], stack)


def _parallel(network: Network, stack: Stack, block: str, name: str, seen: Passed) -> None:
    assert_close(seen.out(), seen.into() + seen.out(stack.attention) + seen.out(stack.fed))
    assert_close(seen.into(stack.first), seen.into())
    _residual(network, stack, block, name, ", before the next block's norm")
    assert not [part for part in network.parts if part.path == block]


def _post(network: Network, stack: Stack, block: str, name: str, seen: Passed) -> None:
    assert_close(seen.into(stack.first), seen.into() + seen.out(stack.added))
    total = seen.out(stack.first)
    if stack.cross[0]:
        assert_close(seen.into(stack.cross[1]), total + seen.out(stack.cross[0]))
        total = seen.out(stack.cross[1])
        assert said(network, f"{block}.{stack.cross[1]}") == (
            f"in {name}, the sum so far plus what cross-attention adds, after LayerNorm (post-norm): what the "
            "feed-forward reads and is added to"
        )
    assert_close(seen.into(stack.second), total + seen.out(stack.fed))
    assert_close(seen.out(), seen.out(stack.second))
    which = "third" if stack.cross[0] else "second"
    assert said(network, block) == f"{name}'s output after its {which} LayerNorm (post-norm): the next block reads it"
    assert said(network, f"{block}.in") == f"what {name} reads: already normed by the block or embedding before it"
    assert "after LayerNorm (post-norm)" in said(network, f"{block}.{stack.first}")
    assert (
        said(network, f"{block}.{stack.fed}") == f"what the feed-forward adds in {name}, before it is added and normed"
    )
    assert not [part for part in network.parts if part.path == block]


def _scaled(network: Network, stack: Stack, block: str, name: str, seen: Passed) -> None:
    module: Any = network.module.get_submodule(block)
    one, two = (getattr(module, f"lambda_{n}", 0.5) for n in (1, 2))
    middle = seen.into() + one * seen.out(stack.attention)
    assert_close(seen.into(stack.second), middle)
    assert_close(seen.out(), middle + two * seen.out(stack.fed))
    assert said(network, block) == f"{STREAM} after {name}, before the next block's norm"
    for path in (stack.attention, stack.fed):
        assert said(network, f"{block}.{path}").endswith(f"before it is scaled and added to {STREAM}")
    assert not [part for part in network.parts if part.path == block]


def _windows(network: Network, stack: Stack, block: str, name: str, seen: Passed) -> None:
    middle = seen.into() + seen.out(stack.added)
    assert_close(seen.into(stack.second), middle)
    assert_close(seen.out(), middle + seen.out(stack.fed))
    assert seen.outs[stack.attention].shape[0] > 2  # windows, where examples should be
    _residual(network, stack, block, name, ", before the next block's norm")
    assert not [part for part in network.parts if part.path.startswith(block)]


def _activated(network: Network, stack: Stack, block: str, name: str, seen: Passed) -> None:
    assert_close(seen.out(), (seen.out("shortcut") + seen.out(stack.fed)).relu())
    straight = seen.ins[""].shape == seen.outs[""].shape
    how = "its input" if straight else "its input, projected"
    assert said(network, block) == f"{STREAM} after {name}: {how}, plus what it adds, after the activation"


def _plain(network: Network, stack: Stack, block: str, name: str, seen: Passed) -> None:
    assert_close(seen.out(), seen.into() + seen.out(stack.fed))
    _residual(network, stack, block, name, ", before the next block's norm" if stack.first else "")
    assert said(network, f"{block}.{stack.fed}") == f"what {name} adds to {STREAM}"


def _residual(network: Network, stack: Stack, block: str, name: str, norm: str) -> None:
    assert said(network, block) == f"{STREAM} after {name}{norm}"
    assert said(network, f"{block}.in").startswith(f"{STREAM} before {name}")
    assert said(network, f"{block}.in").endswith(", before its norm") == bool(norm)
    if stack.attention:
        assert f"adds to {STREAM} in {name}" in said(network, f"{block}.{stack.fed}")
        assert f"adds to {STREAM} in {name}" in said(network, f"{block}.{stack.adds()}")


def _mid(network: Network, block: str, seen: Passed, sums: list[Tensor], stack: Stack) -> None:
    """The streams within the block, and what an edit of the last of them does."""
    within = [f"{block}#mid"] if len(sums) == 2 else [f"{block}#mid-attention", f"{block}#mid"]
    x, mask = network.example(2)
    with torch.no_grad(), network.watching(within) as watched:
        network(x, mask)
    for alias, total in zip(within, sums[1:], strict=True):
        assert_close(watched[alias], total)
    step = torch.linspace(-1, 1, sums[0].shape[-1])
    with torch.no_grad(), network.watching([block, *within]) as watched, network.editing({within[-1]: Steer(step)}):
        network(x, mask)
        fed = network.module.get_submodule(block)
        assert_close(watched[within[-1]], sums[-1] + step)
    if stack.fed == "mlp" and stack.second != "post_attention_layernorm":
        module: Any = fed
        with torch.no_grad():
            normed = module.get_submodule(stack.second)(sums[-1] + step)
            assert_close(watched[block], sums[-1] + step + module.mlp(normed))


_SAID = {
    PRE: _pre, POST: _post, AFTER: _after, PARALLEL: _parallel, SCALED: _scaled, WINDOWS: _windows,
    ACTIVATED: _activated, PLAIN: _plain,
}  # fmt: skip


def test_neurons_are_what_the_last_matrix_reads(network: Network, family: str) -> None:
    for stack, block in stacks(family):
        texts = [
            text for alias, text in network.meanings.items() if alias.startswith(f"{block}.") and "neurons" in text
        ]
        if stack.neurons is None:
            assert not texts
            continue
        alias = f"{block}.{stack.neurons}.in"
        assert said(network, alias).startswith(f"the feed-forward neurons of {named(family, block)}")
        seen = Passed(network, block)
        matrix: Any = network.module.get_submodule(f"{block}.{stack.neurons}")
        with torch.no_grad():
            made = matrix(seen.ins[stack.neurons])
        reads = seen.outs[stack.neurons]
        assert_close(made, reads)
        how = "the activated gate times the linear half (gated)" if family in GATED else "after the activation function"
        assert f", {how}: " in said(network, alias)
        assert len(texts) == (2 if family == "albert" else 1)


def test_heads_and_patterns_belong_together(network: Network, family: str) -> None:
    """Without one head's pattern, the head's slice of what the projection reads is zero, and nothing else changes."""
    x, mask = padded(network)
    for stack, block in stacks(family):
        if not stack.attention:
            continue
        for attention in [stack.attention, *([stack.cross[0]] if stack.cross[0] else [])]:
            path = f"{block}.{attention}"
            if stack.kind == WINDOWS:
                assert Site(path, part="pattern") not in network.parts
                continue
            projection = network.module.get_submodule(f"{path}.{stack.projection}")
            seen: list[Tensor] = []
            handle = projection.register_forward_pre_hook(lambda m, args, seen=seen: seen.append(args[0].clone()))
            first = torch.ones(network.site(f"{path}#heads").shape[2])
            first[0] = 0
            try:
                with torch.no_grad():
                    with network.watching([f"{path}#heads", f"{path}#head0", f"{path}#pattern"]) as watched:
                        network(x, mask)
                    clean = watched[f"{path}#heads"]
                    assert_close(clean, seen[0].reshape(clean.shape))
                    assert torch.equal(watched[f"{path}#head0"], clean[:, :, 0])
                    pattern = watched[f"{path}#pattern"]
                    assert_close(pattern.sum(-1), torch.ones_like(pattern[..., 0]))
                    seen.clear()
                    with network.editing({f"{path}#pattern": lambda t, s, first=first: t * first[:, None, None]}):
                        by_pattern = network.logits_unchecked(x, mask)
                    assert_close(seen[0].reshape(clean.shape), clean * first[:, None])
                    with network.editing({f"{path}#head0": Ablate()}):
                        assert_close(network.logits_unchecked(x, mask), by_pattern, 1e-4)
            finally:
                handle.remove()


@pytest.mark.parametrize("family", [name for name in ZOO if name not in ("mamba", "swin", "resnet", "convnext")])
def test_patterns_are_the_attentions_that_transformers_returns(family: str, loaded: Callable[[str], Network]) -> None:
    network = loaded(family)
    x, mask = padded(network)
    theirs = raw(network, x, mask, output_attentions=True)
    both = network.module.config.is_encoder_decoder
    for stack in ZOO[family].stacks:
        decodes = both and "decoder" in stack.path
        fields = ("decoder_attentions", "cross_attentions") if decodes else ("encoder_attentions",)
        for attention, name in zip(
            (stack.attention, stack.cross[0]), fields if both else ("attentions",), strict=False
        ):
            for number in stack.blocks:
                alias = f"{stack.path}.{number}.{attention}#pattern"
                with torch.no_grad(), network.watching(alias) as watched:
                    network(x, mask)
                weights = theirs[name][number]
                live = mask[:, None, :, None].expand_as(weights) if mask is not None else weights == weights
                assert_close(watched[alias][live], weights[live], 1e-4)


def test_a_block_that_runs_twice_has_parts_for_each_time(loaded: Callable[[str], Network]) -> None:
    network = loaded("albert")
    x, mask = padded(network)
    block = ZOO["albert"].stacks[0].path + ".0"
    path = f"{block}.attention"
    for call in (0, 1):
        seen: list[Tensor] = []

        def cut(module: nn.Module, args: tuple[Tensor, ...], call: int = call, seen: list[Tensor] = seen) -> Any:
            seen.append(args[0].clone())
            changed = args[0].clone()
            changed[..., 8:16] = 0
            return (changed,) if len(seen) == call + 1 else None

        again = f"!{call}" if call else ""
        with torch.no_grad():
            handle = network.module.get_submodule(f"{path}.dense").register_forward_pre_hook(cut)
            expected = network.logits_unchecked(x, mask)
            handle.remove()
            with network.watching([f"{path}{again}#heads", f"{path}{again}#pattern"]) as watched:
                network(x, mask)
            with network.editing({f"{path}{again}#head1": Ablate()}):
                assert torch.equal(network.logits_unchecked(x, mask), expected)
        weights = raw(network, x, mask, output_attentions=True).attentions[call]
        assert mask is not None
        live = mask[:, None, :, None].expand_as(weights)
        assert_close(watched[f"{path}{again}#pattern"][live], weights[live])
        if call == 0:
            assert_close(watched[f"{path}#heads"], seen[0].reshape(*x.shape, 4, 8))
        said_of = network.meaning(network.site(f"{block}{again}"))
        assert said_of.startswith(f"block 0 (pass {call + 1} of 2)'s output after its second LayerNorm")


def test_experts_give_no_rows_that_are_not_one_for_each_example(loaded: Callable[[str], Network]) -> None:
    for family in ("mixtral", "olmoe"):
        network = loaded(family)
        sites = [site for site in network.sites() if ".mlp." in site.path]
        assert {site.path.partition(".mlp.")[2] for site in sites} == {"gate", "experts", "experts.act_fn"}
        assert not [site for site in sites if "batch" in site.axes]
        assert network.site("model.layers.0.mlp").axes == ("batch", "position", "feature")
