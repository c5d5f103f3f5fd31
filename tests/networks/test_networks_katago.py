"""KataGo's files against a slow numpy computation, and the shipped network against what KataGo's own engine answers."""

from __future__ import annotations

import gzip
import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from katago_small import Layer, Maker, position
from networks_small import assert_close, check_every_port
from torch import Tensor

from mulligan.networks import Ablate, ArrayInput, Network, load, trunk
from mulligan.networks.adapters.katago_files import read_model
from mulligan.networks.adapters.katago_modules import points
from mulligan.records import BadInput


def plain(maker: Maker) -> list[Layer]:
    return [maker.ordinary(6, 5), maker.pooling(6, 5, 3)]


def nested(maker: Maker) -> list[Layer]:
    inner = [lambda: maker.ordinary(4, 4), lambda: maker.pooling(4, 3, 2)]
    return [maker.nested(6, 4, inner), maker.ordinary(6, 5)]


def attending(maker: Maker) -> list[Layer]:
    inner = [lambda: maker.attention(6, 4, 2, 4, 3), lambda: maker.feed_forward(6, 9)]
    return [maker.nested(8, 6, inner), maker.attention(8, 2, 2, 8, 4, theta=30.0), maker.feed_forward(8, 7)]


@pytest.mark.parametrize("board", [5, 4])
@pytest.mark.parametrize(
    ("version", "channels", "blocks", "count", "last", "binary"),
    [
        (8, 6, plain, 2, "batch", True),
        (9, 6, plain, 2, "batch", False),
        (11, 6, nested, 2, "batch", False),
        (12, 6, nested, 2, "batch", True),
        (14, 6, plain, 2, "batch", True),
        (15, 8, attending, 3, "point", True),
        (16, 8, attending, 3, "batch", True),
        (17, 8, attending, 3, "board", True),
    ],
)
def test_every_version_and_block_against_the_slow_way(
    version: int, channels: int, blocks: Callable[[Maker], list[Layer]], count: int, last: str, binary: bool,
    board: int, tmp_path: Path,
) -> None:  # fmt: skip
    maker = Maker(version, binary=binary)
    slow = maker.network(channels, blocks, count, last=last)
    found = read_model(maker.save(tmp_path / "n.bin.gz"))
    assert (found.name, found.version) == ("small", version)
    x = [position(5, board, seed) for seed in (0, 1)]
    with torch.no_grad():
        ours = found.module.eval()(torch.tensor(np.stack(x), dtype=torch.float32))
    theirs = [slow(one) for one in x]
    assert (
        set(ours)
        == set(theirs[0])
        == {"policy", "value", "score", "ownership"} | ({"optimistic"} if version >= 12 else set())
    )
    on = np.append(x[0][0].reshape(-1) > 0, True)
    for name, tensor in ours.items():
        expected = torch.tensor(np.stack([one[name] for one in theirs]), dtype=torch.float32)
        if name in ("policy", "optimistic"):
            assert (tensor[:, torch.tensor(~on)] == -5000).all()
            tensor, expected = tensor[:, torch.tensor(on)], expected[:, torch.tensor(on)]
        assert_close(tensor, expected, 1e-4)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    maker = Maker(17)
    maker.network(8, attending, 3, last="board")
    return maker.save(tmp_path_factory.mktemp("katago") / "small.bin.gz")


