"""Exported files: they do what the network does, for the sizes that they name, or they are not written."""

import functools
import hashlib
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from timm.layers import Conv2dSame

from inference.export import command, exporter
from inference.export.check import synthetic_images
from inference.export.graph import CellMeans, onnx_graph, with_fixed_padding
from inference.export.half import store_half
from inference.export.header import INPUT, MAP, SALIENCY, read_header
from inference.export.int8 import make_unsigned
from models.weights import load_detector, save_weights
from tests.helpers import cpu_computes_in, picture, small_network

onnx = pytest.importorskip("onnx", reason="requirements-onnx.txt is not installed")
pytest.importorskip("onnxscript", reason="requirements-onnx.txt is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="requirements-onnx.txt is not installed")
openvino = pytest.importorskip("openvino", reason="requirements-openvino.txt is not installed")

ENCODER = "resnet10t"
FILES = {"onnx": "net.onnx", "openvino": "net.xml"}


@pytest.fixture(autouse=True, scope="module")
def one_graph():
    """The small network's graph, which takes seconds, is traced once for all tests."""
    traced = functools.cache(
        lambda any_size: onnx_graph(small_network(ENCODER).detector, any_size, "requirements-onnx.txt")
    )

    def copy(detector, any_size: bool, requirements: str):
        graph = onnx.ModelProto()
        graph.CopyFrom(traced(any_size))
        return graph

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporter, "onnx_graph", copy)
        yield


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_weights(path, small_network(ENCODER))
    return path


@pytest.fixture(scope="module")
def calibration(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for number in range(12):
        picture(seed=number).save(folder / f"{number:02}.png")
    return folder


def saliency_by_hand(pixels: np.ndarray) -> np.ndarray:
    """The training network's own map, its input normalized with numpy."""
    network = small_network(ENCODER)
    rgb = (pixels.astype(np.float32) / 255 - np.float32([0.5, 0.4, 0.3])) / np.float32([0.3, 0.2, 0.25])
    rgb = torch.from_numpy(rgb.transpose(0, 3, 1, 2).copy())
    with torch.no_grad():
        return torch.sigmoid(network(rgb, torch.zeros_like(rgb))["logits1"])[:, 0].numpy()


def run(path: Path, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, dict[str, str]]:
    """Map, saliency and metadata of a file, by its runtime alone."""
    if path.suffix == ".onnx":
        session = onnxruntime.InferenceSession(path)
        return *session.run([MAP, SALIENCY], {INPUT: pixels}), session.get_modelmeta().custom_metadata_map
    model = openvino.Core().read_model(path)
    found = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})({INPUT: pixels})
    return found[MAP], found[SALIENCY], model.get_rt_info(["sral"]).value


@pytest.mark.parametrize("form", FILES)
def test_a_file_makes_the_networks_maps_at_any_size(form, tmp_path, weights):
    path = tmp_path / FILES[form]
    found = exporter.export(weights, form, path)
    assert re.search(r"8 images at 64×96: largest difference \d\.\de-0[5-9] from the network", found)
    assert "3 images at 96×192" in found
    for count, height, width in ((1, 64, 96), (3, 32, 32), (2, 192, 64)):
        pixels = synthetic_images(count, (height, width))
        gray, saliency, about = run(path, pixels)
        wanted = saliency_by_hand(pixels)
        assert wanted.std() > 0.05
        np.testing.assert_allclose(saliency, wanted, rtol=0, atol=5e-5)
        assert gray.dtype == np.uint8
        np.testing.assert_array_equal(gray, np.floor(saliency * np.float32(255)))
    header = read_header(path, about)
    assert (header.encoder, header.input_size, header.sizes, header.precision) == (ENCODER, (64, 96), "any", "fp32")
    assert (header.mean, header.std) == ((0.5, 0.4, 0.3), (0.3, 0.2, 0.25))
    assert header.weights_sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert {file.name for file in tmp_path.iterdir()} == {path.name, *(["net.bin"] if form == "openvino" else [])}
    assert str(Path.cwd()).encode() not in path.read_bytes()  # torch would tell where its code lies


