"""torch.export archives as networks, and archives that must be refused before anything in them is used."""

from __future__ import annotations

import copy
import io
import json
import pickle
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from networks_onnx_exports import build, example
from networks_small import Conv, assert_close, check_every_port, everything, no_hooks_left
from safetensors.torch import save_file
from torch import Tensor, nn

from mulligan.apps import cli
from mulligan.evidence import random_twin
from mulligan.networks import Ablate, Network, Tail, TokenInput, load, trunk
from mulligan.records import BadInput

INPUTS = {"resnet": "size=24", "vit": "size=16", "separable": "size=16", "unet": "size=16,channels=1"}
ROOT = "archive"  # the folder that every archive has


def export(module: nn.Module, args: tuple[Tensor, ...], file: Path, *, closed: bool = False, **more: Any) -> str:
    """Save what torch.export makes of a module, without the pickled sample inputs."""
    auto = torch.export.Dim.AUTO
    sizes = None if closed else tuple(({0: auto, 1: auto} if one.dtype == torch.int64 else {0: auto}) for one in args)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(module, args, dynamic_shapes=sizes)
        program.example_inputs = None
        torch.export.save(program, file, **more)
    return str(file)


@pytest.fixture(scope="session")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("archives")

    def archive(name: str) -> Path:
        file = folder / f"{name}.pt2"
        if not file.is_file():
            export(build(name), example(name), file)
        return file

    return archive


@pytest.fixture
def loaded(archives: Callable[[str], Path]) -> Callable[..., Network]:
    return lambda name, **more: load(str(archives(name)), input=INPUTS.get(name), **more)


def rewritten(file: Path, folder: Path, change: Callable[[dict[str, bytes]], None], **how: Any) -> str:
    """The archive with other members."""
    with zipfile.ZipFile(file) as opened:
        members = {name.partition("/")[2]: opened.read(name) for name in opened.namelist()}
    change(members)
    new = folder / "changed.pt2"
    with zipfile.ZipFile(new, "w", **how) as opened:
        for name, content in members.items():
            opened.writestr(f"{ROOT}/{name}", content)
    return str(new)


def edited(file: Path, folder: Path, change: Callable[[Any], None]) -> str:
    """The archive with another program."""

    def put(members: dict[str, bytes]) -> None:
        program = json.loads(members["models/model.json"])
        change(program)
        members["models/model.json"] = json.dumps(program).encode()

    return rewritten(file, folder, put)


def refused(spec: str, **more: Any) -> str:
    with pytest.raises(BadInput) as caught:
        load(spec, **more)
    assert str(caught.value).count("\n") == 0
    return str(caught.value)


# The network that was exported
@pytest.mark.parametrize("name", ["resnet", "vit", "separable", "unet", "lstm", "mlp"])
def test_an_archive_answers_as_the_model(name: str, loaded: Callable[..., Network]) -> None:
    (x,) = example(name, 4)
    module = build(name)
    network = loaded(name)
    with torch.no_grad():
        assert_close(network.logits(x), module(x), 1e-6)
    assert network.module.state_dict().keys() == module.state_dict().keys()


@pytest.mark.parametrize("name", ["resnet", "vit", "lstm", "separable"])
def test_every_module_is_given_and_gives_what_it_did(name: str, loaded: Callable[..., Network]) -> None:
    (x,) = example(name)
    module, network = build(name), loaded(name)
    theirs = everything(module, lambda: module(x))
    ours = everything(network.module, lambda: network(x))
    ran = {key for key, tensors in theirs.items() if key[0]}
    assert {key for key in ours if key[0]} == ran
    for key in ran:
        # Of an LSTM's three outputs, only what is read outlives the export.
        for one, other in zip(ours[key], theirs[key], strict=False):
            assert_close(one, other, 1e-6)
    assert check_every_port(network, x) > 3


