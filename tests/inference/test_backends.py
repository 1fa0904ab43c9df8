"""Every backend gives the detector's own maps for batches of any size, or says in one line why it cannot run."""

import functools
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from inference import BACKENDS
from inference.backends import Backend, backend_class, cuda_graphs, eager, open_backend, open_vino
from inference.backends.shapes import MAX_RUNNERS, FixedShapes
from inference.export import graph as graphs
from models.detector import Detector
from tests.helpers import cpu_computes_in, small_network
from utils import devices

SIZE = 64, 96  # of the small network's input
NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
RUNTIMES = {"onnxruntime": ("onnxruntime", "onnx", "onnxscript"), "openvino": ("openvino", "onnx", "onnxscript")}
LARGEST = {"fp32": 1e-4, "bf16": 0.1}


@pytest.fixture(scope="module")
def detector() -> Detector:
    return small_network().detector


@pytest.fixture(autouse=True, scope="module")
def one_graph():
    """Detectors become a graph once, however many backends are opened on them."""
    made = functools.cache(functools.partial(graphs.onnx_graph, any_size=False, requirements=""))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graphs, "onnx_graph", lambda detector, any_size, requirements: made(detector))
        yield


@pytest.fixture(autouse=True)
def threads():
    """Tests that choose a number of threads leave the others theirs."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def pictures(count: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, *size, 3), dtype=np.uint8)


@torch.no_grad()
def by_hand(detector: Detector, pixels: np.ndarray) -> np.ndarray:
    """The detector's own map, normalized as it was trained."""
    mean, std = (np.array(values, np.float32) for values in (detector.config.mean, detector.config.std))
    rgb = torch.from_numpy((pixels.astype(np.float32) / 255 - mean) / std).permute(0, 3, 1, 2)
    return detector(rgb)["logits"][:, 0].sigmoid().numpy()


def opened(name: str, *arguments: object, **options: object) -> Backend:
    for package in RUNTIMES.get(name, ()):
        pytest.importorskip(package)
    return open_backend(name, *arguments, **options)


def bf16() -> pytest.MarkDecorator:
    return pytest.mark.skipif(not cpu_computes_in("bf16"), reason="this CPU has no bfloat16")


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("torch", "fp32"),
        pytest.param("torch", "bf16", marks=bf16()),
        ("onnxruntime", "fp32"),
        ("openvino", "fp32"),
        pytest.param("openvino", "bf16", marks=bf16()),
    ],
)
def test_batches_of_any_size(name, precision, detector):
    before = {key: value.clone() for key, value in detector.state_dict().items()}
    backend = opened(name, detector, "cpu", precision, threads=2)
    assert (backend.name, backend.precision, backend.device.type) == (name, precision, "cpu")
    assert backend.input_size == SIZE
    found = {}
    for count in (5, 1, 11):  # one, and what does not divide by the threads
        pixels = pictures(count)
        found[count] = backend(pixels)
        assert found[count].dtype == np.float32
        assert found[count].shape == (count, 128, 192)
    for count, saliency in found.items():  # which later calls have left alone
        assert np.abs(saliency - by_hand(detector, pictures(count))).max() < LARGEST[precision]
    assert found[5].std() > 0.1
    backwards = pictures(1)[:, :, ::-1]  # not contiguous
    assert np.abs(backend(backwards) - by_hand(detector, backwards.copy())).max() < LARGEST[precision]
    with pytest.raises(ValueError, match="input size 64×95: height and width must be multiples of 32"):
        backend(pictures(2, (64, 95)))
    assert all(torch.equal(value, before[key]) for key, value in detector.state_dict().items())


def test_other_sizes(detector):
    pixels = pictures(2, (96, 32))
    assert np.abs(open_backend("torch", detector, "cpu")(pixels) - by_hand(detector, pixels)).max() < 1e-4
    for name in RUNTIMES:
        with pytest.raises(ValueError, match="input size 96×32: this graph of resnet18 is for 64×96 alone"):
            opened(name, detector, "cpu")(pixels)


def test_a_weights_file(small_weights, detector):
    for backend in (open_backend(None, small_weights, "cpu"), open_backend("torch", str(small_weights), "cpu")):
        assert (backend.name, backend.precision) == ("torch", "fp32")
        assert np.abs(backend(pictures(2)) - by_hand(detector, pictures(2))).max() < 1e-4