@pytest.mark.parametrize("form", FILES)
def test_int8_is_near_and_leaves_out_what_loses_accuracy(form, tmp_path, weights, calibration):
    pytest.importorskip("nncf", reason=f"requirements-{form}.txt is not installed")
    if form == "openvino" and not cpu_computes_in("vnni"):
        pytest.skip("this CPU has no VNNI: OpenVINO's int8 products overflow, too far for a network this steep")
    path = tmp_path / FILES[form]
    found = exporter.export(weights, form, path, None, calibration, 4, int8=True)
    assert "8 images at 64×96" in found  # those that it was not calibrated on
    pixels = synthetic_images(2, (64, 96))
    _, saliency, about = run(path, pixels)
    assert 1e-5 < np.abs(saliency - saliency_by_hand(pixels)).mean() < 0.02
    assert (about["precision"], about["sizes"]) == ('"int8"', '"any"')
    names = exact_convolutions(path)
    assert {name.partition("/")[0] for name in names} >= {"encoder.body.conv1.0", "ppm.branches.3.0", "ppm.fuse.3"}
    quick = ("encoder.body.layer", "ppm.reduce", "blocks.", "head.up", "head.conv")
    assert not [name for name in names if name.startswith(quick)]


def test_onnx_runtime_has_an_int8_kernel_for_each_int8_convolution(tmp_path, weights, calibration):
    pytest.importorskip("nncf", reason="requirements-onnx.txt is not installed")
    path, optimized = tmp_path / "net.onnx", tmp_path / "optimized.onnx"
    exporter.export(weights, "onnx", path, None, calibration, 4, int8=True)
    onnx.checker.check_model(onnx.load(path), full_check=True)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(optimized)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    graph = onnx.load(optimized).graph
    made = {output: node.op_type for node in graph.node for output in node.output}
    convolutions = [node for node in graph.node if node.op_type in ("Conv", "FusedConv")]
    fallen_back = {n.name.partition("/")[0] for n in convolutions if made.get(n.input[1]) == "DequantizeLinear"}
    assert fallen_back <= {"ppm.reduce.0", "head.predict.taps"}  # their outputs are not quantized
    assert sum(node.op_type == "QLinearConv" for node in graph.node) > len(convolutions)


def test_unsigned_activations_stand_for_the_same_values():
    helper, rng = onnx.helper, np.random.default_rng(0)
    scale, zero = onnx.numpy_helper.from_array(np.float32(0.02), "scale"), np.int8(-7)
    graph = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
                helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
            ],
            "graph",
            [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [500])],
            [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [500])],
            [scale, onnx.numpy_helper.from_array(zero, "zero")],
            value_info=[helper.make_tensor_value_info("q", onnx.TensorProto.INT8, [500])],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    x = rng.normal(0, 2, 500).astype(np.float32)  # some are beyond the range
    before = onnxruntime.InferenceSession(graph.SerializeToString()).run(None, {"x": x})[0]
    make_unsigned(graph, onnx)
    onnx.checker.check_model(graph, full_check=True)
    assert graph.graph.initializer[1].data_type == onnx.TensorProto.UINT8
    after = onnxruntime.InferenceSession(graph.SerializeToString()).run(None, {"x": x})[0]
    assert np.abs(before - x).max() > 0.02
    np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("form", FILES)
def test_half_the_bytes_make_nearly_the_same_maps(form, tmp_path, weights):
    (tmp_path / "whole").mkdir()
    whole, path = tmp_path / "whole" / FILES[form], tmp_path / FILES[form]
    exporter.export(weights, form, whole)
    exporter.export(weights, form, path, half=True)
    tensors = ".onnx" if form == "onnx" else ".bin"
    assert path.with_suffix(tensors).stat().st_size < 0.6 * whole.with_suffix(tensors).stat().st_size
    pixels = synthetic_images(2, (64, 96))
    _, saliency, about = run(path, pixels)
    assert 0 < np.abs(saliency - saliency_by_hand(pixels)).mean() < 1e-3
    assert about["precision"] == '"fp32"'  # it computes in fp32
    if form == "onnx":
        kinds = {tensor.data_type for tensor in onnx.load(path).graph.initializer if len(tensor.raw_data) > 2048}
        assert kinds == {onnx.TensorProto.FLOAT16}


