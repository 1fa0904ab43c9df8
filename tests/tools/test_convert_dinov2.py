"""DINOv2 out of an ONNX graph with transformers' names is timm's network again."""

import onnx
import pytest
import timm
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import load_file, save_file

from models.encoders import load_encoder_weights
from tools.convert_dinov2 import NAME, main

START = "backbone."


@pytest.fixture(scope="module")
def transformer() -> torch.nn.Module:
    """timm's, with a value of its own in every tensor."""
    torch.manual_seed(0)
    network = timm.create_model(NAME, num_classes=0)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    return network


@pytest.fixture(scope="module")
def file(transformer, tmp_path_factory):
    """The transformer as torch's exporter writes transformers' Dinov2Model: linear layers' weights lose their names."""
    state, constants, nodes = transformer.state_dict(), {}, []

    def multiply(module: str, weight: torch.Tensor) -> None:
        name = f"onnx::MatMul_{len(nodes)}"
        constants[name] = weight.T
        nodes.append(helper.make_node("MatMul", ["x", name], ["y"], f"/backbone/encoder/{module}/MatMul"))

    constants[START + "embeddings.cls_token"] = state["cls_token"]
    constants["onnx::Reshape_2"], constants["onnx::Concat_1"] = state["pos_embed"][:, 1:], state["pos_embed"][:, :1]
    for part in ("weight", "bias"):
        constants[f"{START}embeddings.patch_embeddings.projection.{part}"] = state[f"patch_embed.proj.{part}"]
        constants[f"{START}layernorm.{part}"] = state[f"norm.{part}"]
    for block in range(12):
        ours, theirs = f"blocks.{block}.", f"{START}encoder.layer.{block}."
        weights, biases = state[ours + "attn.qkv.weight"].chunk(3), state[ours + "attn.qkv.bias"].chunk(3)
        for place, part in ((1, "key"), (2, "value"), (0, "query")):  # in the order of the real graph
            multiply(f"layer.{block}/attention/attention/{part}", weights[place])
            constants[f"{theirs}attention.attention.{part}.bias"] = biases[place]
        for name, part in (("attn.proj", "attention.output.dense"), ("mlp.fc1", "mlp.fc1"), ("mlp.fc2", "mlp.fc2")):
            multiply(f"layer.{block}/" + part.replace(".", "/"), state[f"{ours}{name}.weight"])
            constants[f"{theirs}{part}.bias"] = state[f"{ours}{name}.bias"]
        for number in "12":
            for part in ("weight", "bias"):
                constants[f"{theirs}norm{number}.{part}"] = state[f"{ours}norm{number}.{part}"]
            constants[f"{theirs}layer_scale{number}.lambda1"] = state[f"{ours}ls{number}.gamma"]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, None)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value.detach().contiguous().numpy(), name) for name, value in constants.items()],
    )
    path = tmp_path_factory.mktemp("dinov2") / "vit.onnx"
    onnx.save(helper.make_model(graph), path)
    return path


def test_the_converted_network_is_the_same(transformer, file, tmp_path, capsys):
    target = tmp_path / "dinov2.safetensors"
    main([str(file), "--output", str(target)])
    assert f"--detector.tokens.network {NAME}" in capsys.readouterr().out
    found = load_file(target)
    assert set(found) == set(transformer.state_dict())
    for name, value in transformer.state_dict().items():
        assert torch.equal(found[name], value), name


def test_its_positions_fit_any_grid(transformer, tmp_path):
    """At its own grid the features are the whole network's; at another, the positions are timm's resampled ones."""
    target = tmp_path / "dinov2.safetensors"
    save_file(transformer.state_dict(), target)
    for size in (518, 112):
        body = timm.create_model(NAME, features_only=True, img_size=size, out_indices=(11,))
        load_encoder_weights(body, target, NAME)
        theirs = timm.create_model(NAME, img_size=size, num_classes=0)
        theirs.load_state_dict(timm.models.vision_transformer.checkpoint_filter_fn(load_file(target), theirs))
        image = torch.rand(1, 3, size, size)
        with torch.no_grad():
            (ours,) = body.eval()(image)
            (expected,) = theirs.eval().get_intermediate_layers(image, n=1, reshape=True)
        torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize(
    ("what", "why"),
    [("nothing", "no such file"), ("text", "not an ONNX file"), ("another", "not a graph of transformers' small")],
)
def test_bad_input_is_one_line(what, why, tmp_path):
    path = tmp_path / "x.onnx"
    if what == "text":
        path.write_text("no graph at all")
    elif what == "another":
        graph = helper.make_graph([], "graph", [], [], [numpy_helper.from_array(torch.ones(2).numpy(), "weight")])
        onnx.save(helper.make_model(graph), path)
    with pytest.raises(SystemExit, match=why):
        main([str(path), "--output", str(tmp_path / "out.safetensors")])
    assert not (tmp_path / "out.safetensors").exists()


def test_its_own_input_is_not_overwritten(tmp_path):
    path = tmp_path / "x.onnx"
    path.write_bytes(b"a graph")
    with pytest.raises(SystemExit, match="which this command reads: give another name"):
        main([str(path), "--output", str(path)])
    assert path.read_bytes() == b"a graph"
