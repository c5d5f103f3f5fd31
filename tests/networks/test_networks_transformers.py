"""Small transformers: each site is what transformers itself says, and each edit what a hand would do."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from networks_families import FAMILIES, padded, raw
from networks_small import assert_close, check_every_port, no_hooks_left
from torch import Tensor, nn

from mulligan.networks import Ablate, Network, Steer, Tail
from mulligan.networks.parts import head
from mulligan.records import BadInput


@pytest.fixture(params=list(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def network(family: str, loaded: Callable[[str], Network]) -> Iterator[Network]:
    yield loaded(family)
    no_hooks_left(loaded(family).module)


def test_answers_are_those_of_transformers_itself(network: Network, family: str) -> None:
    x, mask = padded(network)
    with torch.no_grad():
        answer = network.logits(x, mask)
    theirs = raw(network, x, mask)
    if network.task != "embedding":
        live = (
            mask if mask is not None and network.task == "language" else torch.ones(answer.shape[:1], dtype=torch.bool)
        )
        assert_close(answer[live], theirs.logits[live])
    expected = {"vit": "classification", "roberta": "classification", "distilbert": "embedding"}.get(family, "language")
    assert network.task == expected
    assert network.dtype == torch.float32


def test_every_port_holds_what_plain_hooks_see(network: Network) -> None:
    assert check_every_port(network, *network.example()) > 40
    x, mask = padded(network)
    network.rehearse(x, mask)  # a mask passes ports where nothing passes without padding
    try:
        assert check_every_port(network, x, mask) > 40
    finally:
        network.rehearse(*network.example())


def test_patterns_are_the_attentions_that_transformers_returns(network: Network, family: str) -> None:
    x, mask = padded(network)
    blocks, attention = FAMILIES[family][3:5]
    theirs = raw(network, x, mask, output_attentions=True)
    with torch.no_grad(), network.watching(f"{blocks}.*#pattern") as watched:
        network(x, mask)
    assert len(watched) == 2
    for number, weights in enumerate(theirs.attentions):
        site = network.site(f"{blocks}.{number}.{attention}#pattern")
        live = mask[:, None, :, None].expand_as(weights) if mask is not None else torch.ones_like(weights).bool()
        assert_close(watched[site][live], weights[live])
        assert site.axes == ("batch", "head", "query", "key")
        assert site.shape == (2, 4, *([network.example()[0].shape[1]] * 2)) if mask is not None else (2, 4, 17, 17)


def test_blocks_give_the_hidden_states_that_transformers_returns(network: Network, family: str) -> None:
    x, mask = padded(network)
    blocks, kind = FAMILIES[family][3], FAMILIES[family][6]
    states = raw(network, x, mask, output_hidden_states=True).hidden_states
    with (
        torch.no_grad(),
        network.watching([f"{blocks}.0.in", f"{blocks}.0", f"{blocks}.1.in", f"{blocks}.1"]) as watched,
    ):
        network(x, mask)
    live = mask if mask is not None else torch.ones(states[0].shape[:2], dtype=torch.bool)
    assert_close(watched[f"{blocks}.0.in"][live], states[0][live])
    assert_close(watched[f"{blocks}.0"][live], states[1][live])
    assert_close(watched[f"{blocks}.1.in"][live], states[1][live])
    if kind == "post":
        assert_close(watched[f"{blocks}.1"][live], states[2][live])
    meaning = network.meaning(network.site(f"{blocks}.0"))
    if kind == "post":
        assert meaning == "block 0's output after its second LayerNorm (post-norm): the next block reads it"
    else:
        assert meaning == "the residual stream after block 0, before the next block's norm"


def test_heads_are_slices_of_what_the_output_projection_reads(network: Network, family: str) -> None:
    x, mask = padded(network)
    blocks, attention, projection = FAMILIES[family][3:6]
    for number in (0, 1):
        path = f"{blocks}.{number}.{attention}"
        seen: list[Tensor] = []
        handle = network.module.get_submodule(f"{path}.{projection}").register_forward_pre_hook(
            lambda m, args, seen=seen: seen.append(args[0].clone())
        )
        with torch.no_grad(), network.watching([f"{path}#heads", f"{path}#head0", f"{path}#head3"]) as watched:
            seen.clear()
            network(x, mask)
        handle.remove()
        width = seen[0].shape[-1] // 4
        assert watched[f"{path}#heads"].shape == (*seen[0].shape[:2], 4, width)
        assert torch.equal(watched[f"{path}#heads"], seen[0].reshape(*seen[0].shape[:2], 4, width))
        assert torch.equal(watched[f"{path}#head0"], seen[0][..., :width])
        assert torch.equal(watched[f"{path}#head3"], seen[0][..., -width:])
        site = network.site(f"{path}#heads")
        assert site.axes == ("batch", "position", "head", "feature")
        assert site.shape[2:] == (4, width)
        assert network.site(f"{path}#head1").shape == (*site.shape[:2], width)
        with pytest.raises(BadInput, match=r"no part 'head4'; it has .*head0"):
            network.site(f"{path}#head4")


def test_a_head_is_silenced_by_zeroing_its_slice(network: Network, family: str) -> None:
    x, mask = padded(network)
    blocks, attention, projection = FAMILIES[family][3:6]
    path = f"{blocks}.1.{attention}"

    def zero(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        flat = args[0].clone()
        width = flat.shape[-1] // 4
        flat[..., 2 * width : 3 * width] = 0
        return (flat, *args[1:])

    with torch.no_grad():
        handle = network.module.get_submodule(f"{path}.{projection}").register_forward_pre_hook(zero)
        expected = network.logits_unchecked(x, mask)
        handle.remove()
        clean = network.logits_unchecked(x, mask)
        with network.editing({f"{path}#head2": Ablate()}):
            assert torch.equal(network.logits_unchecked(x, mask), expected)
        with network.editing({f"{path}#heads": lambda t, s: t * torch.tensor([1.0, 1, 0, 1])[:, None]}):
            assert_close(network.logits_unchecked(x, mask), expected)
        with network.editing({f"{path}#pattern": lambda t, s: t * torch.tensor([1.0, 1, 0, 1])[:, None, None]}):
            assert_close(network.logits_unchecked(x, mask), expected)
    assert not torch.equal(clean, expected)


def test_the_middle_of_a_block_is_its_input_plus_attention(network: Network, family: str) -> None:
    x, mask = padded(network)
    blocks, attention, _, kind = FAMILIES[family][3:]
    if kind != "pre":
        with pytest.raises(BadInput, match="no part 'mid'"):
            network.site(f"{blocks}.1#mid")
        return
    block = network.module.get_submodule(f"{blocks}.1")
    feed_forward = block.mlp
    norm = getattr(block, {"gpt2": "ln_2", "vit": "layernorm_after"}.get(family, "post_attention_layernorm"))
    with torch.no_grad():
        with network.watching(
            [f"{blocks}.1#mid", f"{blocks}.1.in", f"{blocks}.1.{attention}", f"{blocks}.1"]
        ) as watched:
            network(x, mask)
        middle = watched[f"{blocks}.1.in"] + watched[f"{blocks}.1.{attention}"]
        assert_close(watched[f"{blocks}.1#mid"], middle)
        assert_close(watched[f"{blocks}.1"], middle + feed_forward(norm(middle)))
        direction = torch.linspace(-1, 1, 32)
        with network.watching(f"{blocks}.1") as changed, network.editing({f"{blocks}.1#mid": Steer(direction)}):
            network(x, mask)
        moved = middle + direction
        assert_close(changed[f"{blocks}.1"], moved + feed_forward(norm(moved)))


def test_uniform_attention_is_the_mean_of_the_values(loaded: Callable[[str], Network]) -> None:
    """Llama with two heads a key: heads 0 and 1 read the first key's values, 2 and 3 the second's."""
    network = loaded("llama")
    x, mask = network.example(3)
    path = "model.layers.0.self_attn"
    wanted = [f"{path}.v_proj", f"{path}#heads", path]
    uniform = {f"{path}#pattern": lambda t, s: torch.full_like(t, 1 / t.shape[-1])}
    with torch.no_grad(), network.watching(wanted) as watched, network.editing(uniform):
        network(x, mask)
        values = watched[f"{path}.v_proj"].unflatten(-1, (2, 8)).mean(1, keepdim=True)
        expected = values.repeat_interleave(2, 2).expand(-1, x.shape[1], -1, -1)
        assert_close(watched[f"{path}#heads"], expected)
        assert_close(watched[path], network.module.get_submodule(path).o_proj(expected.flatten(2)))


@pytest.mark.parametrize("name", ["llama", "gpt2", "bert"])
@pytest.mark.parametrize(
    "live", [[True], [True, True, True], [True, False, True]], ids=["one", "three", "one is empty"]
)
def test_a_text_of_one_token_has_a_pattern_too(name: str, live: list[bool], loaded: Callable[[str], Network]) -> None:
    """Where keys are shared and there is a mask, transformers hands heads to the kernel as if they were positions."""
    network = loaded(name)
    path = f"{FAMILIES[name][3]}.0.{FAMILIES[name][4]}"
    x = torch.arange(5, 5 + len(live))[:, None]
    mask = torch.tensor(live)[:, None]
    with torch.no_grad():
        clean = network.logits(x, mask)
        with network.watching(f"{path}#pattern") as watched:
            assert_close(network.logits(x, mask)[live], clean[live])
        assert watched[f"{path}#pattern"].shape == (len(live), 4, 1, 1)
        assert (watched[f"{path}#pattern"][live] == 1).all()
        with network.editing({f"{path}#pattern": lambda t, s: t * torch.tensor([1.0, 0, 1, 1])[:, None, None]}):
            by_pattern = network.logits(x, mask)
        with network.editing({f"{path}#head1": Ablate()}):
            assert_close(network.logits(x, mask)[live], by_pattern[live])


def test_feed_forward_neurons_have_a_meaning(loaded: Callable[[str], Network]) -> None:
    for name, alias, how in (
        ("llama", "model.layers.1.mlp.down_proj.in", "the activated gate times the linear half (gated)"),
        ("gpt2", "transformer.h.1.mlp.c_proj.in", "after the activation function"),
        ("bert", "bert.encoder.layer.1.output.dense.in", "after the activation function"),
        ("vit", "vit.layers.1.mlp.fc2.in", "after the activation function"),
    ):
        network = loaded(name)
        site = network.site(alias)
        assert site.axes == ("batch", "position", "feature")
        assert site.units == (128 if name == "gpt2" else 48)
        assert network.meaning(site) == f"the feed-forward neurons of block 1, {how}: what its last matrix reads"


def test_meanings_say_before_or_after_a_norm(loaded: Callable[[str], Network]) -> None:
    bert, llama, neox = (loaded(name) for name in ("bert", "llama", "neox"))

    def meaning(network: Network, alias: str) -> str:
        return network.meaning(network.site(alias))

    assert "after LayerNorm (post-norm)" in meaning(bert, "bert.encoder.layer.0.attention")
    assert "before it is added" in meaning(bert, "bert.encoder.layer.0.attention.output.dense")
    assert meaning(llama, "model.layers.1.in") == "the residual stream before block 1, before its norm"
    assert "after its norm: what attention reads" in meaning(llama, "model.layers.1.input_layernorm")
    assert "after the second norm" in meaning(llama, "model.layers.1.post_attention_layernorm")
    assert meaning(llama, "model.layers.1.self_attn").startswith(
        "what attention adds to the residual stream in block 1"
    )
    assert meaning(llama, "model.layers.1.mlp") == "what the feed-forward adds to the residual stream in block 1"
    assert "before the second norm; an edit reaches" in meaning(llama, "model.layers.1#mid")
    assert "after the final norm" in meaning(llama, "model.norm")
    assert "the logits" in meaning(llama, "lm_head")
    assert "the embedding" in meaning(llama, "model.embed_tokens")
    assert "adds to the residual stream" in meaning(neox, "gpt_neox.layers.0.mlp")
    assert meaning(llama, "model.layers.1.self_attn#head2").startswith("the values that head 2 of block 1 gathers")


def test_the_tail_of_a_language_model_keeps_mask_and_rotary_tables(loaded: Callable[[str], Network]) -> None:
    for name in ("llama", "gpt2", "bert"):
        network = loaded(name)
        x, mask = padded(network)
        blocks = FAMILIES[name][3]
        for alias in (
            f"{blocks}.0",
            f"{blocks}.1.in",
            f"{blocks}.1.mlp.in" if name != "bert" else f"{blocks}.1.attention",
        ):
            with torch.no_grad():
                tail = Tail(network, alias)
                held = tail.hold(x, mask)
                assert_close(held.logits, network.logits(x, mask))
                version = held.value * 0.5 + 0.1
                with network.editing({alias: lambda t, s, version=version: version}):
                    expected = network.logits(x, mask)
                assert_close(tail(held, torch.cat([held.value, version])), torch.cat([held.logits, expected]))


def test_gradients_reach_a_pattern(loaded: Callable[[str], Network]) -> None:
    network = loaded("llama")
    x, mask = network.example()
    with network.watching("model.layers.0.self_attn#pattern") as watched:
        out = network.logits(x, mask)
    gradient = torch.autograd.grad(out[:, -1, 7].sum(), watched["model.layers.0.self_attn#pattern"])[0]
    assert gradient.shape == (2, 4, 11, 11)
    assert gradient.any()


def test_heads_beyond_the_last_do_not_exist() -> None:
    with pytest.raises(BadInput, match="head 4 does not exist: there are 4"):
        head("attention", "attention.out", 4, 4, "no")