def test_a_weight_beyond_fp16_is_refused():
    values = np.full((16, 32), 1e5, np.float32)
    graph = onnx.helper.make_graph([], "g", [], [], [onnx.numpy_helper.from_array(values, "head.weight")])
    with pytest.raises(ValueError, match=r"--half: head.weight holds 100000, fp16 ends at 65504"):
        store_half(onnx, onnx.helper.make_model(graph))


def exact_convolutions(path: Path) -> list[str]:
    """Names of the convolutions whose weights are no integers."""
    if path.suffix == ".onnx":
        graph = onnx.load(path).graph
        integers = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
        return [
            node.name
            for node in graph.node
            if node.op_type in ("Conv", "ConvTranspose") and node.input[1] not in integers
        ]
    found = [op for op in openvino.Core().read_model(path).get_ops() if "Convolution" in op.get_type_name()]
    return [op.get_friendly_name() for op in found if op.input_value(1).get_node().get_type_name() == "Constant"]


def test_what_differs_is_not_written(tmp_path, weights, monkeypatch):
    path, graphs = tmp_path / "net.onnx", exporter.onnx_graph

    def wrong(*arguments: object):
        graph = graphs(*arguments)
        bias = next(value for value in graph.graph.initializer if value.name.endswith("head.predict.bias"))
        bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + np.float32(0.1), bias.name))
        return graph

    monkeypatch.setattr(exporter, "onnx_graph", wrong)
    path.write_text("what was there")
    with pytest.raises(ValueError, match="not written: difference in saliency of 8 images at 64×96 from the network"):
        exporter.export(weights, "onnx", path)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "what was there"


def test_the_command_and_what_it_refuses(tmp_path, weights, calibration, monkeypatch, capsys):
    def answer(*arguments: object) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["inference.export", *map(str, arguments)])
        try:
            command.main()
        except SystemExit as end:
            return "", end.code if isinstance(end.code, str) else capsys.readouterr().err.splitlines()[-1]
        return capsys.readouterr().out, ""

    ask = ("--weights", weights, "--output", tmp_path / "a" / "net.onnx", "--format")
    out, _ = answer(*ask, "onnx", "--size", "one", "--images", calibration)
    assert re.search(r"8 images at 64×96: .*\nWritten to .*net\.onnx: \d+\.\d MB, \d+ s\n$", out)
    assert (tmp_path / "a" / "net.onnx").is_file()
    assert answer(*ask, "openvino")[1].endswith("--output must end in .xml for --format openvino, not net.onnx")
    assert answer(*ask, "onnx", "--int8")[1].endswith("--int8 needs --images DIR, a folder of training images")
    assert "already: leave --half out" in answer(*ask, "onnx", "--int8", "--half")[1]
    renamed = answer(*ask, "onnx", "--calibrate", calibration)[1]
    assert renamed.endswith(f"--calibrate is now --images: use --images {calibration}; the count is --num-images")
    assert answer(*ask, "onnx", "--images", "64")[1].endswith("there is no 64; the count is --num-images")
    assert answer(*ask, "onnx", "--num-images", "0")[1].endswith("--num-images must be at least 1, not 0")
    nothing = tmp_path / "nothing"
    assert answer(*ask, "onnx", "--images", nothing)[1].startswith(f"error: {nothing} is not there")
    assert answer("--weights", nothing, "--format", "onnx")[1] == f"error: weights {nothing}: no such file"
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert answer(*ask, "onnx")[1].endswith("pip install -r requirements-onnx.txt")


def test_encoders_of_one_size_are_for_that_alone():
    assert exporter._takes_any_size("resnet18", None)
    assert not exporter._takes_any_size("resnet18", "one")
    assert not exporter._takes_any_size("swin_tiny_patch4_window7_224", None)
    with pytest.raises(ValueError, match="swin_tiny_patch4_window7_224 is made for one input size"):
        exporter._takes_any_size("swin_tiny_patch4_window7_224", "any")


