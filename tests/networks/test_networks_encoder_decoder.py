"""Encoder-decoders on one text: what the decoder is given, what its answers are of, and what crosses over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from networks_families import edit_config, padded, tokenizer, transformers
from networks_small import assert_close

from mulligan.networks import Network, Tail, TokenInput, load
from mulligan.records import BadInput

BOTH = ["t5", "bart", "marian", "mbart"]


@pytest.mark.parametrize("family", ["t5", "bart", "marian"])  # mBART turns labels round in its own way
def test_the_loss_of_the_answers_is_the_one_that_transformers_trains_on(
    family: str, loaded: Callable[[str], Network]
) -> None:
    """With the text as its own labels, `forward(labels=...)` gives the mean loss of every token; ours starts later."""
    network = loaded(family)
    x, mask = network.example(2)
    with torch.no_grad():
        answers = network.logits(x, mask)
        theirs = network.module(input_ids=x, attention_mask=mask.long(), labels=x, use_cache=False)  # type: ignore[union-attr]
    assert answers.shape == (*x.shape, 120)
    losses = torch.nn.functional.cross_entropy(theirs.logits.flatten(0, 1), x.flatten(), reduction="none").view(x.shape)
    assert_close(losses.mean(), theirs.loss)
    ours = torch.nn.functional.cross_entropy(answers[:, :-1].flatten(0, 1), x[:, 1:].flatten(), reduction="none")
    assert_close(ours.view(2, -1), losses[:, 1:])
    assert not answers[:, -1].any()  # nothing was asked there: all tokens alike


@pytest.mark.parametrize("family", BOTH)
def test_padding_changes_no_answer(family: str, loaded: Callable[[str], Network]) -> None:
    network = loaded(family)
    x, mask = padded(network)
    assert mask is not None
    with torch.no_grad():
        among = network.logits(x, mask)
        for row, length in enumerate(mask.sum(1).tolist()):
            alone = network.logits(x[row : row + 1, :length], mask[row : row + 1, :length])
            assert_close(among[row, : length - 1], alone[0, :-1])


def test_an_answer_does_not_see_the_token_that_it_is_of_in_the_decoder(loaded: Callable[[str], Network]) -> None:
    network = loaded("t5")
    x, mask = network.example(1)
    with torch.no_grad(), network.watching(["encoder.block.1", "decoder.block.1"]) as watched:
        network(x, mask)
        before = dict(watched)
        y = x.clone()
        y[0, 6] = (y[0, 6] + 1) % 90 + 5
        held = before["encoder.block.1"]
        with network.editing({"encoder.block.1": lambda t, s: held}):  # the encoder still gives the old text
            network(y, mask)
        assert_close(watched["decoder.block.1"][:, :7], before["decoder.block.1"][:, :7])
        assert not torch.allclose(watched["decoder.block.1"][:, 7:], before["decoder.block.1"][:, 7:])
        network(y, mask)
        assert not torch.allclose(watched["decoder.block.1"][:, :7], before["decoder.block.1"][:, :7])


def test_cross_attention_reads_the_encoder_and_nothing_else_does(loaded: Callable[[str], Network]) -> None:
    network = loaded("t5")
    x, mask = network.example(2)
    crossing = "decoder.block.*.layer.1.EncDecAttention#pattern"
    sites = network.sites(crossing)
    assert [site.axes for site in sites] == [("batch", "head", "query", "key")] * 2
    assert "cross-attention weights of the 4 heads of decoder.block.0" in network.meaning(sites[0])
    assert "gather from the encoder" in network.meaning(network.site("decoder.block.0.layer.1.EncDecAttention#heads"))
    cut = {crossing: lambda t, s: torch.zeros_like(t)}
    with torch.no_grad(), network.watching("decoder.block.1") as watched, network.editing(cut):
        network(x, mask)
        alone = watched["decoder.block.1"]
        with network.editing({"encoder.block.0": lambda t, s: t * 3}):
            network(x, mask)
        assert_close(watched["decoder.block.1"], alone)


def test_the_streams_of_a_decoder_s_block_follow_each_other(loaded: Callable[[str], Network]) -> None:
    network = loaded("mbart")
    x, mask = network.example(2)
    block = "model.decoder.layers.0"
    wanted = [f"{block}.in", f"{block}#mid-attention", f"{block}#mid", f"{block}.self_attn", f"{block}.encoder_attn"]
    with torch.no_grad(), network.watching(wanted) as watched:
        network(x, mask)
    assert_close(watched[f"{block}#mid-attention"], watched[f"{block}.in"] + watched[f"{block}.self_attn"])
    assert_close(watched[f"{block}#mid"], watched[f"{block}#mid-attention"] + watched[f"{block}.encoder_attn"])
    meaning = network.meaning(network.site(f"{block}#mid-attention"))
    assert meaning.startswith(f"the residual stream of {block} between self-attention and cross-attention: ")
    with pytest.raises(BadInput, match="no part 'mid-attention'; it has mid"):
        network.site("model.encoder.layers.0#mid-attention")


def test_a_tail_may_begin_in_the_encoder_or_the_decoder(loaded: Callable[[str], Network]) -> None:
    network = loaded("t5")
    x, mask = padded(network)
    for alias in ("encoder.block.0", "decoder.block.0"):
        with torch.no_grad():
            tail = Tail(network, alias)
            held = tail.hold(x, mask)
            assert_close(held.logits, network.logits(x, mask))
            version = held.value * 0.5
            with network.editing({alias: lambda t, s, version=version: version}):
                expected = network.logits(x, mask)
            assert_close(tail(held, version), expected)


def test_the_report_says_what_the_decoder_is_given(loaded: Callable[[str], Network]) -> None:
    for family, start in (("t5", 0), ("bart", 2)):
        taken = loaded(family).input
        assert isinstance(taken, TokenInput)
        assert taken.steps()[-1].startswith(f"given whole to the encoder; the decoder is given token {start} and then")
        head = loaded(family).meaning(loaded(family).site("lm_head"))
        assert head.endswith("for the text's own token there, which the decoder has not yet read")
    assert loaded("t5").record().input["kind"] == "texts"  # type: ignore[index]


def test_a_network_that_nothing_limits_takes_a_sensible_number_of_tokens(loaded: Callable[[str], Network]) -> None:
    for family in ("t5", "mamba"):
        assert loaded(family).input.context == 4096  # type: ignore[union-attr]


def test_without_a_start_token_it_is_refused(copied: Callable[[str], Path]) -> None:
    spec = edit_config(copied("t5"), decoder_start_token_id=None, bos_token_id=None)
    with pytest.raises(BadInput, match="does not say with which token the decoder begins"):
        load(spec)


def test_a_bare_encoder_decoder_has_no_answer(tmp_path: Path, loaded: Callable[[str], Network]) -> None:
    transformers.T5Model(loaded("t5").module.config).save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    with pytest.raises(BadInput, match=r"T5Model is of a kind that is not known here .*text-to-text language model"):
        load(f"hf:{tmp_path}")
