"""What a graph of ONNX or torch.export takes and answers, turned into a `Network`.

Such a file names its inputs and outputs and their shapes, and nothing else: not what a pixel was divided by, and not
which of its outputs is the answer. What cannot be known is asked for, never guessed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...records import BadInput, Task
from ..inputs import ArrayInput, NetworkInput, TokenInput, parse_input
from ..network import Inputs, Mask, Network
from .packages import require
from .recorded import Recorded, kind_of

_IDS = ("input_ids", "ids", "tokens", "token_ids")
_MASKS = ("attention_mask", "mask", "input_mask")
_TYPES = ("token_type_ids", "segment_ids")
_POSITIONS = ("position_ids",)
_TEXT_ANSWERS = ("logits", "sentence_embedding", "last_hidden_state")
_SMALLEST = 8  # pixels of a side: what is smaller is no picture


@dataclass(frozen=True)
class Taken:
    """One input of a graph. Attributes: shape: None where a size may vary, whole batch included."""

    name: str
    dtype: torch.dtype
    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class Given:
    """One output of a graph. Attributes: shape: None if nothing is known of it."""

    name: str
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True)
class Interface:
    """All that is known of a graph beside its operations.

    Attributes:
        spec: as the person wrote it. file: where it lies. asked: the output that the person named, if any.
        extra: texts that the file carries: `input` (as --input is written), `classes` (a JSON list).
        softmax: the answer's name if it is a softmax of another value, to that value's name in the output.
        again: how to export the graph so that batches may be of any size.
    """

    spec: str
    file: Path
    inputs: Sequence[Taken]
    outputs: Sequence[Given]
    asked: str | None
    extra: Mapping[str, str]
    again: str


class _Pictures(Network):
    """A network of images that does not know yet how pixels become input."""

    wanted = ""

    def example(self, batch: int = 2) -> tuple[Inputs, Mask | None]:
        if self.input is None:
            raise BadInput("this file does not say how pixels become its input", where=self.name, fix=self.wanted)
        return super().example(batch)


def network(module: nn.Module, interface: Interface, softmax: Mapping[str, str] | None = None) -> Network:
    """The graph's module as a network.

    Args:
        module: takes the graph's inputs in order; answers a dictionary of its outputs.
        softmax: outputs that are a softmax, to the key under which what went into it stands.

    Raises:
        BadInput: if its inputs are not ones that Mulligan can feed, its answer is ambiguous, or it answers otherwise
            for two examples than for each alone.
    """
    inputs = interface.inputs
    names = [taken.name for taken in inputs]
    if not inputs:
        raise BadInput("this graph takes no input", where=interface.spec, fix="give a network that does")
    cached = [name for name in names if "past" in name.lower() or "cache" in name.lower()]
    if cached:
        raise BadInput(
            f"this graph takes what an earlier pass left ({cached[0]})",
            where=interface.spec,
            fix="export it without a cache",
        )
    if _is_text(inputs):
        return _texts(module, interface)
    if len(inputs) > 1:
        raise BadInput(
            f"this graph takes several inputs ({', '.join(names[:5])}), and Mulligan feeds one",
            where=interface.spec,
            fix="export it with one input, the others fixed",
        )
    taken = inputs[0]
    if not taken.dtype.is_floating_point and not (taken.dtype == torch.uint8 and len(taken.shape) == 4):
        raise BadInput(
            f"this graph takes whole numbers ({taken.name}), and no tokenizer lies beside it",
            where=interface.spec,
            fix="put the network's tokenizer.json into the same folder if it takes tokens",
        )
    layout = _layout(taken)
    if layout is None:
        return _arrays(module, interface, softmax or {})
    return _pictures(module, interface, layout, softmax or {})


def choose(interface: Interface, softmax: Mapping[str, str], preferred: Sequence[str] = ("logits",)) -> str:
    """The key of the answer in the module's output.

    Args:
        preferred: names that decide, the first that is there, unless another was asked for.

    Raises:
        BadInput: if there are several that could be.
    """
    names = [given.name for given in interface.outputs]
    if interface.asked is not None:
        if interface.asked not in names:
            raise BadInput(
                f"this graph has no output {interface.asked!r}; it has {', '.join(names[:8])}",
                where=interface.spec,
                fix="name one of these after #",
            )
        found = interface.asked
    else:
        flat = [given.name for given in interface.outputs if given.shape is not None and len(given.shape) == 2]
        likely = names if len(names) == 1 else [name for name in preferred if name in names][:1] or flat
        if len(likely) != 1:
            raise BadInput(
                f"any of {', '.join((flat or names)[:8])} could be this graph's answer",
                where=interface.spec,
                fix=f"name it: {interface.file.name}#{(flat or names)[0]}",
            )
        found = likely[0]
    return softmax.get(found, found)


def _layout(taken: Taken) -> str | None:
    """Where an image's channels stand: "first", "last"; None: this is no image."""
    if len(taken.shape) != 4:
        return None
    for layout, channels, sides in (
        ("first", taken.shape[1], taken.shape[2:]),
        ("last", taken.shape[3], taken.shape[1:3]),
    ):
        if channels in (1, 3) and all(side is None or side >= _SMALLEST for side in sides):
            return layout
    return None


