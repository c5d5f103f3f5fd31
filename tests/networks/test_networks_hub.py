"""IDs of the Hugging Face hub: found in the local cache without a network, downloaded only where that is asked."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from networks_hub import COMMIT, hub, put_in_cache

from mulligan.networks import load
from mulligan.networks.adapters.hub import is_id
from mulligan.records import BadInput

constants = pytest.importorskip("huggingface_hub.constants")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("socket.socket.connect", _no_network)
    return tmp_path / "cache"


def _no_network(*args: object) -> None:
    raise AssertionError("the network was asked")


def test_an_id_is_looked_up_in_the_cache(cache: Path, folders: Callable[[str], Path]) -> None:
    put_in_cache(cache, "org/name", folders("llama"))
    put_in_cache(cache, "gpt2", folders("gpt2"))
    network = load("hf:org/name")
    assert network.name == "org/name"
    assert network.identity == load(f"hf:{folders('llama')}").identity
    assert load(**network.recipe).identity == network.identity
    assert load("hf:gpt2").identity == load(f"hf:{folders('gpt2')}").identity
    assert load("hf:org/name#LlamaModel").task == "embedding"


def test_a_revision_is_a_branch_or_a_commit(cache: Path, folders: Callable[[str], Path]) -> None:
    other = "f" * 40
    put_in_cache(cache, "org/name", folders("llama"))
    put_in_cache(cache, "org/name", folders("qwen3"), revision="v2", commit=other)
    old, new = (load(f"hf:{folders(name)}").identity for name in ("llama", "qwen3"))
    assert load("hf:org/name@main").identity == load(f"hf:org/name@{COMMIT}").identity == old
    assert load("hf:org/name@v2").identity == load(f"hf:org/name@{other}").identity == new
    with pytest.raises(BadInput, match=r"org/name@v3\): run `hf download org/name --revision v3`"):
        load("hf:org/name@v3")


def test_what_is_not_there_is_said_with_the_command_that_gets_it(cache: Path) -> None:
    said = (
        "this is neither a local folder nor in the local Hugging Face cache, and nothing is downloaded unasked "
        r"\(org/gated\): run `hf download org/gated` \(after `hf auth login` if it is gated\), or write "
        "hf[+]download:org/gated."
    )
    with pytest.raises(BadInput, match=said):
        load("hf:org/gated")
    for odd in ("hf:org/na/me", "hf:../no-such-folder", "hf:org/..", "hf:a b", "hf:org/name@"):
        with pytest.raises(BadInput, match="there is no such folder"):
            load(odd)
    with pytest.raises(BadInput, match="this is no ID of the Hugging Face hub"):
        load("hf:org/a--b")


def test_a_cache_that_holds_only_a_part(cache: Path, copied: Callable[[str], Path]) -> None:
    folder = copied("llama")
    (folder / "model.safetensors").unlink()
    put_in_cache(cache, "org/name", folder)
    with pytest.raises(BadInput, match=r"this folder has no model.safetensors"):
        load("hf:org/name")


def test_a_folder_comes_before_an_id(
    cache: Path, copied: Callable[[str], Path], folders: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    put_in_cache(cache, "llama", folders("gpt2"))
    monkeypatch.chdir(copied("llama").parent)
    assert load("hf:llama").identity == load(f"hf:{folders('llama')}").identity


def test_an_adapter_s_base_may_be_an_id(cache: Path, tmp_path: Path, folders: Callable[[str], Path]) -> None:
    import torch
    from safetensors.torch import save_file

    put_in_cache(cache, "org/base", folders("llama"))
    (tmp_path / "adapter").mkdir()
    said = {"peft_type": "LORA", "base_model_name_or_path": "org/base", "r": 1, "lora_alpha": 1}
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(said))
    path = "base_model.model.model.layers.0.self_attn.q_proj"
    parts = {f"{path}.lora_A.weight": torch.ones(1, 32), f"{path}.lora_B.weight": torch.ones(32, 1)}
    save_file(parts, tmp_path / "adapter" / "adapter_model.safetensors")
    put_in_cache(cache, "me/adapter", tmp_path / "adapter")
    network, base = load("hf:me/adapter"), load("hf:org/base")
    name = "model.layers.0.self_attn.q_proj.weight"
    assert torch.equal(network.module.get_parameter(name), base.module.get_parameter(name) + 1)
    assert network.input.context == base.input.context  # type: ignore[union-attr]


def test_ids() -> None:
    for good in ("gpt2", "org/name", "org/name.v1-x", "org/name@refs/pr/1", "org/name@main"):
        assert is_id(good), good
    for bad in ("", "a/b/c", "./a", "/a", "~/a", "a/", "org/..", "a@", "a b", "org/name@../../x"):
        assert not is_id(bad), bad


ALONE = """
import socket, sys
from mulligan.networks import load
from mulligan.records import BadInput
def connect(*args):
    print("the network was asked", file=sys.stderr)
    sys.exit(9)
