"""ONNX files as networks: real exports against torch eager and onnxruntime, and files that must be refused."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from networks_onnx_exports import FIXTURES, build, example
from networks_onnx_graphs import assert_equal, draw, model, runtime
from networks_small import assert_close, check_every_port, no_hooks_left
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file
from torch import nn

from mulligan.apps import cli
from mulligan.evidence import random_twin
from mulligan.networks import Ablate, ArrayInput, Network, Tail, TokenInput, load, trunk
from mulligan.networks.adapters import packages
from mulligan.networks.adapters.onnx_graph.reshaping import rebatched
from mulligan.records import BadInput

FILES = sorted(FIXTURES.glob("*.onnx"))
INPUTS = {"resnet": "size=24", "vit": "size=16", "separable": "size=16", "unet": "size=16,channels=1"}


def fixture(name: str, **more: Any) -> Network:
    return load(str(FIXTURES / f"{name}.onnx"), input=INPUTS.get(name.partition(".")[0]), **more)


def tokenizer(folder: Path, words: int = 20) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    known = {"[PAD]": 0, **{f"w{number}": number for number in range(1, words)}}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(known, unk_token="[PAD]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(folder / "tokenizer.json"))


def node(op: str, inputs: list[str], outputs: list[str], name: str = "", **attributes: Any) -> Any:
    return helper.make_node(op, inputs, outputs, name=name, **attributes)


def put(made: Any, folder: Path, name: str = "net.onnx") -> str:
    file = folder / name
    file.write_bytes(made if isinstance(made, bytes) else made.SerializeToString())
    return str(file)


def refused(spec: str, **more: Any) -> str:
    with pytest.raises(BadInput) as caught:
        load(spec, **more)
    assert str(caught.value).count("\n") == 0
    return str(caught.value)


# What exporters really write
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_an_export_answers_as_the_model_and_as_onnxruntime(file: Path, tmp_path: Path) -> None:
    name = file.name.partition(".")[0]
    inputs = example(name, 1 if ".fixed" in file.name else 3)
    with torch.no_grad():
        theirs = build(name)(*inputs)
    names = ["input_ids", "attention_mask"] if name == "encoder" else ["x"]
    given = {key: one.numpy() for key, one in zip(names, inputs, strict=True)}
    if name == "encoder":
        tokenizer(tmp_path)
        file = Path(put(file.read_bytes(), tmp_path))
    network = load(str(file))
    with torch.no_grad():
        ours = network(inputs[0], inputs[1].bool() if name == "encoder" else None)["logits"]
    assert_close(ours, theirs, 1e-5)
    assert_equal([ours.numpy()], runtime(onnx.load(file), given), 1e-5)


@pytest.mark.parametrize("name", ["resnet", "vit", "separable", "unet", "lstm", "mlp"])
def test_a_file_that_was_exported_for_one_example_takes_several(name: str) -> None:
    (x,) = example(name)
    with torch.no_grad():
        theirs = build(name)(x)
        ours = fixture(f"{name}.fixed")(x)["logits"]
    assert_close(ours, theirs, 1e-5)


def test_paths_are_those_of_the_model() -> None:
    network = fixture("resnet.script")
    kinds = {path: type(one).__name__ for path, one in network.module.named_modules() if path}
    for path, kind in {
        "conv1": "Conv2d", "relu": "ReLU", "maxpool": "MaxPool2d", "layer1": "RecordedSequence", "layer1.0": "Recorded",
        "layer1.0.conv1": "Conv2d", "layer1.0.Add": "Add", "layer2.0.down.0": "Conv2d", "avgpool": "GlobalAveragePool",
        "Flatten": "Flatten", "fc": "Linear",
    }.items():  # fmt: skip
        assert kinds[path] == kind
    assert network.head == "fc"
    original = Network(build("resnet"), input=network.input)
    assert [site.alias for site in trunk(network)] == [site.alias for site in trunk(original)]
    assert network.meaning(network.site("layer1.0")) == "what comes out of the module that was recorded at this path"


def test_both_exporters_give_the_same_paths() -> None:
    def layers(name: str) -> set[str]:
        module = fixture(name).module
        return {path for path, one in module.named_modules() if isinstance(one, nn.Linear | nn.LayerNorm | nn.Conv2d)}

    assert layers("vit.script") == layers("vit.dynamo") == {
        path for path, one in build("vit").named_modules() if isinstance(one, nn.Linear | nn.LayerNorm | nn.Conv2d)
    }  # fmt: skip
    assert layers("resnet.script") == layers("resnet.dynamo")


def test_what_passes_is_what_the_model_passes() -> None:
    (x,) = example("vit")
    original = Network(build("vit"), input=None)
    original.rehearse(x)
    sites = ["patch", *(f"blocks.{i}.{part}" for i in range(2) for part in ("norm1", "attn", "fc1", "act", "fc2")),
             "blocks.0", "blocks.1", "norm"]  # fmt: skip
    for name in ("vit.script", "vit.dynamo", "vit.fixed"):
        network = fixture(name)
        with torch.no_grad(), network.watching(sites) as ours, original.watching(sites) as theirs:
            network(x)
            original(x)
        for site in sites:
            assert_close(ours[site], theirs[site], 1e-5)


@pytest.mark.parametrize("name", ["resnet.script", "vit.dynamo", "lstm.script", "separable.fixed"])
def test_every_port_holds_what_plain_hooks_see(name: str) -> None:
    (x,) = example(name.partition(".")[0])
    assert check_every_port(fixture(name), x) > 10


def test_an_edit_does_to_the_file_what_it_does_to_the_model() -> None:
    (x,) = example("resnet")
    original = Network(build("resnet"), input=None)
    original.rehearse(x)
    network = fixture("resnet.script")
    for site in ("layer1.0", "layer1.1", "conv1"):
        with torch.no_grad():
            clean = network.logits(x)
            with network.editing({site: Ablate()}):
                ours = network.logits(x)
            if site != "conv1":  # in the file, it has the batch norm in it
                with original.editing({site: Ablate()}):
                    assert_close(ours, original.logits(x), 1e-5)
        assert not torch.equal(ours, clean)
        assert torch.equal(network.logits(x), clean)
    no_hooks_left(network.module)


def test_a_tail_a_copy_and_a_twin_work() -> None:
    network = fixture("vit.script")
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


def test_gradients_reach_the_input() -> None:
    (x,) = example("resnet")
    module = build("resnet")
    grads = []
    for run in (module, lambda x: fixture("resnet.script")(x)["logits"]):
        leaf = x.clone().requires_grad_()
        run(leaf).sum().backward()
        assert leaf.grad is not None
        grads.append(leaf.grad)
    assert_close(grads[1], grads[0], 1e-4)


def test_the_identity_is_the_files() -> None:
    one, again = fixture("vit.script"), fixture("vit.script")
    assert one.identity == again.identity
    assert one.identity != fixture("vit.dynamo").identity
    with torch.no_grad():
        again.module.get_submodule("blocks.1.fc1").weight[0, 0] += 1
    assert one.identity != again.with_module(again.module).identity


def test_weights_of_that_shape_replace_the_files(tmp_path: Path) -> None:
    module = build("mlp")
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.neg_()
    file = tmp_path / "other.safetensors"
    save_file(module.state_dict(), file)
    (x,) = example("mlp")
    with torch.no_grad():
        assert_close(fixture("mlp.script", weights=file).logits(x), module(x), 1e-6)
    save_file({"net.0.weight": torch.zeros(2, 2)}, file)
    assert "the weights do not fit this network" in refused(str(FIXTURES / "mlp.script.onnx"), weights=file)


# What goes in, what comes out
def test_images_need_to_be_told_how_pixels_become_input() -> None:
    network = load(str(FIXTURES / "resnet.script.onnx"))
    with pytest.raises(BadInput, match=r"pass --input size=24,channels=3,mean=MEAN,std=STD") as caught:
        network.sites()
    assert "does not say how pixels become its input" in str(caught.value)
    assert fixture("resnet.script").site("fc").shape == (2, 5)


def test_a_file_may_carry_its_input_and_classes(tmp_path: Path) -> None:
    made = onnx.load(FIXTURES / "resnet.script.onnx")
    helper.set_model_props(
        made, {"mulligan.input": "size=24,mean=0.5,std=0.25", "mulligan.classes": '["a","b","c","d","e"]'}
    )
    network = load(put(made, tmp_path))
    assert network.input is not None
    assert network.record().input == {"kind": "images", "spec": network.input.spec()}
    assert network.classes == ("a", "b", "c", "d", "e")
    assert network.task == "classification"


def test_arrays_are_taken_as_they_are() -> None:
    network = fixture("lstm.script")
    assert network.input == ArrayInput(shape=(6, 5))
    assert network.site("lstm").axes == ("batch", "position", "feature")


def test_channels_last_and_bytes(tmp_path: Path) -> None:
    """As TensorFlow's exporter writes: bytes, channels last, one scope for all."""
    weight = draw(4, 3, 3, 3)
    nodes = [
        node("Cast", ["x"], ["f"], "model/cast/Cast", to=TensorProto.FLOAT),
        node("Transpose", ["f"], ["t"], "model/conv/Transpose", perm=[0, 3, 1, 2]),
        node("Conv", ["t", "w"], ["c"], "model/conv/Conv2D"),
        node("ReduceMean", ["c", "axes"], ["logits"], "model/pool/Mean", keepdims=0),
    ]
    made = model(nodes, {"x": np.zeros((2, 9, 8, 3), np.uint8)}, ["logits"], {"w": weight, "axes": np.array([2, 3])})
    made.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    network = load(put(made, tmp_path), input="size=9x8,mean=0,std=0.00392156862745098")
    pixels = torch.rand(2, 3, 9, 8)
    with torch.no_grad():
        ours = network.logits(network.input.normalise(pixels))  # type: ignore[union-attr]
    whole = (pixels * 255).round()
    theirs = nn.functional.conv2d(whole, torch.from_numpy(weight)).mean((2, 3))
    assert_close(ours, theirs, 1e-5)
    assert network.site("model.conv.Conv2D").shape == (2, 4, 7, 6)