def test_a_head_is_chosen_and_the_others_are_sites(file: Path) -> None:
    network = load(f"{file}:policy")
    assert (network.name, network.task) == ("small:policy", "classification")
    assert network.input == ArrayInput(shape=(41, 19, 19))
    assert network.classes is not None
    assert (network.classes[0], network.classes[-2:], len(network.classes)) == ("A19", ("T1", "pass"), 362)
    x, _ = network.example()
    with torch.no_grad(), network.watching(["[value]", "[ownership]", "value_head.linear_valuehead"]) as watched:
        assert network.logits(x).shape == (2, 362)
        assert watched["[ownership]"].shape == (2, 361)
        assert torch.equal(watched["[value]"], watched["value_head.linear_valuehead"])
        value = load("katago:value", weights=file)
        assert torch.equal(value.logits(x), watched["[value]"])
    assert value.classes == ("win", "loss", "no result")
    assert value.head == "value_head.linear_valuehead"
    assert value.identity == network.identity
    score = load(f"{file}:score")
    assert (score.task, score.logits(x).shape) == ("other", (2, 6))
    assert "no result" in network.meaning(network.site("[value]"))
    assert [site.alias for site in trunk(network)] == ["blocks.0", "blocks.1", "blocks.2"]
    assert network.site("blocks.0").axes == ("batch", "channel", "height", "width")
    assert "8 channels a point" in network.meaning(network.site("blocks.2"))


def test_points_are_named_as_players_do() -> None:
    names = points()
    assert names[:9] == ("A19", "B19", "C19", "D19", "E19", "F19", "G19", "H19", "J19")
    assert names[3 * 19 + 15] == "Q16"
    assert len(set(names)) == 362


def test_every_port_of_a_katago_network(file: Path) -> None:
    network = load(f"{file}:policy")
    assert check_every_port(network, network.example()[0]) > 80


def test_attention_patterns_and_heads_are_sites(file: Path) -> None:
    network = load(f"{file}:policy")
    path = "blocks.0.blockstack.0.attention"
    x, _ = network.example(1)
    x[:, 0, :, 10:] = 0  # off the board
    with torch.no_grad(), network.watching([f"{path}#pattern", f"{path}#heads", f"{path}.out_proj.in"]) as watched:
        network(x)
    pattern = watched[f"{path}#pattern"]
    assert pattern.shape == (1, 4, 361, 361)
    assert network.site(f"{path}#pattern").shape == (2, 4, 361, 361)
    off = (x[0, 0] == 0).flatten()
    assert off.sum() == 19 * 9
    assert (pattern[..., off] == 0).all()
    assert_close(pattern.sum(-1), torch.ones(1, 4, 361))
    assert torch.equal(watched[f"{path}#heads"].flatten(2), watched[f"{path}.out_proj.in"])
    inner = network.module.get_submodule(path)

    def silent(module: torch.nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor]:
        flat = args[0].clone()
        flat[..., 3:6] = 0
        return (flat,)

    with torch.no_grad():
        handle = inner.out_proj.register_forward_pre_hook(silent)
        expected = network.logits(x)
        handle.remove()
        with network.editing({f"{path}#head1": Ablate()}):
            assert torch.equal(network.logits(x), expected)


def test_an_empty_input_gives_numbers(file: Path) -> None:
    network = load(f"{file}:value")
    with torch.no_grad():
        assert torch.isfinite(network.logits(torch.zeros(1, 41, 19, 19))).all()