class Doubled(nn.Module):
    """Each pixel's mean four times: little to compile, in place of a network."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return (pixels.float().mean(-1) / 255).repeat_interleave(2, 1).repeat_interleave(2, 2)


def test_compiled(detector, monkeypatch):
    backend = open_backend("compile", detector, "cpu")
    assert (backend.name, backend.precision, backend.device.type) == ("compile", "fp32", "cpu")
    backend.network, shapes = Doubled(), []
    make = backend.runners._make
    monkeypatch.setattr(backend.runners, "_make", lambda shape: shapes.append(shape) or make(shape))
    for count in (3, 2, 3, 4):
        pixels = pictures(count)
        wanted = np.kron(pixels.mean(-1) / 255, np.ones((1, 2, 2)))
        np.testing.assert_allclose(backend(pixels), wanted, atol=1e-6)
    assert shapes == [(3, *SIZE, 3), (4, *SIZE, 3)]
    with pytest.raises(ValueError, match="multiples of 32"):
        open_backend("compile", detector, "cpu")(pictures(1, (64, 95)))


@NO_GPU
def test_no_compiler(detector, monkeypatch):
    backend = open_backend("compile", detector, "cpu")
    backend.network = Doubled()
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", (None, "/no/such/compiler"))
    with pytest.raises(
        ValueError, match=r"^backend compile cannot run here: .*on the CPU it needs a C\+\+ compiler"
    ) as e:
        backend(pictures(3, (32, 64)))
    assert "\n" not in str(e.value)


def test_what_cannot_be_compiled_as_a_whole_is_an_error(detector):
    class Breaks(nn.Module):
        def forward(self, pixels):
            torch._dynamo.graph_break()
            return pixels

    backend = open_backend("compile", detector, "cpu")
    backend.network = Breaks()
    with pytest.raises(ValueError, match="backend compile cannot run here"):
        backend(pictures(1))


def test_fixed_shapes_fill_up_and_forget():
    made = []

    def make(shape):
        made.append(shape[0])

        def run(pixels):
            assert pixels.shape == shape
            return pixels[..., 0].astype(np.float32)

        return run

    shapes = FixedShapes(make)
    for count in (5, 3, 5, 8, 6):  # 3 in the shape of 5, 6 in that of 8
        pixels = pictures(count)
        np.testing.assert_array_equal(shapes(pixels), pixels[..., 0])
    assert made == [5, 8]
    for side in range(MAX_RUNNERS):
        shapes(pictures(2, (32, 32 * (side + 1))))
    shapes(pictures(4))  # the shapes of 5 and 8 have gone
    assert made == [5, 8, *[2] * MAX_RUNNERS, 4]


def stand_in_for_cuda() -> SimpleNamespace:
    """torch with a CUDA on which nothing is faster: what is recorded runs again at each replay."""
    recorded = []

    class Graph:
        def replay(self):
            recorded[-1]()

    streams = {"Stream": lambda *_: SimpleNamespace(wait_stream=lambda _: None), "stream": lambda _: nullcontext()}
    current = SimpleNamespace(synchronize=lambda: None, wait_stream=lambda _: None)
    cuda = SimpleNamespace(CUDAGraph=Graph, graph=lambda _: nullcontext(), current_stream=lambda _: current, **streams)

    def empty(*shape, pin_memory=False, **options):
        assert pin_memory
        return torch.empty(*shape, **options)

    return SimpleNamespace(
        cuda=cuda, empty=empty, zeros=torch.zeros, uint8=torch.uint8, from_numpy=torch.from_numpy, recorded=recorded
    )


def test_cuda_graphs_without_a_gpu(detector, monkeypatch):
    """All but CUDA itself: one static input and output a shape, copies in and out, partial batches.

    That the recording is right on a GPU, only a GPU can tell.
    """
    torch_of_theirs = stand_in_for_cuda()
    monkeypatch.setattr(cuda_graphs, "torch", torch_of_theirs)
    monkeypatch.setattr(eager, "find_device", lambda *_: torch.device("cpu"))
    backend, runs = open_backend("cudagraphs", detector), []
    network = backend.network

    def watched(source):
        runs.append(source)
        saliency = network(source)
        torch_of_theirs.recorded.append(lambda: saliency.copy_(network(source)))
        return saliency

    backend.network = watched
    first = backend(pictures(4))
    kept = first.copy()
    partial = backend(pictures(3))
    assert len(runs) == cuda_graphs.WARM_UP + 1  # recorded once; replayed twice
    assert len({source.data_ptr() for source in runs}) == 1
    assert np.array_equal(first, kept)
    for saliency, count in ((first, 4), (partial, 3)):
        assert np.abs(saliency - by_hand(detector, pictures(count))).max() < 1e-4


def test_too_little_memory_is_one_line(detector):
    backend = open_backend("torch", detector, "cpu")

    def out_of_memory(pixels):
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate")

    backend.run = out_of_memory
    with pytest.raises(ValueError, match=r"^a batch of 2 does not fit into the GPU's memory: use less$"):
        backend(pictures(2))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"name": "tensorrt"}, "backend 'tensorrt': choose torch, compile, cudagraphs, onnxruntime, openvino"),
        ({"device": "tpu"}, "device 'tpu': choose auto, cpu, cuda, cuda:N or mps"),
        ({"precision": "fp8"}, "precision 'fp8': choose fp32, bf16, fp16, or int8 with an exported network"),
        ({"precision": "int8"}, "precision int8 is for exported networks: python -m inference.export --int8"),
        ({"precision": "fp16", "device": "cpu"}, r"precision fp16 needs a GPU \(the device is cpu\)"),
        ({"name": "compile", "precision": "int8"}, "precision int8 is for exported networks"),
        ({"name": "cudagraphs", "device": "cpu"}, "backend cudagraphs runs on a CUDA GPU: use --device cuda"),
        ({"name": "openvino", "device": "cuda"}, "backend openvino runs on the CPU: use --device cpu"),
        ({"threads": 0}, "0 threads: give at least 1"),
        ({"weights": "missing.onnx", "name": "openvino"}, "missing.onnx: no such file"),
        ({"weights": "missing.onnx", "name": "torch"}, "missing.onnx is for the backend onnxruntime or openvino, not"),
        ({"weights": "missing.xml", "name": "torch"}, "missing.xml is for the backend openvino, not torch"),
        ({"weights": "missing.xml"}, "missing.xml: no such file"),
        ({"weights": "missing.onnx"}, "missing.onnx: no such file"),
        ({"weights": "missing.safetensors"}, "missing.safetensors"),
    ],
)
def test_what_cannot_run_says_why(options, reason, detector):
    for package in RUNTIMES.get(str(options.get("weights", "")).replace("missing.onnx", "onnxruntime"), ()):
        pytest.importorskip(package)
    with pytest.raises((ValueError, OSError), match=reason) as caught:
        open_backend(**{"name": None, "weights": detector} | options)
    assert "\n" not in str(caught.value)


@NO_GPU
@pytest.mark.parametrize("name", ["torch", "compile", "cudagraphs", "onnxruntime"])
def test_no_gpu(name, detector):
    reason = "onnxruntime .* here has .* alone" if name == "onnxruntime" else "torch .* finds no GPU here"
    with pytest.raises(ValueError, match=f"^device cuda: {reason}"):
        opened(name, detector, "cuda")


@pytest.mark.parametrize("name", list(RUNTIMES))
def test_precisions_that_a_runtime_has_not(name, detector):
    for precision in ("int8", "fp16"):
        with pytest.raises(ValueError, match=f"^precision {precision}[ :].*(inference.export|has fp32, bf16 and int8)"):
            opened(name, detector, "cpu", precision)


@pytest.mark.parametrize("name", list(RUNTIMES))
def test_a_package_that_is_missing(name, detector, monkeypatch):
    def no_module(package):
        raise ImportError(f"No module named {package!r}")

    monkeypatch.setattr(devices, "importlib", SimpleNamespace(import_module=no_module))
    with pytest.raises(ValueError, match=f"^{name} cannot be imported .*: pip install -r requirements-"):
        open_backend(name, detector, "cpu")


def test_a_cpu_without_bfloat16(detector, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_f": True, "avx512_bf16": False})
    with pytest.raises(ValueError, match=r"^precision bf16: this CPU does not have it; use fp32$"):
        open_backend("torch", detector, "cpu", "bf16")


def test_threads_are_this_process_own(detector):
    open_backend("torch", detector, "cpu", threads=2)
    assert devices.thread_count() == torch.get_num_threads() == 2
    open_backend("torch", detector, "cpu")
    assert devices.thread_count() == 2


def test_all_backends_have_the_name_that_opens_them():
    assert tuple(BACKENDS) == ("torch", "compile", "cudagraphs", "onnxruntime", "openvino")
    assert all(backend_class(name).name == name for name in BACKENDS)


def test_the_map_of_a_graph_of_fixed_size_is_enlarged_by_products(detector):
    openvino = pytest.importorskip("openvino")
    backend = opened("openvino", detector, "cpu")
    model = backend.model.clone()
    model.reshape([1, *SIZE, 3])
    wide = [node.get_output_shape(0)[1] for node in model.get_ops() if node.get_type_name() == "Interpolate"]
    open_vino.upsample_by_matmul(openvino, model)
    left = [node.get_output_shape(0)[1] for node in model.get_ops() if node.get_type_name() == "Interpolate"]
    assert wide.count(1) == 1
    assert left == [channels for channels in wide if channels > 1]


def test_the_bicubic_weights_are_those_of_torch():
    image = torch.rand(1, 3, 64, 40, dtype=torch.double)
    wanted = torch.nn.functional.interpolate(image, size=(98, 70), mode="bicubic", align_corners=True)
    rows, columns = (torch.from_numpy(open_vino._bicubic_weights(*sides)).double() for sides in ((64, 98), (40, 70)))
    assert (rows @ image @ columns.T - wanted).abs().max() < 1e-6