def test_layers_are_torchs_own(loaded: Callable[..., Network]) -> None:
    for name in ("resnet", "vit", "separable", "mlp"):
        module, network = build(name), loaded(name)
        for path, one in module.named_modules():
            if path and not any(one.children()) and not isinstance(one, nn.Dropout | nn.ModuleList):
                assert isinstance(network.module.get_submodule(path), type(one)), path
    network = loaded("resnet")
    original = Network(build("resnet"), input=network.input)
    assert network.head == "fc"
    assert [site.alias for site in trunk(network)] == [site.alias for site in trunk(original)]
    assert [site.alias for site in network.sites()] == [site.alias for site in original.sites()]
    assert network.meaning(network.site("layer1.0")) == "what comes out of Basic that was recorded at this path"


def test_an_edit_does_what_it_does_to_the_model(loaded: Callable[..., Network]) -> None:
    network = loaded("resnet")
    original = Network(build("resnet"), input=network.input)
    (x,) = example("resnet")
    for site in ("layer1.0", "layer1.0.bn1", "layer1.0.relu!1", "conv1", "avgpool"):
        with torch.no_grad(), network.editing({site: Ablate()}), original.editing({site: Ablate()}):
            assert_close(network.logits(x), original.logits(x), 1e-6)
    no_hooks_left(network.module)


def test_a_tail_a_copy_and_a_twin_work(loaded: Callable[..., Network]) -> None:
    network = loaded("vit")
    (x,) = example("vit")
    with torch.no_grad():
        tail = Tail(network, "blocks.0.attn")
        held = tail.hold(x)
        with network.editing({"blocks.0.attn": Ablate()}):
            edited = network.logits(x)
        assert_close(tail(held, torch.zeros_like(held.value)), edited, 1e-5)
        copied = network.with_module(copy.deepcopy(network.module))
        copied.module.get_submodule("head").weight.zero_()
        assert not torch.equal(copied.logits(x), network.logits(x))
        assert not torch.equal(random_twin(network, 0).logits(x), network.logits(x))


def test_the_identity_is_the_files(loaded: Callable[..., Network], tmp_path: Path) -> None:
    one, again = loaded("vit"), loaded("vit")
    assert one.identity == again.identity
    export(build("vit"), example("vit", 2), tmp_path / "other.pt2")
    assert load(str(tmp_path / "other.pt2")).identity == one.identity
    with torch.no_grad():
        again.module.get_submodule("blocks.1.fc1").weight[0, 0] += 1
    assert one.identity != again.with_module(again.module).identity
    # An operation alone makes another network.
    export(nn.Sequential(nn.Linear(6, 3), nn.ReLU()), example("mlp"), tmp_path / "relu.pt2")
    export(nn.Sequential(nn.Linear(6, 3), nn.GELU()), example("mlp"), tmp_path / "gelu.pt2")
    assert load(str(tmp_path / "relu.pt2")).identity != load(str(tmp_path / "gelu.pt2")).identity


def test_weights_of_the_original_replace_the_files(loaded: Callable[..., Network], tmp_path: Path) -> None:
    module = build("resnet")
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(1.5)
    file = tmp_path / "other.safetensors"
    save_file(module.state_dict(), file)
    (x,) = example("resnet")
    with torch.no_grad():
        assert_close(loaded("resnet", weights=file).logits(x), module(x), 1e-6)


