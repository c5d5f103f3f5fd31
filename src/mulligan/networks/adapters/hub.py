"""Where an ID of the Hugging Face hub lies on this machine; downloaded only where the spec asks for it."""

from __future__ import annotations

import re
from pathlib import Path

from ...records import BadInput
from .folders import Folder, has_tokenizer, whole_weights

_ID = re.compile(r"^(?P<name>[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?)(@(?P<revision>[\w./-]+))?\Z")
# What is read of a repository: no pickles, no code, no copies for other engines in subfolders.
_WANTED = ["*.json", "*.safetensors", "*.txt", "*.model"]
_UNWANTED = ["*/*.safetensors", "*.bin.index.json", "onnx/*", "openvino/*", "original/*"]


def is_id(text: str) -> bool:
    """Whether the text could be an ID: `name` or `organisation/name`, with `@revision` if wanted."""
    return _ID.match(text) is not None and ".." not in text


def cached(text: str, *, download: bool = False) -> Path:
    """The folder of an ID in the local Hugging Face cache, which HF_HOME or HF_HUB_CACHE may have moved.

    Args:
        text: `organisation/name` or `organisation/name@revision`. download: whether to fetch what is not there.

    Raises:
        BadInput: if it is not in the cache and shall not or cannot be downloaded: unknown, gated, no network.
    """
    matched = _ID.match(text)
    if matched is None or ".." in text:
        raise BadInput("this is neither a local folder nor an ID", where=text, fix="write hf:FOLDER or hf:ORG/NAME")
    name, revision = matched["name"], matched["revision"]
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = [
            try_to_load_from_cache(name, file, revision=revision) for file in ("adapter_config.json", "config.json")
        ]
    except HFValidationError:
        raise BadInput("this is no ID of the Hugging Face hub", where=text, fix="write ORG/NAME") from None
    folder = next((Path(file).parent for file in found if isinstance(file, str)), None)
    if folder is not None and (not download or _complete(folder)):
        return folder
    if download:
        return _downloaded(name, revision, text)
    command = f"hf download {name}" + (f" --revision {revision}" if revision else "")
    raise BadInput(
        "this is neither a local folder nor in the local Hugging Face cache, and nothing is downloaded unasked",
        where=text,
        fix=f"run `{command}` (after `hf auth login` if it is gated), or write hf+download:{text}",
    )


def _complete(folder: Path) -> bool:
    """Whether a model is there: its weights, and what makes inputs ready, or an adapter."""
    if (folder / "adapter_model.safetensors").is_file():
        return True
    try:
        whole_weights(folder)
    except BadInput:
        return False
    return has_tokenizer(Folder(folder, {})) or (folder / "preprocessor_config.json").is_file()


def _downloaded(name: str, revision: str | None, text: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=_WANTED, ignore_patterns=_UNWANTED))
    except GatedRepoError as error:
        what, fix = "the hub asks who you are before it gives this", "accept its terms there, then run `hf auth login`"
        raise BadInput(what, where=text, fix=fix) from error
    except RevisionNotFoundError as error:
        raise BadInput("the hub has no such revision of this", where=text, fix="leave @REVISION out") from error
    except RepositoryNotFoundError as error:
        what, fix = "the hub has no such model, or it is private", "check the ID, or run `hf auth login`"
        raise BadInput(what, where=text, fix=fix) from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, OSError) as error:
        what, fix = "the hub could not be reached", "try again where there is a network, or copy the folder here"
        raise BadInput(what, where=text, fix=fix) from error