def _pictures(module: nn.Module, interface: Interface, layout: str, softmax: Mapping[str, str]) -> Network:
    taken = interface.inputs[0]
    whole = not taken.dtype.is_floating_point

    def call(module: nn.Module, x: Tensor, mask: Tensor | None) -> Any:
        if whole:
            x = x.round().clamp(0, 255).to(taken.dtype)
        return module(x.permute(0, 2, 3, 1) if layout == "last" else x)

    shape = taken.shape if layout == "first" else (taken.shape[0], taken.shape[3], *taken.shape[1:3])
    if None not in shape[1:]:
        like = torch.rand(2, *(side or 1 for side in shape[1:]), generator=torch.Generator().manual_seed(0))
        _same_alone(module, call, like * 255 if whole else like, interface)
    sides = ["PIXELS" if side is None else str(side) for side in shape[2:]]
    size = sides[0] if len(set(sides)) == 1 else "x".join(sides)
    text = interface.extra.get("input")
    made = _made(_Pictures, module, interface, call, softmax, parse_input(text) if text is not None else None)
    made.wanted = (
        f"pass --input size={size},channels={shape[1]},mean=MEAN,std=STD with what it was trained on (mean=0,std=1 for "
        "pixels from 0 to 1)"
    )
    return made


def _arrays(module: nn.Module, interface: Interface, softmax: Mapping[str, str]) -> Network:
    taken = interface.inputs[0]
    shape = tuple(size for size in taken.shape[1:] if size is not None)
    if len(taken.shape) < 2 or len(shape) < len(taken.shape) - 1:
        raise BadInput(
            f"the sizes of {taken.name} are {_shown(taken.shape)}, and only the first may vary",
            where=interface.spec,
            fix="export it with the other sizes fixed",
        )

    def call(module: nn.Module, x: Tensor, mask: Tensor | None) -> Any:
        return module(x)

    _same_alone(module, call, torch.rand(2, *shape, generator=torch.Generator().manual_seed(0)), interface)
    return _made(Network, module, interface, call, softmax, ArrayInput(shape=shape))


def _made(
    kind: type[Any],
    module: nn.Module,
    interface: Interface,
    call: Callable[..., Any],
    softmax: Mapping[str, str],
    taken: NetworkInput | None,
) -> Any:
    chosen = choose(interface, softmax)
    return kind(
        module,
        name=interface.file.stem,
        input=taken,
        classes=_classes(interface),
        call=call,
        answer=lambda output: output[chosen],
        meanings=_meanings(module),
    )


def _meanings(module: nn.Module) -> dict[str, str]:
    """What comes out of modules that were laid out around steps."""
    return {
        path: f"what comes out of {kind_of(one) or 'the module'} that was recorded at this path"
        for path, one in module.named_modules()
        if path and isinstance(one, Recorded)
    }


def _classes(interface: Interface) -> list[str] | None:
    text = interface.extra.get("classes")
    if text is None:
        return None
    try:
        names = json.loads(text)
    except ValueError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BadInput(
            "the file's own list of classes is no JSON list of names", where=interface.file, fix="pass --classes"
        )
    return names


# Texts
def _is_text(inputs: Sequence[Taken]) -> bool:
    known = {*_IDS, *_MASKS, *_TYPES, *_POSITIONS}
    return any(taken.name in _IDS for taken in inputs) and all(taken.name in known for taken in inputs)