def test_modules_that_are_shared_tied_or_called_with_several_values(tmp_path: Path) -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inputs, self.steps = nn.Linear(6, 6), nn.ModuleList([nn.Linear(6, 6), nn.Linear(6, 6)])
            self.gate, self.head, self.record = Gate(), nn.Linear(6, 6, bias=False), nn.ReLU()
            self.head.weight = self.inputs.weight
            self.register_buffer("scale", torch.full((6,), 0.5))

        def forward(self, x: Tensor) -> dict[str, Any]:
            y = self.record(self.inputs(x)) * self.scale
            for step in self.steps:
                y = self.gate(step(y), y)
            with torch.no_grad():
                fixed = y.mean(1, keepdim=True)
            kept, other = self.gate.both(y)
            return {"logits": self.head(kept + fixed) * torch.tensor(2.0), "hidden": (other, y)}

    class Gate(nn.Module):
        def forward(self, x: Tensor, by: Tensor) -> Tensor:
            return x * by.sigmoid()

        def both(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x + 1, x - 1

    module = Odd().eval()
    (x,) = example("mlp", 5)
    network = load(export(module, (x,), tmp_path / "odd.pt2") + "#0")
    theirs = everything(module, lambda: module(x))
    ours = everything(network.module, lambda: network(x))
    for call in (0, 1):
        assert_close(ours["gate", "out", call][0], theirs["gate", "out", call][0], 1e-6)
        assert {len(ours["gate", "in", call])} == {2}
    with torch.no_grad():
        assert_close(network.logits(x), module(x)["logits"], 1e-6)
    assert network.module.get_submodule("steps.0").weight.shape == (6, 6)
    assert network.parameters == sum(one.numel() for one in module.parameters())
    # What ran under no_grad passes no gradient here either.
    grads = []
    for run in (lambda x: module(x)["logits"], network.logits):
        leaf = x.clone().requires_grad_()
        run(leaf).sum().backward()
        assert leaf.grad is not None
        grads.append(leaf.grad)
    assert_close(grads[1], grads[0], 1e-6)


def test_what_works_in_place_works_in_place(tmp_path: Path) -> None:
    module = Conv().eval()
    x = torch.randn(3, 3, 9, 9)
    network = load(export(module, (x,), tmp_path / "conv.pt2"), input="size=9")
    theirs = everything(module, lambda: module(x))
    with torch.no_grad(), network.watching(["norm", "act"]) as watched:
        network(x)
    assert_close(watched["norm"], theirs["norm", "out", 0][0], 1e-6)
    assert watched["norm"].min() < 0 <= watched["act"].min()


def test_a_text_encoder_with_a_tokenizer_beside(archives: Callable[[str], Path], tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    file = tmp_path / "encoder.pt2"
    file.write_bytes(archives("encoder").read_bytes())
    assert "takes tokens, and no tokenizer lies beside it" in refused(str(file))
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({f"w{i}": i for i in range(20)}, unk_token="w0"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "tokenizer.json"))
    network = load(str(file))
    assert isinstance(network.input, TokenInput)
    ids, mask = example("encoder")
    with torch.no_grad():
        assert_close(network.logits(ids, mask.bool()), build("encoder")(ids, mask), 1e-5)


def test_images_need_to_be_told_and_a_file_may_tell(archives: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="pass --input size=24,channels=3,mean=MEAN,std=STD"):
        load(str(archives("resnet"))).sites()
    extra = {"input": "size=16,channels=1,mean=0.5,std=0.25", "classes": '["a", "b"]'}
    network = load(export(build("unet"), example("unet"), tmp_path / "told.pt2", extra_files=extra))
    assert network.record().classes == ("a", "b")
    assert network.site("up").shape == (2, 4, 16, 16)
    odd = {"extra/classes": b"a, b"}
    told = refused(rewritten(tmp_path / "told.pt2", tmp_path, lambda members: members.update(odd)))
    assert "the file's own list of classes is no JSON list of names" in told


# What must be refused
def test_pickled_members_are_refused_by_name(archives: Callable[[str], Path], tmp_path: Path) -> None:
    (x,) = example("mlp")
    torch.export.save(torch.export.export(build("mlp"), (x,)), tmp_path / "usual.pt2")
    told = refused(str(tmp_path / "usual.pt2"))
    assert "the member data/sample_inputs/model.pt is pickled, and Mulligan unpickles nothing" in told
    # What the message says makes a file that loads.
    program = torch.export.load(tmp_path / "usual.pt2")
    program.example_inputs = None
    torch.export.save(program, tmp_path / "new.pt2")
    assert "usual" not in load(str(tmp_path / "new.pt2")).name


class Bomb:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("exploded"),)