socket.socket.connect = connect
print(load("hf:org/name").identity)
try:
    load("hf:org/gated")
except BadInput as error:
    print(error)
"""


def test_nothing_asks_the_network_unless_it_is_told_to(tmp_path: Path, folders: Callable[[str], Path]) -> None:
    """In a process of its own, with HF_HOME where the cache is, and a hub that cannot be reached."""
    put_in_cache(tmp_path / "hub", "org/name", folders("llama"))
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ALONE], capture_output=True, text=True, check=False,
        env={**kept, "HF_HOME": str(tmp_path), "HF_ENDPOINT": "http://127.0.0.1:9"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found, absent = done.stdout.splitlines()
    assert found == load(f"hf:{folders('llama')}").identity
    assert "`hf download org/gated`" in absent


def test_what_is_asked_for_is_downloaded_once(
    tmp_path: Path, folders: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    remote = Path(shutil.copytree(folders("llama"), tmp_path / "remote"))
    (remote / "pytorch_model.bin").write_bytes(b"a pickle")
    (remote / "modeling.py").write_text("raise SystemExit('code ran')")
    (remote / "onnx").mkdir()
    (remote / "onnx" / "model.safetensors").write_bytes(b"a copy")
    asked: list[str] = []

    def refused(spec: str, sentence: str) -> None:
        with pytest.raises(BadInput) as caught:
            load(spec)
        assert str(caught.value) == sentence

    with hub(remote, asked) as address:
        _ask_at(monkeypatch, address)
        first = load("hf+download:org/name")
        assert first.name == "org/name"
        assert first.identity == load(f"hf:{folders('llama')}").identity
        assert 1 <= sum(path.endswith("/model.safetensors") for path in asked) <= 2  # its size first, then itself
        assert not [path for path in asked if path.endswith((".bin", ".py")) or "/onnx/" in path]
        asked.clear()
        assert load(**first.recipe).identity == load("hf:org/name").identity == first.identity
        assert not asked
        refused(
            "hf+download:org/gated",
            "the hub asks who you are before it gives this (org/gated): accept its terms there, then run "
            "`hf auth login`.",
        )
        refused(
            "hf+download:org/unknown",
            "the hub has no such model, or it is private (org/unknown): check the ID, or run `hf auth login`.",
        )
        refused(
            "hf+download:org/name@no-such-revision",
            "the hub has no such revision of this (org/name@no-such-revision): leave @REVISION out.",
        )
    _ask_at(monkeypatch, "http://127.0.0.1:9")
    assert load("hf+download:org/name").identity == first.identity
    refused(
        "hf+download:org/other",
        "the hub could not be reached (org/other): try again where there is a network, or copy the folder here.",
    )


def _ask_at(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")


def test_a_download_that_was_cut_short_is_finished(
    tmp_path: Path, copied: Callable[[str], Path], folders: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    part = copied("llama")
    (part / "model.safetensors").unlink()
    put_in_cache(tmp_path / "cache", "org/name", part)
    with hub(folders("llama"), []) as address:
        _ask_at(monkeypatch, address)
        assert load("hf+download:org/name").identity == load(f"hf:{folders('llama')}").identity