def test_a_softmax_at_the_end_is_looked_behind() -> None:
    network = fixture("separable.script")
    (x,) = example("separable")
    with torch.no_grad():
        probabilities = build("separable")(x)
        logits = network.logits(x)
    assert_close(logits.softmax(1), probabilities, 1e-5)
    assert network.head == "classifier.1"


def _two_heads() -> Any:
    nodes = [node("Gemm", ["x", "a"], ["policy"], "policy"), node("Gemm", ["x", "b"], ["value"], "value")]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size])
        for name, size in (("policy", 3), ("value", 1))
    ]
    return model(nodes, {"x": ("n", 4)}, outputs, {"a": draw(4, 3), "b": draw(4, 1)})


def test_an_ambiguous_head_is_named_after_a_hash(tmp_path: Path) -> None:
    spec = put(_two_heads(), tmp_path)
    assert refused(spec).endswith("any of policy, value could be this graph's answer "
                                  f"({spec}): name it: net.onnx#policy.")  # fmt: skip
    assert load(f"{spec}#policy").dry_run is not None
    x = torch.rand(2, 4)
    assert load(f"{spec}#value").logits(x).shape == (2, 1)
    assert load(f"{spec}#policy").logits(x).shape == (2, 3)
    assert "has no output 'draw'; it has policy, value" in refused(f"{spec}#draw")