def _saved(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("data/sample_inputs/model.pt", _saved(Bomb())),
        ("data/weights/model.pt", _saved({"a": torch.zeros(1)})),
        ("data/constants/model.pt", b"anything"),
        ("data/constants/custom_obj_0", b"anything"),
        ("data/constants/opaque_obj_0", pickle.dumps(Bomb())),
        ("extra/notes", pickle.dumps(Bomb(), 2)),
        ("extra/notes", _saved(Bomb())),
        ("models/model.json", pickle.dumps(Bomb())),
    ],
)
def test_no_pickle_is_ever_opened(
    name: str, content: bytes, archives: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = refused(rewritten(archives("mlp"), tmp_path, lambda members: members.update({name: content})))
    assert f"the member {name} is pickled, and Mulligan unpickles nothing" in told
    assert "example_inputs = None" in told
    assert not (tmp_path / "exploded").exists()


def test_a_weight_that_says_it_is_pickled_is_refused(archives: Callable[[str], Path], tmp_path: Path) -> None:
    name = "data/weights/model_weights_config.json"

    def change(members: dict[str, bytes]) -> None:
        members[name] = members[name].replace(b'"use_pickle": false', b'"use_pickle": true', 1)
        members["data/weights/weight_0"] = _saved(Bomb())

    assert "net.0.weight is pickled" in refused(rewritten(archives("mlp"), tmp_path, change))


def test_raw_numbers_may_look_like_anything(archives: Callable[[str], Path], tmp_path: Path) -> None:
    def change(members: dict[str, bytes]) -> None:
        members["data/weights/weight_0"] = b"PK\x03\x04" + members["data/weights/weight_0"][4:]

    network = load(rewritten(archives("mlp"), tmp_path, change))
    assert network.module.get_submodule("net.0").weight.flatten()[0].item() == np.frombuffer(b"PK\x03\x04", "<f4")[0]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("data/aotinductor/model/model.so", "is compiled code, which Mulligan never runs"),
        ("data/aotinductor/model/kernel.cpp", "is compiled code"),
        ("extra/native.so", "is compiled code"),
        ("surprise", "the member surprise is not known here"),
        ("models/other.json", "the archive holds 2 programs, not one"),
    ],
)
def test_other_members_are_refused(name: str, told: str, archives: Callable[[str], Path], tmp_path: Path) -> None:
    assert told in refused(rewritten(archives("mlp"), tmp_path, lambda members: members.update({name: b"text"})))


@pytest.mark.parametrize("name", ["../../evil", "/evil", "a/../../evil", "a\\evil", "archive/./x", "C:/evil"])
def test_paths_that_leave_the_archive_are_refused(name: str, archives: Callable[[str], Path], tmp_path: Path) -> None:
    file = tmp_path / "slip.pt2"
    file.write_bytes(archives("mlp").read_bytes())
    with zipfile.ZipFile(file, "a") as opened:
        opened.writestr(zipfile.ZipInfo(name), b"text")
    assert "do not trust this file" in refused(str(file))


