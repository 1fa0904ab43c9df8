"""benchmarks/inference.py: it times what it says it does; its figures agree with one another and with the commands."""

import json
import statistics
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import baselines, inference, inference_tables, interleaved, variants
from benchmarks.baselines import OwnProcess, U2NetP, Unfolded, evaluation_network, load_network
from benchmarks.complexity import measure as complexity
from benchmarks.inference import figures
from benchmarks.interleaved import time_interleaved
from benchmarks.variants import Source, Variant, difference, open_source, released_variants
from compute_results.matching import find_masks, match_maps
from compute_results.scoring import score
from datasets.catalog import find_pairs
from datasets.io import read_pixels
from inference.backends import EXPORTED, open_backend
from inference.export import command as export_command
from inference.maps import gray_map, write_map
from models.config import SRALConfig
from models.weights import load_detector, load_sral, save_weights
from tests.helpers import binary, cpu_computes_in, picture, small_network

SIZE = (64, 96)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Three test pairs in ORSSD's layout."""
    root = tmp_path_factory.mktemp("set")
    for folder in ("test-images", "test-labels"):
        (root / folder).mkdir()
    for number in range(3):
        picture(120, 90 + number, seed=number).save(root / "test-images" / f"{number}.png")
        Image.fromarray(binary(120, 90 + number)).save(root / "test-labels" / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def light(tmp_path_factory) -> Path:
    """The weights file of a small inference network."""
    path = tmp_path_factory.mktemp("lite2") / "lite2.safetensors"
    save_weights(path, small_network("mobilenetv2_035").detector)
    return path


@pytest.fixture
def pixels(data) -> np.ndarray:
    return np.stack([read_pixels(image, SIZE)[0] for image in sorted((data / "test-images").iterdir())])


def by_formula(pixels: np.ndarray, network: nn.Module) -> torch.Tensor:
    """Normalized RGB of a network."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (network.config.mean, network.config.std))
    return (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - mean) / std


def test_the_releases_side_computes_all_that_the_release_does(small_weights, pixels):
    """Every module of the training network but TFGM works, on what the release feeds it."""
    network = load_sral(small_weights)
    wanted = network.eval().detector(by_formula(pixels, network.detector))["logits"][:, 0].sigmoid().detach().numpy()
    released = evaluation_network(load_sral(small_weights))
    seen, ycbcr = set(), []
    for name, module in released.named_modules():
        module.register_forward_hook(lambda *_, name=name: seen.add(name))
    released.asrd.register_forward_hook(lambda _, inputs, found: ycbcr.append((inputs[2], found["sr_image"])))
    call = Unfolded(released, CPU).ready(pixels)
    assert not seen
    np.testing.assert_allclose(call(), wanted, atol=1e-6)
    leaves = {name for name, module in released.named_modules() if not list(module.children())}
    idle = {name for name in leaves - seen if not isinstance(released.get_submodule(name), nn.ModuleList)}
    assert not any(list(released.get_submodule(name).parameters()) for name in idle)
    assert len(released.coarse_heads) == 4
    [(given, image)] = ycbcr
    by_pillow = np.asarray(Image.fromarray(pixels[1]).convert("YCbCr")) / 255
    np.testing.assert_allclose(given[1].permute(1, 2, 0), by_pillow, atol=1e-6)
    assert image.shape == (3, 3, 2 * SIZE[0], 2 * SIZE[1])
    assert not released.training


def test_a_process_of_its_own_gives_the_same_maps(small_weights, pixels):
    released = OwnProcess(small_weights, 1)
    network = Unfolded(evaluation_network(load_network(small_weights)), CPU)
    three, one = released.ready(pixels), released.ready(pixels[1:2])
    np.testing.assert_allclose(three(), network.ready(pixels)(), atol=1e-6)
    np.testing.assert_allclose(one(), network.ready(pixels[1:2])(), atol=1e-6)
    np.testing.assert_allclose(three(), network.ready(pixels)(), atol=1e-6)
    released.process.terminate()
    released.process.join()
    with pytest.raises(OSError, match="ended from outside"):
        one()
    released.close()


def test_a_detectors_file_gets_the_papers_branches(light, pixels):
    detector = load_detector(light)
    released = evaluation_network(load_detector(light))
    assert released.asrd is not None
    maps = Unfolded(detector, CPU).ready(pixels)()
    np.testing.assert_array_equal(Unfolded(released, CPU).ready(pixels)(), maps)


def test_multiply_adds_are_those_of_complexity(light, data, tmp_path):
    source = open_source("lite2", light, sorted((data / "test-images").iterdir()), tmp_path)
    config = SRALConfig(detector=source.detector.config)
    [wanted] = [row for row in complexity(config, SIZE) if (row.network, row.part) == ("released evaluation", "total")]
    [released] = released_variants(source, CPU, None)
    assert released.multiply_adds == wanted.multiply_adds_torch


def test_random_weights_give_maps_worth_comparing(data, tmp_path):
    source = open_source("resnet50", None, sorted((data / "test-images").iterdir())[:2], tmp_path)
    assert not source.trained
    assert source.pixels.shape == (2, 224, 224, 3)
    maps = Unfolded(source.detector, CPU).ready(source.pixels)()
    assert np.median(maps) == pytest.approx(1 / (1 + np.exp(6)), rel=1e-3)
    assert (maps > 0.5).mean() == pytest.approx(0.01, rel=0.01)
    reloaded = load_sral(source.path).detector.state_dict()
    assert all(torch.equal(value, reloaded[name]) for name, value in source.detector.state_dict().items())


def test_differences_are_those_of_all_images(light, data, pixels, tmp_path):
    source = open_source("lite2", light, sorted((data / "test-images").iterdir()), tmp_path)
    source.maps = np.random.default_rng(0).random((3, 128, 192), dtype=np.float32)
    places = {image.tobytes(): place for place, image in enumerate(source.pixels)}
    batches = []

    def ready(given: np.ndarray):
        batches.append([places[image.tobytes()] for image in given])
        apart = [(0.0, 0.1, 0.4)[place] for place in batches[-1]]
        return lambda: source.maps[batches[-1]] + np.array(apart, np.float32)[:, None, None]

    variant = Variant("lite2", "torch", "fp32", "cpu", 1, ready)
    largest, mean, flipped = difference(variant, 1, source)
    assert batches == [[0], [1], [2]]
    assert (largest, mean) == pytest.approx((0.4, 0.5 / 3), abs=1e-6)
    assert flipped == pytest.approx((0.1 + 0.4) / 3, abs=0.01)
    assert difference(variant, 2, source)[0] == pytest.approx(0.4, abs=1e-6)
    assert batches[3:] == [[0, 1], [2, 0]]
    broken = Variant("lite2", "torch", "fp16", "cpu", 1, lambda given: lambda: np.full((1, 128, 192), np.nan))
    with pytest.raises(ValueError, match="not finite"):
        difference(broken, 1, source)


@pytest.mark.parametrize(("backend", "suffix"), [("openvino", ".xml"), ("onnxruntime", ".onnx")])
def test_int8_comes_from_a_file_or_the_command(backend, suffix, light, data, tmp_path, monkeypatch):
    source = Source("lite2", light, load_detector(light), True, np.empty(0), np.empty(0))
    given = Path(f"given{suffix}")
    others = [("resnet50", given), ("lite2", given.with_suffix(".other"))]
    options = Namespace(int8=[*others, ("lite2", given)], calibrate=data / "test-images")
    assert variants.int8_file(source, backend, options, tmp_path) == given

    done = SimpleNamespace(returncode=0, stderr="")
    commands = []
    monkeypatch.setattr(subprocess, "run", lambda command, **_: commands.append(command) or done)
    options.int8 = others
    output = variants.int8_file(source, backend, options, tmp_path)
    python, dash_m, module, *arguments = commands[0]
    assert (python, dash_m, module) == (sys.executable, "-m", "inference.export")
    monkeypatch.setattr(sys, "argv", ["export", *arguments])
    asked = export_command.parse_arguments()
    assert (asked.weights, asked.images, asked.output, asked.int8) == (light, data / "test-images", output, True)
    assert backend in EXPORTED[output.suffix]

    done.returncode, done.stderr = 1, "warning: slow\nerror: no images there\n"
    with pytest.raises(ValueError, match=r"^inference\.export: no images there$"):
        variants.int8_file(source, backend, options, tmp_path)


def test_calls_are_timed_interleaved(monkeypatch):
    monkeypatch.setattr(interleaved, "MIN_SECONDS", 0.02)
    made = []

    def sleeper(name: str, seconds: float):
        return lambda: (made.append(name), time.sleep(seconds))

    calls = {"a": sleeper("a", 0.03), "b": sleeper("b", 0.006)}
    taken = time_interleaved(calls, 0.0, 3)
    assert {name: len(of) for name, of in taken.items()} == {"a": 3, "b": 3}
    runs = [name for name, before in zip(made, [None, *made], strict=False) if name != before]
    assert runs == ["a", "b"] * 3
    assert made.count("a") == 6  # the first call does not count
    assert 2 < made.count("b") / 3 <= 5
    assert 0.03 <= statistics.median(taken["a"]) < 0.06
    assert 0.006 <= statistics.median(taken["b"]) < 0.02
    start = time.perf_counter()
    assert len(time_interleaved(calls, 0.3, 1)["a"]) > 3
    assert 0.3 <= time.perf_counter() - start < 1


def test_a_products_multiply_adds(monkeypatch):
    monkeypatch.setitem(variants.SIDES, "cpu", 64)
    multiply = variants.products(CPU)
    assert {precision for precision, _ in multiply} == {"fp32", "bf16", "int8"}
    for (precision, _), call in multiply.items():
        with FlopCounterMode(display=False) as counter:
            call()
        assert counter.get_total_flops() == (0 if precision == "int8" else 2 * 64**3)  # torch does not count int8


def test_accuracy_is_that_of_the_files(light, data, tmp_path):
    backend = open_backend("torch", light, "cpu")
    with pytest.warns(UserWarning, match="3"):
        pairs = find_pairs("ORSSD", data, "test")
    found = figures(backend, lambda image: read_pixels(image, SIZE)[0], pairs)
    for pair in pairs:
        write_map(tmp_path / f"{pair.stem}.png", gray_map(backend(read_pixels(pair.image, SIZE)[0][None])[0]))
    wanted = score(match_maps(find_masks(data / "test-labels"), tmp_path).pairs, "authors", workers=1)
    assert found == pytest.approx(wanted.figures)


@pytest.fixture
def u2netp(tmp_path) -> Path:
    """A file with U²-Net-p's input, whose map is the sum of its normalized input's channels."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    tensor = onnx.helper.make_tensor_value_info
    nodes = [onnx.helper.make_node("ReduceSum", ["image", "axes"], ["map"])]
    axes = onnx.numpy_helper.from_array(np.array([1]), "axes")
    ends = [tensor("image", 1, baselines.INPUT_SHAPE)], [tensor("map", 1, [1, 1, 320, 320])]
    graph = onnx.helper.make_graph(nodes, "sum", *ends, [axes])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)
    path = tmp_path / "u2netp.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_u2netp_is_given_what_it_was_trained_on(u2netp, data):
    image = data / "test-images" / "0.png"
    pixels = baselines.read(image)
    np.testing.assert_array_equal(pixels, Image.open(image).resize((320, 320), Image.Resampling.LANCZOS))
    [found] = U2NetP(u2netp)(pixels[None])
    wanted = ((pixels / pixels.max() - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)).sum(-1)
    np.testing.assert_allclose(found, (wanted - wanted.min()) / np.ptp(wanted), atol=1e-5)
    assert np.isfinite(U2NetP(u2netp)(np.zeros((1, 320, 320, 3), np.uint8))).all()
    u2netp.write_bytes(b"no network")
    with pytest.raises(ValueError, match=r"u2netp\.onnx: onnxruntime cannot read it"):
        U2NetP(u2netp)