def test_a_head_must_be_named(file: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"several heads, and none is named .*: write .*:policy, or one of optimistic"):
        load(str(file))
    with pytest.raises(BadInput, match="write katago:policy"):
        load("katago", weights=file)
    with pytest.raises(BadInput, match=r"no such head .*: choose among policy, optimistic, value, score, ownership"):
        load(f"{file}:moves")
    with pytest.raises(BadInput, match="there is no such file"):
        load(f"{tmp_path / 'absent.bin.gz'}:policy")
    maker = Maker(8)
    maker.network(6, plain, 2)
    with pytest.raises(BadInput, match="of version 8 and has no optimistic policy"):
        load(f"{maker.save(tmp_path / 'old.bin.gz')}:optimistic")
    with pytest.raises(BadInput, match="362 answers and 2 class names"):
        load(f"{file}:policy", classes=["a", "b"])


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.3, 0.7, 0.99, 0.9999])
def test_a_file_that_is_cut_short_is_said(file: Path, share: float, tmp_path: Path) -> None:
    data = gzip.decompress(file.read_bytes())
    for name, content in (("n.bin.gz", gzip.compress(data[: int(share * len(data))])),
                          ("p.bin.gz", file.read_bytes()[: int(share * file.stat().st_size)])):  # fmt: skip
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BadInput, match=r"no KataGo network, or it is damaged|cannot be read"):
            load(f"{tmp_path / name}:policy")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (b"small\n17\n", b"small\n7\n", "of version 7, and 8 to 17 are read"),
        (b"small\n17\n", b"small\n18\n", "of version 18"),
        (b"small\n17\n22\n", b"small\n17\n23\n", "22 channels|23 channels"),
        (b"150.0\n0\n", b"150.0\n1\n", "takes who they are as a third input"),
        (b"150.0\n0\n0\n0\n", b"150.0\n0\n0\n1\n", "an option that is not known"),
        (b"ACTIVATION_MISH", b"ACTIVATION_TANH", "a nonlinearity that is not known: ACTIVATION_TANH"),
        (b"nested_bottleneck_block", b"other_block", "blocks that are not known: other_block"),
        (b"trunk\n3\n8\n", b"trunk\n3\n9\n", "8 channels meet 9|9 channels meet 8"),
        (b"trunk\n3\n8\n", b"trunk\n99999999999\n8\n", "a number of blocks is '99999999999'"),
        (b"conv\n3\n3\n22\n8\n", b"conv\n3\n3\n22\n30000\n", "is cut short"),
        (b"conv\n3\n3\n22\n8\n", b"conv\n2\n3\n22\n8\n", "is 2 x 3"),
        (b"attention\n4\n2\n", b"attention\n4\n3\n", "channels meet"),
        (b"ffn\n6\n9\n1\n", b"ffn\n6\n9\n0\n", "has no gate"),
        (b"@BIN@", b"@TXT@", "has no weights|is no number|no text"),
    ],
)
def test_damaged_and_unknown_files_are_said(old: bytes, new: bytes, says: str, file: Path, tmp_path: Path) -> None:
    data = gzip.decompress(file.read_bytes())
    assert old in data
    (tmp_path / "n.bin.gz").write_bytes(gzip.compress(data.replace(old, new, 1)))
    with pytest.raises(BadInput, match=says):
        load(f"{tmp_path / 'n.bin.gz'}:policy")


def test_weights_that_are_no_numbers_are_said(file: Path, tmp_path: Path) -> None:
    data = gzip.decompress(file.read_bytes())
    at = data.index(b"@BIN@") + 5
    nan = data[:at] + np.array([np.nan], "<f4").tobytes() + data[at + 4 :]
    (tmp_path / "n.bin.gz").write_bytes(gzip.compress(nan))
    with pytest.raises(BadInput, match="holds NaN or infinity"):
        load(f"{tmp_path / 'n.bin.gz'}:policy")


# The network that katrain ships

# What KataGo 1.17.2 (Eigen, symmetry 0, no optimism, rules of Tromp and Taylor) answers: `kata-raw-nn 0 0`.
# Black to move, komi 7.5: the empty board; then Q16, D4, R4 (white to move).
ENGINE = {
    "empty": {
        "win": 0.370374, "lead": -1.022, "owned": -0.0172161,
        "D17": 0.074277, "D16": 0.048649, "C4": 0.075932, "P17": 0.005643, "K10": 0.000052, "pass": 0.000012,
    },
    "opening": {
        "win": 0.623716, "lead": 0.820, "owned": 0.3097675,
        "D17": 0.112605, "D16": 0.764821, "C16": 0.045132, "C17": 0.008546, "Q3": 0.003577, "pass": 0.000002,
    },
}  # fmt: skip