def test_zips_that_are_not_what_torch_writes(archives: Callable[[str], Path], tmp_path: Path) -> None:
    told = refused(rewritten(archives("mlp"), tmp_path, lambda members: None, compression=zipfile.ZIP_DEFLATED))
    assert "is compressed or encrypted, as torch writes none" in told
    file = tmp_path / "x.pt2"
    assert "there is no such file" in refused(str(file))
    whole = archives("mlp").read_bytes()
    for content in (b"", b"nothing", whole[: len(whole) // 2], whole[:-30]):
        file.write_bytes(content)
        assert "this is no torch.export archive, or it is damaged" in refused(str(file))
    at = whole.index(b'"graph_module"')
    file.write_bytes(whole[:at] + b"X" + whole[at + 1 :])
    assert "Bad CRC-32" in refused(str(file))
    with zipfile.ZipFile(file, "w") as opened:
        opened.writestr("a/extra/b", "c")
    assert "this zip is no torch.export archive" in refused(str(file))
    torch.save({"a": torch.zeros(2)}, file)
    assert "the member data.pkl is pickled" in refused(str(file))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of two members of one name
        with zipfile.ZipFile(archives("mlp")) as old, zipfile.ZipFile(file, "w") as new:
            for member in old.namelist():
                new.writestr(member, old.read(member))
                if member.endswith("archive_format"):
                    new.writestr(member, b"pt2")
    assert "two members are named 'archive_format'" in refused(str(file))


def test_versions_that_are_not_known(archives: Callable[[str], Path], tmp_path: Path) -> None:
    def newer(program: Any) -> None:
        program["schema_version"] = {"major": 9, "minor": 1}

    told = refused(edited(archives("mlp"), tmp_path, newer))
    assert "the program is of schema 9.1, and 8 is what is known here" in told
    told = refused(rewritten(archives("mlp"), tmp_path, lambda members: members.update({"archive_version": b"1"})))
    assert "this archive is of a version that is not known here" in told
    told = refused(rewritten(archives("mlp"), tmp_path, lambda members: members.update({"byteorder": b"big"})))
    assert "big-endian" in told


def test_members_that_are_missing_or_too_short(archives: Callable[[str], Path], tmp_path: Path) -> None:
    for name in ("data/weights/weight_0", "data/weights/model_weights_config.json", "archive_version"):
        told = refused(rewritten(archives("mlp"), tmp_path, lambda members, name=name: members.pop(name)))
        assert f"the archive has no member {name}" in told
    cut = {"data/weights/weight_0": b"\0" * 12}
    told = refused(rewritten(archives("mlp"), tmp_path, lambda members: members.update(cut)))
    assert "net.0.weight should have 54 numbers and its member data/weights/weight_0 has 3" in told
    name = "data/weights/model_weights_config.json"

    def stretched(members: dict[str, bytes]) -> None:
        config = json.loads(members[name])
        config["config"]["net.0.weight"]["tensor_meta"]["storage_offset"] = {"as_int": 7}
        members[name] = json.dumps(config).encode()

    assert "net.0.weight should have 61 numbers" in refused(rewritten(archives("mlp"), tmp_path, stretched))

    def nothing(program: Any) -> None:
        del program["graph_module"]["graph"]["nodes"][0]["inputs"]

    assert "the program does not say what torch.export writes" in refused(edited(archives("mlp"), tmp_path, nothing))
    told = refused(rewritten(archives("mlp"), tmp_path, lambda members: members.update({"models/model.json": b"{"})))
    assert "the archive does not say what torch.export writes" in told


@pytest.mark.parametrize(
    "target",
    [
        "torch.os.system", "torch.ops.aten.from_file.default", "torch.ops.aten.save.default", "builtins.eval",
        "torch.ops.higher_order.cond", "math.factorial", "_operator.getitem", "torch.ops.mylib.op.default", "#ext:op",
        "torch.ops.aten.set_.source_Storage", "torch.ops.aten._cudnn_rnn.default", "torch.ops.aten.relu.nothing",
        "torch.ops.aten.relu.default.__class__", "torch.ops.aten.__class__.mro", "torch.ops.aten.add.out",
        "torch.ops.aten.resize_.default", "torch.ops.aten.no_such_thing.default",
    ],
)  # fmt: skip
def test_only_operations_that_compute_are_run(target: str, archives: Callable[[str], Path], tmp_path: Path) -> None:
    def change(program: Any) -> None:
        program["graph_module"]["graph"]["nodes"][0]["target"] = target

    told = refused(edited(archives("mlp"), tmp_path, change))
    assert target in told
    assert "not known here" in told or "is not one that Mulligan runs" in told or "has no operation" in told


def test_text_of_the_file_is_never_run(
    archives: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sizes, guards, names of values and traces are where torch's own loader evaluates text."""
    monkeypatch.chdir(tmp_path)
    code = "__import__('pathlib').Path('exploded').touch()"

    def change(program: Any) -> None:
        text = json.dumps(program["graph_module"])
        for name in ("linear", "x"):
            text = text.replace(f'"name": "{name}"', f'"name": "{name}: {code}"').replace(
                f'"{name}": {{"dtype"', f'"{name}: {code}": {{"dtype"'
            )
        program["graph_module"] = json.loads(text)
        program["guards_code"] = [code]
        program["verifiers"] = [code]
        for value in program["graph_module"]["graph"]["tensor_values"].values():
            for size in value["sizes"]:
                if "as_expr" in size:
                    size["as_expr"]["expr_str"] = code
        for node in program["graph_module"]["graph"]["nodes"]:
            node["metadata"]["stack_trace"] = node["metadata"]["torch_fn"] = f"\n{code}\n"

    network = load(edited(archives("mlp"), tmp_path, change))
    (x,) = example("mlp")
    with torch.no_grad():
        assert_close(network.logits(x), build("mlp")(x), 1e-6)
    assert not (tmp_path / "exploded").exists()


def test_paths_in_a_program_are_paths(archives: Callable[[str], Path], tmp_path: Path) -> None:
    def change(program: Any) -> None:
        stack = program["graph_module"]["graph"]["nodes"][0]["metadata"]
        stack["nn_module_stack"] = stack["nn_module_stack"].replace("net.0,", "net.0#x,")

    assert "a module is named 'net.0#x'" in refused(edited(archives("mlp"), tmp_path, change))


class Training(nn.Module):
    """Things that only a network in training does."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.norm, self.drop = how, nn.BatchNorm1d(6), nn.Dropout(0.3)
        self.register_buffer("count", torch.zeros(6))

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "norm":
            return self.norm(x)
        if self.how == "dropout":
            return self.drop(x)
        if self.how == "random":
            return x + torch.randn_like(x)
        self.count.add_(1)
        return x + self.count


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("norm", "changes its own norm.num_batches_tracked"),
        ("dropout", "was exported while training (dropout)"),
        ("random", "draws random numbers (randn_like)"),
        ("count", "changes its own count while it runs"),
    ],
)
def test_a_network_that_is_not_at_rest_is_refused(how: str, told: str, tmp_path: Path) -> None:
    text = refused(export(Training(how).train(), example("mlp"), tmp_path / "net.pt2"))
    assert told in text or "was exported while training" in text
    assert "call model.eval() before exporting it" in text


def test_an_archive_for_one_size_of_batch_says_so(tmp_path: Path) -> None:
    told = refused(export(build("lstm"), example("lstm", 1), tmp_path / "net.pt2", closed=True))
    assert "this graph does not run on batches of two and of one" in told
    assert "dynamic_shapes=({0: torch.export.Dim.AUTO},)" in told
    # Where nothing depends on the size of the batch, it does not matter that it was fixed.
    network = load(export(build("mlp"), example("mlp", 1), tmp_path / "free.pt2", closed=True))
    assert network.logits(example("mlp", 4)[0]).shape == (4, 3)


def test_a_recurrent_state_of_another_size_is_never_read(tmp_path: Path) -> None:
    """ATen's own layer reads past the end of one that is too small."""
    file = Path(export(build("lstm"), example("lstm"), tmp_path / "net.pt2"))

    def change(program: Any) -> None:
        for node in program["graph_module"]["graph"]["nodes"]:
            if node["target"] == "torch.ops.aten.zeros.default":
                sizes = next(one for one in node["inputs"] if one["name"] == "size")
                sizes["arg"] = {"as_ints": [4, 1, 1]}

    assert "has states of (4, 1, 1), (4, 1, 1)" in refused(edited(file, tmp_path, change))


def test_a_value_out_of_nothing_may_not_fill_the_memory(tmp_path: Path) -> None:
    class Zeros(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + torch.zeros(6)

    def change(program: Any) -> None:
        for node in program["graph_module"]["graph"]["nodes"]:
            if node["target"] == "torch.ops.aten.zeros.default":
                node["inputs"][0]["arg"] = {"as_ints": [1 << 20, 1 << 20]}

    file = Path(export(Zeros(), example("mlp"), tmp_path / "net.pt2"))
    assert load(str(file)).logits(torch.ones(2, 6)).sum() == 12
    assert "a value of (1048576, 1048576) numbers" in refused(edited(file, tmp_path, change))


# The command line
def test_sites_and_record(
    archives: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def mulligan(*words: object) -> int:
        monkeypatch.setattr(sys, "argv", ["mulligan", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return int(caught.value.code or 0)

    file = archives("resnet")
    assert mulligan("sites", file, "layer1*", "--input", "size=24") == 0
    assert "layer1.0.bn2" in capfd.readouterr().out
    np.savez(tmp_path / "data.npz", x=(np.random.default_rng(0).random((4, 24, 24, 3)) * 255).astype(np.uint8))
    words = ["record", file, "--data", tmp_path / "data.npz", "--sites", "layer1.*", "--input", "size=24"]
    assert mulligan(*words, "--out", tmp_path / "run") == 0
    assert "4 examples at" in capfd.readouterr().err
    (x,) = example("mlp")
    torch.export.save(torch.export.export(build("mlp"), (x,)), tmp_path / "usual.pt2")
    assert mulligan("sites", tmp_path / "usual.pt2") == 2
    assert "is pickled, and Mulligan unpickles nothing" in capfd.readouterr().err
