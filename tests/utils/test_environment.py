"""Variables of the environment that would change a result, and servers that cannot be reached."""

import socket
import threading
import time

import pytest

from inference.backends import open_backend
from inference.distributed import ProcessGroup
from inference.pipeline import worker_count
from training.distributed import build_accelerator
from utils.environment import check_environment, leave_launchers
from utils.network import can_reach


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4"),
        ("ACCELERATE_USE_FSDP", "true"),
        ("ACCELERATE_USE_DEEPSPEED", "1"),
        ("ACCELERATE_TORCH_DEVICE", "meta"),
        ("ONEDNN_DEFAULT_FPMATH_MODE", "BF16"),
        ("NVIDIA_TF32_OVERRIDE", "1"),
    ],
)
def test_what_changes_a_result_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    for use in (lambda: build_accelerator("cpu", "fp32"), lambda: open_backend("torch", "none.safetensors")):
        with pytest.raises(ValueError, match=f"^{name}={value} is set in the environment: .*; unset it$"):
            use()


def test_what_changes_nothing_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "1", "ACCELERATE_USE_FSDP": "false", "NVIDIA_TF32_OVERRIDE": "0",
        "DNNL_DEFAULT_FPMATH_MODE": "STRICT", "TORCHDYNAMO_DISABLE": "1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    check_environment()
    with pytest.raises(ValueError, match=r"TORCHDYNAMO_DISABLE=1 .* nothing would be compiled"):
        check_environment(compiled=True)


LAUNCH = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE=two is set in the environment: expected an integer from 1"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE=0"),
        ({"RANK": "2"}, "RANK=2 in the environment must be below WORLD_SIZE, 2"),
        ({"LOCAL_RANK": "-1"}, "LOCAL_RANK=-1"),
        ({"LOCAL_WORLD_SIZE": "0"}, "LOCAL_WORLD_SIZE=0"),
        ({"MASTER_PORT": "99999"}, "MASTER_PORT=99999"),
        ({"MASTER_ADDR": ""}, "MASTER_ADDR not set"),
        ({"OMPI_COMM_WORLD_SIZE": "3"}, "OMPI_COMM_WORLD_SIZE is 3, WORLD_SIZE 2"),
    ],
)
def test_a_launch_that_cannot_be_is_refused_at_once(monkeypatch: pytest.MonkeyPatch, wrong: dict, says: str) -> None:
    for name, value in (LAUNCH | wrong).items():
        monkeypatch.setenv(name, value)
    for use in (ProcessGroup, lambda: build_accelerator("cpu", "fp32")):
        with pytest.raises(ValueError, match=says):
            use()


def test_a_process_alone_does_not_wait_for_mpi(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    with pytest.raises(ValueError, match=r"OMPI_COMM_WORLD_SIZE is 2: .* use torchrun"):
        build_accelerator("cpu", "fp32")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "0")
    with pytest.raises(ValueError, match="LOCAL_WORLD_SIZE=0"):
        worker_count(on_cpu=True)
    for name, value in {"OMPI_COMM_WORLD_SIZE": "1", "LOCAL_RANK": "3"}.items():
        monkeypatch.setenv(name, value)
    leave_launchers()
    with pytest.raises(KeyError):
        monkeypatch.delenv("LOCAL_RANK")


def test_a_server_that_does_not_answer_is_known_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("https_proxy", raising=False)
    monkeypatch.delenv("HTTPS_PROXY", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert can_reach(f"https://127.0.0.1:{server.getsockname()[1]}/x")
    started = time.monotonic()
    monkeypatch.setattr(socket, "create_connection", lambda *_: threading.Event().wait())
    assert not can_reach("https://huggingface.co", 0.2)
    assert time.monotonic() - started < 2
