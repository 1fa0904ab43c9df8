"""--backend auto and --fast: what is chosen on which machine, and the cache of converted networks."""

import os
import shutil
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch

from inference import fastest
from inference.backends import choice, conversion
from inference.backends.choice import CONVERT, INSTALL, choose
from inference.fastest import open_fastest, settled
from utils.user_cache import UNUSED, cache_folder, find_cached, remove_unused

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 64, 96, 3), dtype=np.uint8)
NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache of this test's own."""
    monkeypatch.setenv("SRAL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "networks"


@pytest.fixture
def installed(monkeypatch):
    """Choose which packages are said to be installed."""
    return lambda *names: monkeypatch.setattr(choice, "_is_installed", lambda package: package in names)


@pytest.fixture(scope="module")
def graph(small_weights, tmp_path_factory) -> Path:
    """The small network's cached graph, converted once."""
    for package in ("openvino", "onnxruntime", "onnxscript"):
        pytest.importorskip(package)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SRAL_CACHE", str(tmp_path_factory.mktemp("cache")))
        found = conversion.converted(small_weights, "")
    assert isinstance(found, Path)
    return found


@NO_GPU
def test_what_is_chosen(small_weights, cache, installed, monkeypatch):
    monkeypatch.setattr(choice, "has_bf16", lambda on_cpu: True)
    installed()
    assert choose(small_weights) == choice.Choice("torch", small_weights, None, INSTALL)
    assert choose(small_weights, fast=True).precision == "bf16"
    installed("openvino", "onnx", "onnxscript")
    assert choose(small_weights) == choice.Choice("torch", small_weights, None, CONVERT, True)
    monkeypatch.setattr(choice, "find_converted", lambda weights: weights)
    assert choose(small_weights) == choice.Choice("openvino", small_weights, None)
    assert choose(small_weights, fast=True) == choice.Choice("openvino", small_weights, "bf16")
    for suffix, name in ((".onnx", "openvino"), (".xml", "openvino")):
        assert choose(Path(f"net{suffix}")).name == name
    installed("onnxruntime")
    assert choose(Path("net.onnx")) == choice.Choice("onnxruntime", Path("net.onnx"), None, INSTALL)
    assert choose(Path("net.xml")).name == "openvino"
    monkeypatch.setattr(choice, "has_bf16", lambda on_cpu: False)
    assert choose(small_weights, fast=True).precision is None


def test_a_worker_of_many_images_converts(small_weights, cache, installed):
    wanted = {"backend": "auto", "weights": small_weights, "device": "cpu", "precision": None, "fast": False}
    options = Namespace(**wanted, input_size=None, host_file=None)
    installed("openvino", "onnx", "onnxscript")
    assert settled(options).backend == "openvino"
    assert options.backend == "auto"
    installed()
    assert settled(options).backend == "torch"
    assert settled(Namespace(**wanted, input_size=(96, 96), host_file=None)).backend is None
    assert settled(Namespace(**wanted | {"backend": "torch"})).backend == "torch"


def test_a_gpu_runs_torch(small_weights, installed, monkeypatch):
    installed("openvino", "onnx", "onnxscript")
    monkeypatch.setattr(choice, "find_device", lambda *_: torch.device("cuda"))
    monkeypatch.setattr(choice, "has_bf16", lambda on_cpu: not on_cpu)
    assert choose(small_weights) == choice.Choice("torch", small_weights, None)
    assert choose(small_weights, fast=True) == choice.Choice("torch", small_weights, "bf16")


@NO_GPU
def test_the_cached_graph_is_used_and_its_maps_are_the_same(small_weights, graph, cache):
    cache.mkdir(parents=True)
    shutil.copy(graph, cache)
    torch_network, _ = open_fastest("torch", small_weights, "cpu")
    network, remark = open_fastest("auto", small_weights, "cpu")
    assert (network.name, network.precision, remark) == ("openvino", "fp32", "")
    assert np.abs(network(PIXELS) - torch_network(PIXELS)).max() * 255 < 0.1
    runtime, _ = open_fastest("onnxruntime", small_weights, "cpu")
    assert np.abs(runtime(PIXELS) - torch_network(PIXELS)).max() * 255 < 0.1


@NO_GPU
def test_a_conversion_is_made_where_it_pays(small_weights, graph, cache, monkeypatch, capsys):
    made = []

    def convert(weights, requirements):
        made.append(weights)
        return graph

    monkeypatch.setattr("inference.backends.converted", convert)
    monkeypatch.setattr(fastest, "_seconds", lambda network: 1.0)
    assert open_fastest("auto", small_weights, "cpu", images=20)[0].name == "torch"
    assert open_fastest("auto", small_weights, "cpu", images=0)[0].name == "torch"
    assert not made
    network, remark = open_fastest("auto", small_weights, "cpu", images=40)
    assert (network.name, remark, made) == ("openvino", "", [small_weights])
    assert "converted for openvino, once" in capsys.readouterr().err


@NO_GPU
def test_a_cached_graph_that_cannot_be_read_is_removed(small_weights, graph, cache):
    cache.mkdir(parents=True)
    broken = cache / graph.name
    broken.write_bytes(b"no graph")
    network, remark = open_fastest("auto", small_weights, "cpu")
    assert network.name == "torch"
    assert "cannot read it" in remark
    assert not broken.exists()


def test_other_weights_and_other_code_have_other_graphs(small_weights, tmp_path, monkeypatch):
    name = conversion._name(small_weights)
    other = tmp_path / small_weights.name
    other.write_bytes(small_weights.read_bytes() + b"\0")
    assert conversion._name(other) != name
    monkeypatch.setattr(conversion, "_environment", lambda: "another torch")
    assert conversion._name(small_weights) != name


def test_without_a_cache_the_graph_stays_in_memory(small_weights, graph, tmp_path, monkeypatch):
    content = graph.read_bytes()

    class Graph:
        metadata_props = type("Props", (), {"add": staticmethod(lambda **_: None)})

        def SerializeToString(self) -> bytes:
            return content

    monkeypatch.setattr("inference.export.graph.onnx_graph", lambda *_, **__: Graph())
    for name in ("SRAL_CACHE", "XDG_CACHE_HOME", "HOME", "USERPROFILE"):
        monkeypatch.delenv(name, raising=False)
    assert cache_folder("networks") is None
    assert conversion.converted(small_weights, "") == content
    (tmp_path / "file").touch()
    monkeypatch.setenv("SRAL_CACHE", str(tmp_path / "file"))  # a folder that cannot be created
    assert conversion.converted(small_weights, "") == content


def test_what_nobody_uses_is_removed(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("SRAL_CACHE", raising=False)
    folder = cache_folder("networks")
    assert folder == tmp_path / "sral" / "networks"
    folder.mkdir(parents=True)
    for name in ("old", "new", "empty"):
        (folder / name).write_text("x" * (name != "empty"))
    os.utime(folder / "old", (0, 0))
    assert find_cached(folder, "old") == folder / "old"  # used now
    assert find_cached(folder, "empty") is None
    assert find_cached(None, "old") is None
    os.utime(folder / "new", (0, UNUSED))
    remove_unused(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["empty", "old"]


def test_an_int8_file_of_other_weights_is_not_taken(small_weights, graph, tmp_path):
    pytest.importorskip("openvino")
    weights = tmp_path / "net.safetensors"
    shutil.copy(small_weights, weights)
    assert choice.int8_form(weights) is None
    shutil.copy(graph, tmp_path / "net_int8.onnx")  # in fp32
    assert choice.int8_form(weights) is None
    from models.shipped import LITE2

    assert choice.int8_form(LITE2) == LITE2.with_name("lite2_eorssd_int8.onnx")
    shutil.copy(LITE2.with_name("lite2_eorssd_int8.onnx"), tmp_path / "net_int8.onnx")
    assert choice.int8_form(weights) is None