def test_texts_need_a_tokenizer_beside(tmp_path: Path) -> None:
    content = (FIXTURES / "encoder.dynamo.onnx").read_bytes()
    assert "takes tokens, and no tokenizer lies beside it" in refused(put(content, tmp_path))
    tokenizer(tmp_path)
    network = load(put(content, tmp_path))
    assert isinstance(network.input, TokenInput)
    assert network.task == "language"
    ids, mask = network.input.encode(["w1 w2 w3", "w4"])
    with torch.no_grad():
        theirs = build("encoder")(ids, mask.long())
        assert_close(network.logits(ids, mask)[0], theirs[0], 1e-5)
        assert_close(network.logits(ids, mask)[1, :1], theirs[1, :1], 1e-5)
    assert network.head == "out"


def test_other_inputs_are_refused(tmp_path: Path) -> None:
    two = model([node("Add", ["x", "y"], ["z"])], {"x": (2, 3), "y": (2, 3)}, ["z"])
    assert "takes several inputs (x, y), and Mulligan feeds one" in refused(put(two, tmp_path))
    cached = model([node("Add", ["x", "past_key"], ["z"])], {"x": (2, 3), "past_key": (2, 3)}, ["z"])
    assert "takes what an earlier pass left (past_key)" in refused(put(cached, tmp_path))
    wide = model([node("Relu", ["x"], ["z"])], {"x": (2, "n")}, ["z"])
    assert "the sizes of x are 2 x ?, and only the first may vary" in refused(put(wide, tmp_path))
    whole = model([node("Abs", ["x"], ["z"])], {"x": np.zeros((2, 3), np.int64)}, ["z"])
    assert "takes whole numbers (x), and no tokenizer lies beside it" in refused(put(whole, tmp_path))


