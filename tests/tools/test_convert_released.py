"""The authors' checkpoints: their names, their errors, and that ours computes what the release computes."""

import ast
import json
import os
import pickle
import subprocess
import sys
import zlib

import numpy as np
import pytest
import torch

from models.config import MEAN, STD, SRALConfig
from models.sral import build_sral
from models.weights import load_detector, load_sral
from tests.helpers import FIXTURES, ROOT
from tools import convert_released
from tools.convert_released import convert, read_checkpoint, released_name


def _by_rule(key: str, shape: list[int]) -> torch.Tensor:
    """The value that the fixture's README prescribes for a released parameter or buffer."""
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    kind = key.rsplit(".", 1)[-1]
    if kind == "num_batches_tracked":
        return torch.zeros((), dtype=torch.int64)
    if kind in ("running_mean", "bias"):
        value = 0.1 * rng.standard_normal(shape)
    elif kind == "running_var":
        value = rng.uniform(0.5, 1.5, shape)
    elif len(shape) == 4:
        value = rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:])) * (10 if ".smaps." in key else 1)
    else:
        value = rng.uniform(0.2, 1.2, shape)
    return torch.from_numpy(np.asarray(value, dtype=np.float32))


@pytest.fixture(scope="module")
def released() -> dict[str, torch.Tensor]:
    """A released state dict filled by rule."""
    keys = json.loads((FIXTURES / "released_keys.json").read_text())
    return {key: _by_rule(key, shape) for key, shape in keys.items()}


def test_names_are_the_releases():
    keys = json.loads((FIXTURES / "released_keys.json").read_text())
    network = build_sral(SRALConfig())
    ours = {released_name(key): list(value.shape) for key, value in network.state_dict().items()}
    assert ours == keys
    assert sum(p.numel() for p in network.parameters()) == 33_122_157


def test_computes_what_the_release_computes(released, record_property):
    fixture = np.load(FIXTURES / "released_network.npz")
    network = convert(released)
    rgb, ycbcr = (torch.from_numpy(fixture[name]).permute(2, 0, 1)[None] / 255 for name in ("rgb", "ycbcr"))
    rgb = (rgb - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    with torch.inference_mode():
        outputs = network(rgb, ycbcr)
        outputs["saliency"] = outputs["logits1"].sigmoid()
        context = network.detector(rgb)["context"]
    arrays = [name for name in fixture.files if name not in ("rgb", "ycbcr", "stride")]
    assert len(arrays) == 11
    for name in arrays:
        ours = context[0, :16] if name == "ppm" else outputs[name][0, :, ::8, ::8]
        theirs = fixture[name].reshape(ours.shape)
        error = np.abs(ours.numpy() - theirs).max() / theirs.std()
        record_property(name, float(error))
        assert error < 1e-4, f"{name}: {error:.1e} of its standard deviation"


def test_wrong_parameters_are_named(released):
    broken = dict(released)
    del broken["fuse3.bn2.weight"]
    broken["fuse9.bn2.weight"] = torch.zeros(3)
    broken["ppm.fuse.0.bias"] = torch.zeros(3)
    with pytest.raises(ValueError, match="does not fit") as error:
        convert(broken)
    assert "missing fuse3.bn2.weight; extra fuse9.bn2.weight; misshapen ppm.fuse.0.bias: (3,)" in str(error.value)


def test_command(released, tmp_path, monkeypatch, capsys):
    torch.save(released, tmp_path / "SRAL_ORSSD.pth")
    networks = []
    for name, load, *options in (("whole", load_sral), ("pruned", load_detector, "--pruned")):
        output = tmp_path / f"{name}.safetensors"
        command = ["convert_released", str(tmp_path / "SRAL_ORSSD.pth"), "--output", str(output), *options]
        monkeypatch.setattr(sys, "argv", command)
        convert_released.main()
        networks.append(load(output).eval())
        count = sum(p.numel() for p in networks[-1].parameters())
        assert capsys.readouterr().out == f"{output}: {count:,} parameters\n"
    rgb = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(networks[0](rgb, rgb)["logits1"], networks[1](rgb)["logits"])


def test_bad_checkpoints_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_checkpoint(tmp_path / "nothing.pth")
    (tmp_path / "text.pth").write_text("not a checkpoint")
    with pytest.raises(ValueError, match="not a plain state dict"):
        read_checkpoint(tmp_path / "text.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="something other than a plain state dict"):
        read_checkpoint(tmp_path / "list.pth")


def test_code_in_a_checkpoint_is_not_run(root, tmp_path):
    class Stranger:
        def __reduce__(self):
            return (open, (str(tmp_path / "touched"), "w"))

    (tmp_path / "bad.pth").write_bytes(pickle.dumps({"bkbone.conv1.weight": Stranger()}, protocol=2))
    command = [sys.executable, "-m", "tools.convert_released", "bad.pth", "--output", "out.safetensors"]
    environment = os.environ | {"PYTHONPATH": str(root)}
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 1
    assert len(run.stderr.splitlines()) == 1
    assert "bad.pth: not a plain state dict" in run.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.pth"]


def test_timm_is_imported_after_the_operators():
    """Beside a torch without torchvision's operators, timm's import fails before `utils.torchvision_operators`."""
    folders = ("benchmarks", "compute_results", "datasets", "inference", "models", "tools", "training", "utils")
    found = 0
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        names = [
            node.module or "" if isinstance(node, ast.ImportFrom) else node.names[0].name
            for node in ast.parse(path.read_text()).body
            if isinstance(node, ast.Import | ast.ImportFrom)
        ]
        places = [at for at, name in enumerate(names) if name.partition(".")[0] == "timm"]
        found += bool(places)
        assert not places or "utils.torchvision_operators" in names[: places[0]], path
    assert found >= 5
