"""Compiled passes: the same numbers as eager, from a graph that ends at the last watched site, kept between runs."""

from __future__ import annotations

import gc
import json
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import Tensor, nn

from mulligan.networks import ArrayInput, ImageInput, Network, TokenInput
from mulligan.networks.compiled import NotCompiled, compile_pass, engines, expected_seconds, inductor_engine
from mulligan.networks.compiled.shapes import ShapeRules
from mulligan.networks.compiled.tracing import Traced, trace

pytest.importorskip("openvino")
IMAGES = ImageInput(size=(16, 16), mean=(0.5,) * 3, std=(0.5,) * 3)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MULLIGAN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "compiled"


class Picture(nn.Module):
    """A convolution and its norm, a residual sum, an activation in place, a head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.norm.running_mean, self.norm.running_var = torch.randn(8), torch.rand(8) + 0.5
        self.deep, self.act, self.head = nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(inplace=True), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x))
        return self.head((x + self.act(self.deep(x))).mean((2, 3)))


class Text(nn.Module):
    """Embedding, attention with a mask, a head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(50, 16)
        self.block = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.head = nn.Linear(16, 50)

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        hidden = self.words(ids)
        scores = hidden @ hidden.mT
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None, :], -1e9)
        return self.head(torch.tanh(scores.softmax(-1) @ hidden))


def picture() -> Network:
    return Network(Picture(), input=IMAGES, classes=tuple("abcd"))


def text() -> Network:
    words = Tokenizer(WordLevel({str(number): number for number in range(50)}, unk_token="0"))
    taken = TokenInput(tokenizer=words, context=32, pad=0)
    return Network(Text(), input=taken, call=lambda module, x, mask: module(x, mask))


def watching(network: Network, *sites: str) -> Callable[[Tensor, Tensor | None], dict[str, Tensor]]:
    def compute(x: Tensor, mask: Tensor | None) -> dict[str, Tensor]:
        with torch.no_grad(), network.watching(sites) as watched:
            network(x, mask)
        return {site: watched[site].clone() for site in sites}

    return compute


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert found[name].shape == tensor.shape
        assert float((found[name] - tensor).abs().max()) <= 1e-4 * float(tensor.abs().max())


@pytest.mark.parametrize("engine", ["openvino", "inductor"])
def test_a_compiled_pass_is_the_eager_one_for_any_batch(engine: Any) -> None:
    if engine == "inductor" and inductor_engine.missing(torch.device("cpu")):
        pytest.skip("there is no C++ compiler")
    network = picture()
    compute = watching(network, "conv", "norm", "deep", "act", "head")
    compiled = compile_pass(network, compute, what="all", engine=engine)
    assert compiled.engine == engine
    assert not compiled.cached
    for batch in (1, 2, 5):
        x = torch.randn(batch, 3, 16, 16)
        assert_same(compiled(x), compute(x, None))


