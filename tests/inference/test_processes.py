"""One network used by several threads makes one thread's maps; after a fork it computes or says what to do."""

import multiprocessing
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from inference.backends import Backend, open_backend
from inference.backends.shapes import MAX_RUNNERS, FixedShapes

BACKENDS = {"torch": "torch", "onnxruntime": "onnxruntime", "openvino": "openvino"}


@pytest.fixture(params=BACKENDS, scope="module")
def network(request: pytest.FixtureRequest, small_weights: Path) -> Backend:
    """A small network in a backend; skips where its package is not installed."""
    pytest.importorskip(BACKENDS[request.param])
    return open_backend(request.param, small_weights, "cpu")


def test_threads_make_the_maps_of_one(network: Backend) -> None:
    chance = np.random.default_rng(0)
    batches = [chance.integers(0, 256, (1 + i % 3, *network.input_size, 3), np.uint8) for i in range(6)]
    alone = [network(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(network, batches * 4))
    for one, other in zip(alone * 4, together, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_forked_process_says_what_to_do(network: Backend) -> None:
    pixels = np.zeros((1, *network.input_size, 3), np.uint8)
    threads = torch.get_num_threads()
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(network(pixels).mean())  # a whole map would not fit into the pipe
        except ValueError as error:
            answers.put(str(error))

    child = context.Process(target=ask)
    torch.set_num_threads(2)  # as a server has it
    network(pixels)
    child.start()
    torch.set_num_threads(threads)
    child.join(20)
    alive = child.is_alive()
    child.kill()
    assert not alive, "it hangs"
    answer = answers.get()
    assert answer.startswith(f"backend {network.name}: the network was loaded before this process was forked")
    assert "load it in each process" in answer


def test_many_threads_share_the_runners_of_many_shapes() -> None:
    made = []
    shapes = FixedShapes(lambda shape: made.append(shape) or (lambda pixels: pixels[..., 0] * np.float32(1)))  # type: ignore[func-returns-value]
    batches = [np.full((1, side, side, 3), side, np.uint8) for side in range(1, 2 * MAX_RUNNERS)]
    old = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            for batch, found in zip(batches * 20, pool.map(shapes, batches * 20), strict=True):
                assert np.array_equal(found, batch[..., 0])
    finally:
        sys.setswitchinterval(old)