class InThisProcess(Unfolded):
    """In the place of OwnProcess, which takes seconds to start and has a test of its own."""

    def __init__(self, weights: Path, threads: int):
        super().__init__(evaluation_network(load_network(weights)), CPU)

    def close(self) -> None:
        pass


@pytest.fixture
def run(data, light, small_weights, monkeypatch, tmp_path, capsys):
    """Runs the command in this process, on small networks and with short timings: what it printed, and its JSON."""
    monkeypatch.setattr(interleaved, "MIN_SECONDS", 0.001)
    monkeypatch.setitem(variants.SIDES, "cpu", 64)
    monkeypatch.setattr(inference, "OwnProcess", InThisProcess)

    def command(*arguments: object) -> tuple[str, dict]:
        given = ["--weights", f"resnet50={small_weights}", f"lite2={light}", "--images", data / "test-images"]
        given += ["--calibrate", data / "test-images", "--device", "cpu", "--seconds", 0]
        given += ["--json", tmp_path / "found.json", *arguments]
        monkeypatch.setattr(sys, "argv", ["inference.py", *map(str, given)])
        inference.main()
        return capsys.readouterr().out, json.loads((tmp_path / "found.json").read_text())

    return command


def test_command(run, u2netp, data):
    options = [
        "--networks",
        "resnet50",
        "lite2",
        "--backends",
        "torch",
        "cudagraphs",
        "--batches",
        1,
        2,
        "--u2netp",
        u2netp,
    ]
    with pytest.warns(UserWarning, match="3"):
        printed, found = run(*options, "--dataset", "ORSSD", "--root", data, "--scored", 2)
    rows = {(row["network"], row["backend"], row["precision"], row["batch"]): row for row in found["variants"]}
    assert len(rows) == len(found["variants"])
    has_bf16 = cpu_computes_in("bf16")
    ours = {("unfolded", "fp32"), ("torch", "fp32"), *([("torch", "bf16")] if has_bf16 else [])}
    wanted = {(name, *of, batch) for name in ("resnet50", "lite2") for of in ours for batch in (1, 2)}
    assert set(rows) >= wanted | {("resnet50", "released", "fp32", batch) for batch in (1, 2)}
    for (_, backend, precision, batch), row in rows.items():
        released = rows["resnet50", "released", "fp32", batch]["median_ms"]
        assert row["device"] == "cpu"
        assert row["rounds"] >= 3
        assert row["ratio"] == pytest.approx(released / row["median_ms"])
        assert row["images_per_second"] == pytest.approx(1000 * batch / row["median_ms"])
        assert row["gmac_per_second"] == pytest.approx(row["gmac"] * row["images_per_second"])
        products = [each for each in found["roofline"] if (each["precision"], each["batch"]) == (precision, batch)]
        assert row["of_product"] * max(each["gmac_per_second"] for each in products) == pytest.approx(
            row["gmac_per_second"]
        )
        assert 0 <= row["mean_difference"] <= row["max_difference"]
        assert 0 <= row["flipped"] <= 1
        if precision == "fp32":
            assert row["max_difference"] < 1e-4
        if backend.startswith("released"):
            assert row["max_difference"] < 1e-6
    skipped = {(each["network"], each["backend"], each["precision"]): each for each in found["skipped"]}
    assert "runs on a CUDA GPU" in skipped["lite2", "cudagraphs", "fp32"]["reason"]
    assert "fp16 needs a GPU" in skipped["resnet50", "torch", "fp16"]["reason"]
    assert set(skipped).isdisjoint({names[:3] for names in rows})
    [other] = found["baselines"]
    assert (other["network"], other["batch"]) == ("u2netp", 1)
    scores = {(each["network"], each["backend"], each["precision"]): each for each in found["accuracy"]}
    assert set(scores) == {names[:3] for names in rows if "released" not in names[1]} | {
        ("u2netp", "onnxruntime", "fp32")
    }
    plain, folded = (scores["lite2", backend, "fp32"] for backend in ("unfolded", "torch"))
    assert all(folded[name] == pytest.approx(plain[name], abs=1e-3) for name in ("Fbeta", "MAE", "Sm"))
    assert plain["images"] == 2
    assert ("| lite2 | torch | bf16 |" in printed) == has_bf16
    assert has_bf16 or "this CPU does not have it" in skipped["lite2", "torch", "bf16"]["reason"]
    assert "- resnet50 cudagraphs fp32; resnet50 cudagraphs bf16;" in printed
    assert "lite2: at most" in printed


