"""Dictionaries: what is saved is what is loaded, an alias names a latent, and nothing wrong passes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from mulligan.features import Dictionary, find_latent, load_dictionary
from mulligan.records import BadInput


def made(name: str = "parts", seed: int = 0, *, whole: bool = True) -> Dictionary:
    random = np.random.default_rng(seed)
    encoder = random.normal(size=(4, 6)).astype(np.float32)
    if not whole:
        return Dictionary(name, "blocks.5", encoder)
    bias, centre = (random.normal(size=n).astype(np.float32) for n in (4, 6))
    return Dictionary(name, "blocks.5", encoder, bias, centre)


@pytest.mark.parametrize("whole", [True, False])
def test_saved_and_loaded(tmp_path: Path, whole: bool) -> None:
    one = made(whole=whole)
    file = one.save(tmp_path / "one.safetensors")
    again = load_dictionary(file)
    assert (again.name, again.site, again.digest, len(again), again.units) == ("parts", "blocks.5", one.digest, 4, 6)
    values = np.random.default_rng(1).normal(size=(3, 2, 6))
    assert np.allclose(again.read(values), one.read(values))
    centre, bias = (one.centre, one.bias) if whole else (np.zeros(6), np.zeros(4))
    by_hand = [[(v - centre) @ one.encoder[k] + bias[k] for k in range(4)] for v in values.reshape(-1, 6)]
    assert np.allclose(one.read(values).reshape(-1, 4), by_hand, atol=1e-5)
    assert again.save(tmp_path / "two.safetensors").read_bytes() == file.read_bytes()


def test_an_alias_names_a_latent() -> None:
    one, other = made(), made("more", 1)
    feature = other.feature(3)
    assert feature.alias == "blocks.5@more:3"
    assert feature.dictionary == f"more/{other.digest}"
    found, index = find_latent(feature.alias, [one, other])
    assert (found, index) == (other, 3)
    assert np.array_equal(found.direction(index), other.encoder[3])
    assert made(seed=0).digest == made("else", 0).digest != made(seed=1).digest
    assert Dictionary("parts", "blocks.6", one.encoder, one.bias, one.centre).digest != one.digest


def test_what_does_not_exist() -> None:
    one = made()
    with pytest.raises(BadInput, match="latent 4 does not exist: there are 4"):
        find_latent("blocks.5@parts:4", [one])
    with pytest.raises(BadInput, match=r"no such dictionary.*there are blocks.5@parts"):
        find_latent("blocks.6@parts:0", [one])
    with pytest.raises(BadInput, match="names a unit and no latent"):
        find_latent("blocks.5:0", [one])
    with pytest.raises(BadInput, match="5 units are given to a dictionary of 6"):
        one.read(np.zeros((2, 5)))


def test_what_is_no_dictionary(tmp_path: Path) -> None:
    encoder = np.eye(3, dtype=np.float32)
    with pytest.raises(BadInput, match="cannot be a dictionary's name"):
        Dictionary("a:b", "blocks.5", encoder)
    with pytest.raises(BadInput, match="has no latents"):
        Dictionary("a", "blocks.5", encoder[0])
    with pytest.raises(BadInput, match="the bias has shape"):
        Dictionary("a", "blocks.5", encoder, np.zeros(2))
    with pytest.raises(BadInput, match="NaN"):
        Dictionary("a", "blocks.5", encoder * np.nan)
    with pytest.raises(BadInput, match="there is no such dictionary"):
        load_dictionary(tmp_path / "none.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(BadInput, match="cannot be read"):
        load_dictionary(tmp_path / "broken.safetensors")
    save_file({"encoder": encoder}, tmp_path / "bare.safetensors")
    with pytest.raises(BadInput, match="is no dictionary"):
        load_dictionary(tmp_path / "bare.safetensors")
    notes = {"schema": "mulligan/dictionary/1", "name": "a", "site": "s", "digest": "sha256:0"}
    save_file({"encoder": encoder}, tmp_path / "changed.safetensors", metadata=notes)
    with pytest.raises(BadInput, match="were changed"):
        load_dictionary(tmp_path / "changed.safetensors")