def test_a_quantized_model_runs_in_floating_point(tmp_path: Path) -> None:
    zero = np.int8(0)
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"]), node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        node("DequantizeLinear", ["w", "s", "z"], ["v"]), node("Gemm", ["d", "v"], ["y"], "fc"),
    ]  # fmt: skip
    weight = np.arange(-6, 6, dtype=np.int8).reshape(4, 3)
    made = model(nodes, {"x": ("n", 4)}, ["y"], {"s": np.float32(0.05), "z": zero, "w": weight})
    network = load(put(made, tmp_path))
    assert isinstance(network.module.get_submodule("fc"), nn.Linear)
    x = draw(3, 4)
    with torch.no_grad():
        assert_equal([network.logits(torch.from_numpy(x)).numpy()], runtime(made, {"x": x}))


def test_half_precision_is_computed_in_single(tmp_path: Path) -> None:
    weight = draw(4, 3).astype(np.float16)
    nodes = [
        node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16), node("MatMul", ["h", "w"], ["m"], "fc"),
        node("Cast", ["m"], ["y"], to=TensorProto.FLOAT),
    ]  # fmt: skip
    made = model(nodes, {"x": ("n", 4)}, ["y"], {"w": weight})
    network = load(put(made, tmp_path))
    x = torch.from_numpy(draw(2, 4))
    assert_close(network.logits(x), x @ torch.from_numpy(weight.astype(np.float32)), 1e-6)


def test_a_shared_table_stays_one(tmp_path: Path) -> None:
    nodes = [node("MatMul", ["x", "w"], ["a"], "one"), node("MatMul", ["a", "w"], ["y"], "two")]
    network = load(put(model(nodes, {"x": ("n", 4)}, ["y"], {"w": draw(4, 4)}), tmp_path))
    assert network.parameters == 32  # each layer holds its weight the way torch lays it, [out, in]
    norm = [node("LayerNormalization", ["x", "w"], ["a"], "one"), node("LayerNormalization", ["a", "w"], ["y"], "two")]
    assert load(put(model(norm, {"x": ("n", 4)}, ["y"], {"w": draw(4)}), tmp_path)).parameters == 4


def test_names_that_cannot_be_paths(tmp_path: Path) -> None:
    names = ["a b:c", "", "a.b", "a", "forward", "a/b!", "type", "a"]
    nodes = [node("Relu", [f"v{i}"], [f"v{i + 1}"], name) for i, name in enumerate(names)]
    network = load(put(model(nodes, {"v0": ("n", 4)}, [f"v{len(names)}"]), tmp_path))
    paths = [path for path, one in network.module.named_modules() if isinstance(one, nn.ReLU)]
    assert len(paths) == len(names) == len(set(paths))
    x = torch.randn(2, 4)
    assert torch.equal(network.logits(x), x.relu())
    assert len(network.sites()) == len(names) + 1
    for site in network.sites():
        assert network.site(site.alias) == site