def test_runs_are_merged_into_one_table(run, tmp_path, monkeypatch, capsys):
    """A run without the release gets the other's times as its reference."""
    files = [tmp_path / name for name in ("release.json", "light.json")]
    options = ["--backends", "torch", "--batches", 1, "--num-images", 1]
    _, release = run("--networks", "resnet50", *options)
    files[0].write_text(json.dumps(release))
    _, light = run("--networks", "lite2", *options, "--no-release")
    files[1].write_text(json.dumps(light))
    assert {row["ratio"] for row in light["variants"]} == {None}
    findings = inference_tables.merged([release, light])
    [released] = [row for row in findings.variants if row.backend == "released"]
    assert len(findings.variants) == len(release["variants"]) + len(light["variants"])
    assert all(row.ratio == pytest.approx(released.median_ms / row.median_ms) for row in findings.variants)
    assert len(findings.roofline) == len(release["roofline"])  # the last run's

    monkeypatch.setattr(sys, "argv", ["inference_tables", *map(str, files)])
    inference_tables.main()
    printed = capsys.readouterr().out
    assert "| resnet50 | released | fp32 | " in printed
    assert "| lite2 | torch | fp32 | " in printed
    files[1].write_text('{"variants": [{}]}')
    with pytest.raises(SystemExit, match=r"light\.json: not a file that benchmarks/inference\.py wrote with --json"):
        inference_tables.main()