def planes(stones: list[tuple[str, str]], komi: float) -> Tensor:
    """KataGo's inputs, version 7, of no stones, or a few of both sides that stand alone; rules of Tromp and Taylor.

    Args:
        stones: moves, black first, as ("B", "Q16"). komi: of the player to move.
    """
    x = torch.zeros(1, 41, 19, 19)
    x[:, 0] = 1
    turn = "BW"[len(stones) % 2]
    places = [divmod(points().index(name), 19) for _, name in stones]
    for age, ((colour, _), (row, column)) in enumerate(reversed(list(zip(stones, places, strict=True)))):
        x[:, 1 if colour == turn else 2, row, column] = 1
        neighbours = [(row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)]
        liberties = sum(0 <= r < 19 and 0 <= c < 19 and (r, c) not in places for r, c in neighbours)
        if liberties < 4:
            x[:, 2 + liberties, row, column] = 1
        if age < 5:
            x[:, 9 + age, row, column] = 1
    x[:, 18:20] = x[:, 1:3]  # areas: the stones themselves, while the rest is nobody's
    x[:, 22 + 5] = komi / 20
    x[:, 22 + 6], x[:, 22 + 7], x[:, 22 + 8] = 1, 0.5, 1  # positional superko; suicide is legal
    delta = komi - (np.floor((komi - 1) / 2) * 2 + 1)
    x[:, 22 + 18] = float(delta if delta < 0.5 else 1 - delta if delta < 1.5 else delta - 2)
    return x


@pytest.fixture(scope="module")
def shipped() -> Network:
    if importlib.util.find_spec("katrain") is None:
        pytest.skip("katrain, a download of 106 MB, is not installed")
    return load("katago:policy")


@pytest.mark.real
def test_the_shipped_network_answers_as_katago_s_own_engine(shipped: Network) -> None:
    assert shipped.parameters == 10_545_945
    positions = {
        "empty": planes([], -7.5),
        "opening": planes([("B", "Q16"), ("W", "D4"), ("B", "R4")], 7.5),
    }
    for name, x in positions.items():
        with torch.no_grad():
            out = shipped(x)
        legal = torch.cat([(x[:, 1:3].sum(1) == 0).flatten(1), torch.ones(1, 1, dtype=torch.bool)], 1)
        policy = out["policy"].masked_fill(~legal, -torch.inf).softmax(1)[0].tolist()
        ours = dict(zip(points(), policy, strict=True))
        ours["win"] = float(out["value"][0, :2].softmax(0)[0])
        ours["lead"] = 20 * float(out["score"][0, 2])
        ours["owned"] = float(out["ownership"][0, 0].tanh())
        for key, expected in ENGINE[name].items():
            assert abs(ours[key] - expected) < (1e-3 if key == "lead" else 2e-5), (name, key, ours[key])


@pytest.mark.real
def test_the_shipped_network_plays_in_the_corners_whichever_way_the_board_is_turned(shipped: Network) -> None:
    x = planes([], -7.5)
    with torch.no_grad():
        turns = [x.rot90(k, (2, 3)) for k in range(4)]
        boards = [shipped.logits(t).softmax(1)[0, :361].reshape(19, 19) for t in turns]
        boards += [shipped.logits(t.flip(3)).softmax(1)[0, :361].reshape(19, 19).flip(1) for t in turns]
    back = [board.rot90(-(index % 4), (0, 1)) for index, board in enumerate(boards)]
    for board in back:
        best = [points()[index] for index in board.flatten().topk(12).indices.tolist()]
        corners = {f"{column}{row}" for column in "CDQR" for row in (3, 4, 16, 17)} - {"C3", "C17", "R3", "R17"}
        assert set(best) == corners
        assert float(board.sum()) > 0.99
        assert float((board - back[0]).abs().max()) < 0.02


@pytest.mark.real
def test_the_shipped_network_s_every_port(shipped: Network) -> None:
    assert check_every_port(shipped, shipped.example(1)[0]) > 500
    assert len(trunk(shipped)) == 10