@pytest.mark.parametrize(
    ("shape", "before", "after", "wanted"),
    [
        ((3, 8, 2), (1, 8, 2), (1, 16), [3, 16]),
        ((3, 4, 6), (1, 4, 6), (1, 4, 2, 3), [3, 4, 2, 3]),
        ((7, 3, 8), (7, 1, 8), (7, 2, 4), [7, 6, 4]),
        ((6, 4), (2, 4), (8, 1), [24, 1]),
        ((2, 4), (2, 4), (8,), [8]),
    ],
)
def test_where_the_batch_goes(shape: Any, before: Any, after: Any, wanted: list[int]) -> None:
    assert rebatched(shape, before, after) == wanted


# What must be refused
def test_operators_that_are_not_known_are_named_all_at_once(tmp_path: Path) -> None:
    nodes = [
        node("Relu", ["x"], ["a"]), node("Bernoulli", ["a"], ["b"], "first"), node("Det", ["b"], ["c"], "second"),
        node("Bernoulli", ["c"], ["y"]),
    ]  # fmt: skip
    told = refused(put(model(nodes, {"x": ("n", 4)}, ["y"]), tmp_path))
    assert "operators that are not known here: Bernoulli (2), Det (1), first Bernoulli first" in told


def test_branches_and_other_domains_are_named(tmp_path: Path) -> None:
    inner = helper.make_graph([node("Relu", ["x"], ["b"])], "inner", [], [onnx.ValueInfoProto(name="b")])
    branch = node("If", ["c"], ["y"], "choice", then_branch=inner, else_branch=inner)
    made = model([node("ReduceMax", ["x"], ["m"], keepdims=0), node("Cast", ["m"], ["c"], to=TensorProto.BOOL), branch],
                 {"x": ("n", 4)}, ["y"])  # fmt: skip
    assert "operators that are not known here: If (1), first If choice" in refused(put(made, tmp_path))
    foreign = model([helper.make_node("FusedGelu", ["x"], ["y"], domain="com.microsoft")], {"x": ("n", 4)}, ["y"])
    assert "operators of other domains are not known here: com.microsoft.FusedGelu" in refused(put(foreign, tmp_path))


def test_files_that_are_no_onnx(tmp_path: Path) -> None:
    assert "there is no such file" in refused(str(tmp_path / "absent.onnx"))
    for content in (b"", b"not a model", (FIXTURES / "mlp.script.onnx").read_bytes()[:700]):
        assert "this is no ONNX file, or it is damaged" in refused(put(content, tmp_path))


def test_opsets_that_are_too_old_or_too_new(tmp_path: Path) -> None:
    for opset, fix in ((8, "export it anew"), (999, "pip install -U onnx")):
        told = refused(put(model([node("Relu", ["x"], ["y"])], {"x": ("n", 4)}, ["y"], opset=opset), tmp_path))
        assert f"this file is of opset {opset}" in told
        assert fix in told


def _with_tensor(tensor: Any) -> Any:
    made = model([node("Add", ["x", "w"], ["y"])], {"x": ("n", 4)}, ["y"])
    made.graph.initializer.append(tensor)
    return made


def test_tensors_whose_bytes_are_not_there(tmp_path: Path) -> None:
    short = numpy_helper.from_array(draw(4), "w")
    short.dims[0] = 1000
    assert "the tensor w should have 4,000 and has 16" in refused(put(_with_tensor(short), tmp_path))
    short.dims[0] = 1 << 50
    assert "the tensor w would take" in refused(put(_with_tensor(short), tmp_path))
    short.dims[0] = -4
    assert "the tensor w has sizes (-4,)" in refused(put(_with_tensor(short), tmp_path))
    listed = helper.make_tensor("w", TensorProto.FLOAT, [4], [1, 2, 3, 4])
    listed.dims[0] = 5
    assert "the tensor w should have 5 and has 4" in refused(put(_with_tensor(listed), tmp_path))
    odd = numpy_helper.from_array(draw(4), "w")
    odd.data_type = TensorProto.STRING
    assert "is of element type 8" in refused(put(_with_tensor(odd), tmp_path))