def test_texts_of_any_length_with_padding() -> None:
    network = text()
    compute = watching(network, "words", "head")
    compiled = compile_pass(network, compute, what="all", engine="openvino")
    for batch, length in ((1, 4), (3, 11), (4, 30)):
        ids, mask = torch.randint(50, (batch, length)), torch.ones(batch, length, dtype=torch.bool)
        mask[0, length // 2 :] = False
        assert_same(compiled(ids, mask), compute(ids, mask))
        assert_same(compiled(ids), compute(ids, torch.ones_like(mask)))


def test_the_graph_ends_at_the_last_watched_site() -> None:
    network = picture()
    shallow, deep = trace(network, watching(network, "norm")), trace(network, watching(network, "head"))
    assert _operations(shallow, "convolution") == 1
    assert _operations(shallow, "addmm") == 0
    assert _operations(deep, "convolution") == 2
    assert _operations(deep, "addmm") == 1


def _operations(traced: Traced, name: str) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, of its own parts
        graph = traced.program.run_decompositions().graph
    graph.eliminate_dead_code()
    return sum(name in str(node.target) for node in graph.nodes)


def test_what_was_compiled_is_found_again(own_cache: Path) -> None:
    network = picture()
    compute = watching(network, "deep")
    assert expected_seconds(network, "deep", "openvino")[1] is False
    first = compile_pass(network, compute, what="deep", engine="openvino")
    assert expected_seconds(network, "deep", "openvino")[1] is True

    def never(x: Tensor, mask: Tensor | None) -> dict[str, Tensor]:
        raise AssertionError("it was compiled before")

    again = compile_pass(picture(), never, what="deep", engine="openvino")
    assert again.cached
    x = torch.randn(2, 3, 16, 16)
    assert_same(again(x), first(x))
    # Other weights, or another thing to compute, is another pass.
    other = Picture()
    other.head.weight.data += 1
    assert not compile_pass(picture().with_module(other), compute, what="deep", engine="openvino").cached
    assert not compile_pass(network, compute, what="deeper", engine="openvino").cached


def test_a_damaged_entry_is_built_anew(own_cache: Path) -> None:
    network = picture()
    compute = watching(network, "deep")
    compile_pass(network, compute, what="deep", engine="openvino")
    for suffix, harm in (("xml", b"<nothing"), ("json", b"{"), ("json", json.dumps({"names": []}).encode())):
        (file,) = own_cache.glob(f"*.{suffix}")
        file.write_bytes(harm)
        compiled = compile_pass(network, compute, what="deep", engine="openvino")
        assert not compiled.cached
        x = torch.randn(2, 3, 16, 16)
        assert_same(compiled(x), compute(x, None))


class Choosy(nn.Module):
    """Looks at a value to choose its way, which no graph can."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        out = self.layer(x)
        return out if bool(out.sum() > 0) else -out


def test_a_branch_on_a_value_is_never_burnt_in() -> None:
    network = Network(Choosy(), input=ArrayInput(shape=(4,)))
    with pytest.raises(NotCompiled, match=r"torch\.export cannot make a graph"):
        compile_pass(network, watching(network, "layer", ""), what="all", engine="openvino")


class Fixed(nn.Module):
    """Knows its batch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + torch.zeros(len(x), 3)


def test_a_graph_of_one_batch_size_takes_any_in_parts() -> None:
    network = Network(Fixed(), input=ArrayInput(shape=(4,)))
    compute = watching(network, "layer", "")
    compiled = compile_pass(network, compute, what="all", engine="openvino")
    for batch in (1, 3, 7):
        x = torch.randn(batch, 4)
        assert_same(compiled(x), compute(x, None))


def test_engines_say_why_they_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    network = picture()
    assert engines(network)[0][0] == "openvino"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("shutil.which", lambda name: None)
    usable, why = engines(network)
    assert usable == []
    assert "pip install openvino" in why
    assert "C++ compiler" in why
    with pytest.raises(NotCompiled, match="OpenVINO is not installed"):
        compile_pass(network, watching(network, "conv"), what="conv")


def test_nothing_is_left_on_the_network() -> None:
    network = picture()
    before = {name: tensor.clone() for name, tensor in network.module.state_dict().items()}
    hooks = [len(module._forward_hooks) for module in network.module.modules()]
    compile_pass(network, watching(network, "deep"), what="deep", engine="openvino")
    assert [len(module._forward_hooks) for module in network.module.modules()] == hooks
    after = network.module.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert all(isinstance(parameter, nn.Parameter) for parameter in network.module.parameters())


class Lengthy(nn.Module):
    """Answers long texts in another way than short ones."""

    def __init__(self, how: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words, self.layer, self.how = nn.Embedding(50, 8), nn.Linear(8, 8), how

    def forward(self, ids: Tensor) -> Tensor:
        hidden = self.layer(self.words(ids))
        other = ids.shape[1] > 12 if self.how == "long" else ids.shape[1] % 2 == 0
        return -hidden if other else 2 * hidden


@pytest.mark.parametrize("how", ["long", "even"])
def test_a_branch_on_a_size_holds_for_the_sizes_that_it_was_traced_with(how: str) -> None:
    words = Tokenizer(WordLevel({str(number): number for number in range(50)}, unk_token="0"))
    taken = TokenInput(tokenizer=words, context=32, pad=0)
    network = Network(Lengthy(how), input=taken, call=lambda module, x, mask: module(x))
    compute = watching(network, "layer", "")
    compiled = compile_pass(network, compute, what="all", engine="openvino")
    taken_by_graph = 0
    for length in (4, 5, 11, 12, 13, 20, 21):
        ids = torch.randint(50, (3, length))
        try:
            found = compiled(ids)
        except NotCompiled:
            continue
        assert_same(found, compute(ids, None))
        taken_by_graph += 1
    assert 0 < taken_by_graph < 7
    # The rules are kept with the graph.
    again = compile_pass(network, compute, what="all", engine="openvino")
    assert again.cached
    with pytest.raises(NotCompiled, match="made for other shapes"):
        again(torch.randint(50, (3, 20)))


def test_rules_of_shapes_are_read_and_never_run() -> None:
    rules = ShapeRules(
        ["L['x'].size()[0] == L['mask'].size()[0]", "((-1) + L['x'].size()[1]) != 1", "L['x'].size()[1] <= 512",
         "L['x'].size()[1] % 2 == 0 or L['x'].size()[1] == 5"]
    )  # fmt: skip
    assert rules.allow({"x": (3, 8), "mask": (3, 8)})
    assert rules.allow({"x": (3, 5), "mask": (3, 5)})
    assert not rules.allow({"x": (3, 7), "mask": (3, 7)})
    assert not rules.allow({"x": (3, 2), "mask": (3, 2)})
    assert not rules.allow({"x": (3, 8), "mask": (4, 8)})
    assert not rules.allow({"x": (3, 514), "mask": (3, 514)})
    assert not rules.allow({"x": (3, 8)})
    for text in ("__import__('os').system('true')", "L['x'].size()[0].bit_length() == 2", "open", "L['x'] == 1", "("):
        with pytest.raises(ValueError, match="not a comparison"):
            ShapeRules([text])


def test_networks_of_sixteen_bits_are_given_what_they_take() -> None:
    module = Picture().to(torch.float16)
    network = Network(module, input=IMAGES, classes=tuple("abcd"))
    compute = watching(network, "conv", "head")
    x = torch.randn(4, 3, 16, 16)
    found, expected = compile_pass(network, compute, what="half", engine="openvino")(x), compute(x, None)
    for name, tensor in expected.items():
        assert found[name].dtype == torch.float32
        assert float((found[name] - tensor.float()).abs().max()) <= 2e-2 * float(tensor.abs().max())


def test_a_cache_that_cannot_be_written_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("MULLIGAN_CACHE", str(tmp_path / "file"))
    network = picture()
    with pytest.raises(NotCompiled, match="cache cannot be written"):
        compile_pass(network, watching(network, "conv"), what="conv", engine="openvino")


def test_another_way_to_answer_is_another_entry() -> None:
    module = Picture()
    one = Network(module, input=IMAGES, classes=tuple("abcd"))
    other = Network(module, input=IMAGES, classes=tuple("abcd"), answer=lambda output: output * 2)
    compile_pass(one, watching(one, "head"), what="head", engine="openvino")
    assert not compile_pass(other, watching(other, "head"), what="head", engine="openvino").cached


def test_ctrl_c_still_interrupts_when_graphs_are_gone() -> None:
    """A library that is unloaded with its last graph once left a handler behind, and the process died of Ctrl-C."""
    network = picture()
    for site in ("conv", "deep"):
        compiled = compile_pass(network, watching(network, site), what=site, engine="openvino")
        compiled(torch.randn(2, 3, 16, 16))
    del compiled
    gc.collect()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_what_ends_the_process_that_reads_it_is_never_read_here(tmp_path: Path) -> None:
    dies = (sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    with pytest.raises(NotCompiled, match=r"cannot be read on this GPU .*ended with -11"):
        inductor_engine.prove(tmp_path / "built", 0, dies)
    inductor_engine.prove(tmp_path / "built", 0, (sys.executable, "-c", "import sys; assert sys.argv[2] == '0'"))