def test_what_was_measured_is_there_after_an_interruption(run, tmp_path, monkeypatch):
    measure = inference.measure

    def stop_at_2(batch, *more):
        if batch == 2:
            raise KeyboardInterrupt
        return measure(batch, *more)

    monkeypatch.setattr(inference, "measure", stop_at_2)
    with pytest.raises(KeyboardInterrupt):
        run("--networks", "lite2", "--no-release", "--backends", "torch", "--batches", 1, 2, "--num-images", 1)
    found = json.loads((tmp_path / "found.json").read_text())
    assert {row["batch"] for row in found["variants"]} == {1}


def test_the_releases_side_is_measured_without_its_network(run):
    printed, found = run("--networks", "lite2", "--backends", "torch", "--batches", 1, "--num-images", 1)
    assert {(row["network"], row["backend"]) for row in found["variants"]} == {
        ("resnet50", "released"), ("resnet50", "released_memory_kept"), ("lite2", "unfolded"), ("lite2", "torch"),
    }  # fmt: skip
    assert "resnet50 torch" not in printed
    assert "1 images" in printed


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--weights", "resnet50=nowhere.safetensors"), "nowhere.safetensors: no such file"),
        (("--images", "nowhere"), "nowhere is not there"),
        (("--images", __file__), "is a file: give its folder"),
        (("--u2netp", "u2netp.onnx"), "baselines.py says where it is from"),
        (("--dataset", "ORSSD", "--root", "nowhere"), "nowhere"),
    ],
)
def test_bad_input_is_one_clear_line(arguments, why, run):
    with pytest.raises(SystemExit, match=why) as stopped:
        run(*arguments)
    assert str(stopped.value).startswith("error: ")
    assert "\n" not in str(stopped.value)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--weights", "heavy=x.safetensors"), "heavy=x.safetensors' is not NAME=FILE with a name of resnet50, lite2"),
        (("--batches", "0"), "'0' is not a whole number from 1"),
        (("--dataset", "ORSSD"), "--dataset and --root go together"),
        (("--u2netp", "x.onnx", "--batches", "2"), "leave 1 in --batches"),
        (("--backends", "tensorrt"), "invalid choice: 'tensorrt'"),
        (("--count", "3"), "--count is now --num-images: use --num-images 3"),
        (("--num", "3"), "unrecognized arguments: --num"),
    ],
)
def test_bad_options_are_named(arguments, why, run, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(*arguments)
    assert stopped.value.code == 2
    assert why in capsys.readouterr().err