def _beside(location: str, length: int = 16, offset: int = 0) -> Any:
    tensor = numpy_helper.from_array(draw(4), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, text in (("location", location), ("offset", str(offset)), ("length", str(length))):
        tensor.external_data.add(key=key, value=text)
    return _with_tensor(tensor)


def test_weights_in_a_file_beside(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    secret = tmp_path / "secret.bin"
    secret.write_bytes(draw(4).tobytes())
    folder = tmp_path / "inner"
    for location in ("../secret.bin", str(secret), "", "."):
        assert "names a file outside of the model's folder" in refused(put(_beside(location), folder))
    (folder / "link.bin").symlink_to(secret)
    assert "names a file outside of the model's folder" in refused(put(_beside("link.bin"), folder))
    assert "the data file weights.bin is missing" in refused(put(_beside("weights.bin"), folder))
    (folder / "weights.bin").write_bytes(b"\0" * 8 + draw(4).tobytes())
    assert "needs 16 bytes from 9 on, and weights.bin has 24" in refused(put(_beside("weights.bin", offset=9), folder))
    assert "needs 16 bytes" in refused(put(_beside("weights.bin", length=8), folder))
    network = load(put(_beside("weights.bin", offset=8), folder))
    x = torch.rand(2, 4)
    assert_close(network.logits(x), x + torch.from_numpy(draw(4)), 1e-6)


def test_a_value_out_of_nothing_may_not_fill_the_memory(tmp_path: Path) -> None:
    huge = np.array([1 << 20, 1 << 20], np.int64)
    folded = model([node("ConstantOfShape", ["s"], ["c"]), node("Add", ["x", "c"], ["y"])], {"x": ("n", 4)}, ["y"],
                   {"s": huge})  # fmt: skip
    assert "ConstantOfShape would make a value of (1048576, 1048576)" in refused(put(folded, tmp_path))
    tiled = model([node("Tile", ["x", "s"], ["y"])], {"x": ("n", 4)}, ["y"], {"s": huge})
    assert "Tile would make a value of" in refused(put(tiled, tmp_path))


def test_graphs_that_hang_together_badly(tmp_path: Path) -> None:
    loose = model([node("Add", ["x", "nowhere"], ["y"])], {"x": ("n", 4)}, ["y"])
    assert "Add y reads 'nowhere', which nothing gives" in refused(put(loose, tmp_path))
    twice = model([node("Relu", ["x"], ["y"]), node("Abs", ["x"], ["y"])], {"x": ("n", 4)}, ["y"])
    assert "Abs y gives 'y' a second time" in refused(put(twice, tmp_path))
    constant = model([node("Relu", ["w"], ["y"])], {"x": ("n", 4)}, ["y"], {"w": draw(4)})
    assert "the output y does not depend on the input" in refused(put(constant, tmp_path))
    strange = model([node("Relu", ["x"], ["y"], "odd", slope=3)], {"x": ("n", 4)}, ["y"])
    network = load(put(strange, tmp_path))  # torch's ReLU has nothing to set
    assert torch.equal(network.logits(-torch.ones(1, 4)), torch.zeros(1, 4))
    strange = model([node("Abs", ["x"], ["y"], "odd", slope=3)], {"x": ("n", 4)}, ["y"])
    assert "Abs odd has the attribute 'slope', which is not known here" in refused(put(strange, tmp_path))
    misfit = model([node("Conv", ["x", "w"], ["y"])], {"x": ("n", 4)}, ["y"], {"w": draw(2, 3, 3, 3)})
    assert "this graph does not run on batches of two and of one" in refused(put(misfit, tmp_path))


def test_further_outputs_that_nobody_reads_do_no_harm(tmp_path: Path) -> None:
    nodes = [
        node("Dropout", ["x"], ["a", "mask"]),
        node("BatchNormalization", ["a", "s", "s", "s", "s"], ["b", "m"], "norm"),
        node("LayerNormalization", ["b", "s"], ["y", "mean"], "layer"),
    ]  # fmt: skip
    network = load(put(model(nodes, {"x": ("n", 4)}, ["y"], {"s": draw(4, low=0.5)}), tmp_path))
    assert network.logits(torch.rand(3, 4)).shape == (3, 4)
    nodes[2].input[1] = "m"
    assert "BatchNormalization norm gives m too" in refused(
        put(model(nodes, {"x": ("n", 4)}, ["y"], {"s": draw(4, low=0.5)}), tmp_path)
    )


def test_an_encoder_of_texts_gives_the_mean_of_what_is_not_padding(tmp_path: Path) -> None:
    tokenizer(tmp_path)
    nodes = [
        node("Gather", ["table", "input_ids"], ["last_hidden_state"], "embed"),
        node("ReduceMax", ["last_hidden_state", "one"], ["pooler_output"], keepdims=0),
    ]  # fmt: skip
    ids = np.zeros((2, 3), np.int64)
    made = model(nodes, {"input_ids": ids, "attention_mask": ids}, ["last_hidden_state", "pooler_output"],
                 {"table": draw(20, 4), "one": np.array([1])})  # fmt: skip
    for port in made.graph.input:
        for side, word in zip(port.type.tensor_type.shape.dim, ("batch", "length"), strict=True):
            side.dim_param = word
    network = load(put(made, tmp_path))
    assert network.task == "embedding"
    tokens = torch.tensor([[1, 2, 3], [4, 5, 0]])
    mask = torch.tensor([[True, True, True], [True, True, False]])
    table = torch.from_numpy(draw(20, 4))
    wanted = torch.stack([table[[1, 2, 3]].mean(0), table[[4, 5]].mean(0)])
    with torch.no_grad():
        assert_close(network.logits(tokens, mask), nn.functional.normalize(wanted, dim=1), 1e-6)
    assert isinstance(network.module.get_submodule("embed"), nn.Embedding)


def test_a_graph_that_mixes_its_examples_is_refused(tmp_path: Path) -> None:
    made = model([node("ReduceMean", ["x", "a"], ["m"]), node("Sub", ["x", "m"], ["y"])], {"x": ("n", 4)}, ["y"],
                 {"a": np.array([0])})  # fmt: skip
    told = refused(put(made, tmp_path))
    assert "this graph answers two examples together otherwise than alone (y)" in told
    assert "dynamic_axes" in told


def test_recurrent_layers_that_torch_does_not_have(tmp_path: Path) -> None:
    weights = {"w": draw(1, 9, 4), "r": draw(1, 9, 3)}
    gru = node("GRU", ["x", "w", "r"], ["y"], "cell", hidden_size=3)
    told = refused(put(model([gru], {"x": (5, 2, 4)}, ["y"], weights), tmp_path))
    assert "GRU cell has a reset before the product" in told


def test_without_the_package_the_command_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    there = packages.importlib.util.find_spec
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: None if name == "onnx" else there(name))
    assert "packages that are not installed: onnx" in refused(str(FIXTURES / "mlp.script.onnx"))


# The command line
def _mulligan(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["mulligan", *map(str, words)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return int(caught.value.code or 0)


def test_sites_and_record(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = FIXTURES / "resnet.script.onnx"
    assert _mulligan(monkeypatch, "sites", file) == 2
    assert "pass --input size=24" in capfd.readouterr().err
    assert _mulligan(monkeypatch, "sites", file, "layer1*", "--input", "size=24") == 0
    assert "layer1.0.conv1" in capfd.readouterr().out
    np.savez(tmp_path / "data.npz", x=(np.random.default_rng(0).random((4, 24, 24, 3)) * 255).astype(np.uint8))
    words = ["record", file, "--data", tmp_path / "data.npz", "--sites", "layer1.*", "--input", "size=24"]
    assert _mulligan(monkeypatch, *words, "--out", tmp_path / "run") == 0
    assert "4 examples at" in capfd.readouterr().err