def _texts(module: nn.Module, interface: Interface) -> Network:
    require("tokenizers", what=interface.spec)
    from tokenizers import Tokenizer

    beside = [folder / "tokenizer.json" for folder in (interface.file.parent, interface.file.resolve().parent.parent)]
    file = next((path for path in beside if path.is_file()), None)
    if file is None:
        raise BadInput(
            "this graph takes tokens, and no tokenizer lies beside it",
            where=interface.spec,
            fix="put the network's tokenizer.json into the same folder",
        )
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare exceptions
        raise BadInput(f"the tokenizer cannot be read: {error}", where=file, fix="copy or download it again") from error
    ids = next(taken for taken in interface.inputs if taken.name in _IDS)
    if len(ids.shape) != 2 or ids.shape[1] is not None:
        raise BadInput(
            f"the sizes of {ids.name} are {_shown(ids.shape)}, and texts are of any length",
            where=interface.spec,
            fix="export it with batch and sequence left open",
        )
    taken = TokenInput(tokenizer=tokenizer, context=_context(file, tokenizer), pad=_pad(file, tokenizer))
    names = [item.name for item in interface.inputs]
    kept = choose(interface, {}, _TEXT_ANSWERS)

    def run(module: nn.Module, x: Tensor, mask: Tensor | None) -> dict[str, Any]:
        seen = mask if mask is not None else torch.ones_like(x)
        return dict(module(*[_text_value(name, x, seen.to(x.dtype)) for name in names]))

    words = tokenizer.get_vocab_size()
    ids_drawn = torch.randint(0, max(words, 1), (2, 7), generator=torch.Generator().manual_seed(0))
    _same_alone(module, run, ids_drawn, interface)
    with torch.no_grad():
        shape = run(module, ids_drawn, None)[kept].shape
    task: Task = "classification" if len(shape) == 2 and "logits" in kept else "embedding"
    if len(shape) == 3 and "hidden" not in kept and "embed" not in kept:
        task = "language" if shape[-1] >= words else "other"

    def call(module: nn.Module, x: Tensor, mask: Tensor | None) -> Any:
        output = run(module, x, mask)
        if task == "embedding" and output[kept].dim() == 3:
            weight = (mask if mask is not None else torch.ones_like(x))[..., None].to(output[kept].dtype)
            mean = (output[kept] * weight).sum(1) / weight.sum(1).clamp(min=1e-9)
            return {"embedding": nn.functional.normalize(mean, dim=1), **output}
        return output

    def answer(output: Any) -> Tensor:
        return output["embedding"] if task == "embedding" and "embedding" in output else output[kept]

    return Network(
        module,
        name=interface.file.stem,
        input=taken,
        classes=_classes(interface),
        task=task,
        call=call,
        answer=answer,
        meanings=_meanings(module),
    )


def _text_value(name: str, ids: Tensor, mask: Tensor) -> Tensor:
    if name in _IDS:
        return ids
    if name in _MASKS:
        return mask
    if name in _TYPES:
        return torch.zeros_like(ids)
    return torch.arange(ids.shape[1], device=ids.device).expand_as(ids)


def _config(file: Path) -> dict[str, Any]:
    beside = file.with_name("config.json")
    try:
        said = json.loads(beside.read_text(encoding="utf-8")) if beside.is_file() else {}
    except (OSError, ValueError) as error:
        raise BadInput(f"this file is no JSON: {error}", where=beside, fix="copy or download it again") from error
    return said if isinstance(said, dict) else {}


def _context(file: Path, tokenizer: Any) -> int:
    said = _config(file).get("max_position_embeddings")
    cut = (tokenizer.truncation or {}).get("max_length")
    return min((limit for limit in (said, cut) if isinstance(limit, int) and limit > 0), default=512)


def _pad(file: Path, tokenizer: Any) -> int:
    said = _config(file).get("pad_token_id")
    own = (tokenizer.padding or {}).get("pad_id")
    return next((pad for pad in (said, own, tokenizer.token_to_id("[PAD]")) if isinstance(pad, int)), 0)


def _same_alone(module: nn.Module, call: Callable[..., Any], x: Tensor, interface: Interface) -> None:
    """Whether two examples are answered as each is alone: a file may be fixed to the batch that it was made with.

    Raises:
        BadInput: if they are not.
    """
    module.eval()
    try:
        with torch.no_grad():
            both = _tensors(call(module, x, None))
            alone = [_tensors(call(module, x[i : i + 1], None)) for i in range(2)]
    except BadInput:
        raise
    except Exception as error:  # whatever an operation raises
        why = (str(error).strip().split("\n")[0] or type(error).__name__).rstrip(".")
        raise BadInput(
            f"this graph does not run on batches of two and of one: {why}", where=interface.spec, fix=interface.again
        ) from error
    for name, tensor in both.items():
        single = [one.get(name) for one in alone]
        joined = torch.cat([one for one in single if one is not None and one.dim()])
        size = float(joined.abs().max()) if joined.numel() else 0.0
        if joined.shape != tensor.shape or (joined.double() - tensor.double()).abs().max() > 1e-4 * max(size, 1e-30):
            raise BadInput(
                f"this graph answers two examples together otherwise than alone ({name})",
                where=interface.spec,
                fix=interface.again,
            )


def _tensors(output: Any) -> dict[str, Tensor]:
    return {name: value for name, value in output.items() if isinstance(value, Tensor) and value.is_floating_point()}


def _shown(shape: Sequence[int | None]) -> str:
    return " x ".join("?" if size is None else str(size) for size in shape)