@pytest.mark.parametrize("bins", [1, 2, 3, 6])
def test_cell_means_are_torchs_adaptive_pooling(bins):
    for height, width in ((1, 1), (7, 7), (1, 5), (11, 6), (13, 4)):
        x = torch.randn(2, 3, height, width)
        torch.testing.assert_close(CellMeans(bins)(x), torch.nn.functional.adaptive_avg_pool2d(x, bins))


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"), [(3, 2, 1), (5, 2, 1), (7, 4, 1), (3, 1, 2), (2, 2, 1), (1, 2, 1)]
)
def test_same_padding_is_known_before_the_size(kernel, stride, dilation):
    same = Conv2dSame(4, 6, kernel, stride=stride, dilation=dilation, groups=2)
    for height, width in ((8, 8), (32, 4), (12, 20)):
        x = torch.randn(2, 4, height, width)
        torch.testing.assert_close(with_fixed_padding(same)(x), same(x))


GOOD = {
    "format": "sral",
    "encoder": '"resnet18"',
    "input_size": "[64, 96]",
    "sizes": '"any"',
    "mean": "[0.5, 0.4, 0.3]",
    "std": "[0.3, 0.2, 0.25]",
    "precision": '"fp32"',
    "weights_sha256": '""',
    "tensors_sha256": '""',
}


def test_a_header_that_makes_sense_is_read():
    assert read_header(Path("a.onnx"), GOOD).input_size == (64, 96)


@pytest.mark.parametrize(
    "wrong",
    [
        {"format": "other"},
        {"input_size": "[64]"},
        {"input_size": "[64, 1e9]"},
        {"input_size": "7"},
        {"mean": "[0.5]"},
        {"mean": '["a", 1, 2]'},
        {"std": f"[1, 2, {10**400}]"},
        {"std": "[1, 2, NaN]"},
        {"sizes": '["any"]'},
        {"precision": '"fp64"'},
        {"encoder": "7"},
        {"encoder": "[" * 100_000},
        {"tensors_sha256": json.dumps({"a": 1})},
        {"encoder": "resnet18\n" * 9},
    ],
)
def test_a_strangers_header_is_one_line(wrong):
    with pytest.raises(ValueError, match=r"^a\.onnx: no network that inference\.export wrote \(.*\)$"):
        read_header(Path("a.onnx"), GOOD | wrong)


@pytest.mark.parametrize("found", ["sral", {}, None, 7])
def test_what_is_no_header_is_one_line(found):
    with pytest.raises(ValueError, match="no network of ours"):
        read_header(Path("a.onnx"), found)


def test_deepness_takes_floats_and_gives_a_map_of_the_tiles_size(weights, tmp_path, capsys, monkeypatch):
    """The plugin's contract; its ONNX Runtime is 1.17, which reads IR 9 and opset 20."""
    square = tmp_path / "square.safetensors"
    save_weights(square, small_network(ENCODER, (64, 64)))
    output = tmp_path / "deepness.onnx"
    traced = onnx_graph(load_detector(square), False, "requirements-onnx.txt")
    monkeypatch.setattr(exporter, "onnx_graph", lambda *_: traced)
    exporter.export(square, "deepness", output)
    model = onnx.load(output)
    assert model.ir_version == 9
    assert max(entry.version for entry in model.opset_import) <= 20
    session = onnxruntime.InferenceSession(output, providers=["CPUExecutionProvider"])
    (given,), (returned,) = session.get_inputs(), session.get_outputs()
    assert (given.type, given.shape) == ("tensor(float)", [1, 3, 64, 64])
    assert (returned.type, returned.shape) == ("tensor(float)", [1, 1, 64, 64])
    metadata = {name: json.loads(value) for name, value in session.get_modelmeta().custom_metadata_map.items()}
    assert (metadata["model_type"], metadata["tile_size"], metadata["tiles_size"]) == ("Regressor", 64, 64)
    assert metadata["reg_output_scaling"] == 255
    pixels = synthetic_images(2, (64, 64))[1]
    detector = load_detector(square)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (detector.config.mean, detector.config.std))
    rgb = torch.from_numpy(pixels).permute(2, 0, 1) / 255
    with torch.inference_mode():
        saliency = detector(((rgb - mean) / std)[None])["logits"].sigmoid()
    (found,) = session.run(None, {given.name: rgb[None].numpy()})
    expected = torch.nn.functional.avg_pool2d(saliency, 2).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    with pytest.raises(ValueError, match="tiles are square"):
        exporter.export(weights, "deepness", tmp_path / "wide.onnx")
    assert not (tmp_path / "wide.onnx").exists()
