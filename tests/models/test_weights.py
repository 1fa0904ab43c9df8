"""A weights file alone rebuilds its network; the pruned network computes what the training network computes."""

import dataclasses
import json
import os

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from models.config import DetectorConfig
from models.detector import build_detector
from models.sral import build_sral
from models.weights import load_detector, load_sral, read_weights, save_weights, start_from
from tests.helpers import small_network
from tools.prune import prune
from utils import safetensors_file

ENCODERS = ("resnet18", "mobilenetv2_100", "swin_tiny_patch4_window7_224")


def same_state(one, other):
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_a_training_file_gives_back_its_network(tmp_path):
    network, path = small_network(), tmp_path / "run.safetensors"
    save_weights(path, network, {"epoch": 3, "scores": {"MAE": 0.5}})
    loaded = load_sral(path)
    assert loaded.training
    assert same_state(loaded, network)
    assert loaded.config == network.config
    assert read_weights(path)[1]["about"] == {"epoch": 3, "scores": {"MAE": 0.5}}


def test_an_inference_file_gives_back_its_network_and_cannot_train(tmp_path):
    detector, path = small_network().detector, tmp_path / "pruned.safetensors"
    save_weights(path, detector)
    loaded = load_detector(path)
    assert not loaded.training
    assert same_state(loaded, detector)
    assert loaded.config == detector.config
    with pytest.raises(ValueError, match="inference network only"):
        load_sral(path)


def test_starting_from_a_training_file_fills_everything(small_weights):
    torch.manual_seed(1)
    network = build_sral(small_network().config)
    assert not same_state(network, load_sral(small_weights))
    assert start_from(small_weights, network) == []
    assert same_state(network, load_sral(small_weights))


def test_starting_from_an_inference_file_fills_the_detector_at_any_size(tmp_path):
    trained, path = small_network().detector, tmp_path / "pruned.safetensors"
    save_weights(path, trained)
    config = small_network().config
    larger = dataclasses.replace(config.detector, input_size=(128, 128), encoder_size=(160, 160))
    network = build_sral(dataclasses.replace(config, detector=larger))
    before = {key: value.clone() for key, value in network.state_dict().items() if not key.startswith("detector.")}
    assert start_from(path, network) == ["coarse_heads", "asrd", "tfgm"]
    assert same_state(network.detector, trained)
    assert all(torch.equal(network.state_dict()[key], value) for key, value in before.items())


def test_what_is_refined_may_start_from_what_is_not(tmp_path):
    """And computes the same at first; how the encoder's paths are dropped is no part of a network."""
    trained, path = small_network().detector, tmp_path / "plain.safetensors"
    save_weights(path, trained)
    config = small_network().config
    refined = dataclasses.replace(config.detector, refined=True, drop_path=0.2)
    network = build_sral(dataclasses.replace(config, detector=refined)).eval()
    assert start_from(path, network) == ["refined", "coarse_heads", "asrd", "tfgm"]
    rgb = torch.rand(1, 3, *config.detector.input_size)
    with torch.no_grad():
        torch.testing.assert_close(network.detector(rgb)["logits"], trained.eval()(rgb)["logits"])
    save_weights(path, network.detector)
    with pytest.raises(ValueError, match=r"detector\.refined True, not False: set them so"):
        start_from(path, small_network())


def test_branches_of_other_shapes_start_anew(small_weights):
    config = small_network().config
    asrd = dataclasses.replace(config.asrd, up_channels=(8, 8, 4))
    network = build_sral(dataclasses.replace(config, asrd=asrd, deep_supervision=False))
    assert start_from(small_weights, network) == ["asrd"]


def test_starting_from_another_network_names_the_difference(small_weights):
    config = small_network().config
    wider = dataclasses.replace(config.detector, width=24, mean=(0.5, 0.5, 0.5))
    network = build_sral(dataclasses.replace(config, detector=wider))
    with pytest.raises(ValueError, match=r"detector.width 16, not 24; detector.mean \(0.5, 0.4, 0.3\), not \(0.5"):
        start_from(small_weights, network)


def test_a_file_says_what_it_is_to_any_safetensors_reader(small_weights):
    with safe_open(small_weights, framework="pt") as file:
        metadata = file.metadata()
    assert metadata["kind"] == "training"
    assert json.loads(metadata["config"])["detector"]["encoder"] == "resnet18"


@pytest.mark.parametrize("encoder", ENCODERS)
def test_the_pruned_network_is_the_full_one_at_any_size(encoder, tmp_path):
    network, path = small_network(encoder), tmp_path / "run.safetensors"
    save_weights(path, network)
    detector = load_detector(path)
    assert detector.state_dict().keys() == network.detector.state_dict().keys()  # no branch is built
    for height, width in ((96, 64), (256, 320)):
        rgb, ycbcr = torch.rand(2, 1, 3, height, width, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            logits, full = detector(rgb)["logits"], network(rgb, ycbcr)["logits1"]
        assert logits.shape == (1, 1, 2 * height, 2 * width)
        assert logits.std() > 0
        assert torch.equal(logits, full)


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize(
    ("size", "nearest"), [((230, 250), "224×256"), ((224, 240), "224×256"), ((5, 64), "32×64")], ids=str
)
def test_a_size_that_does_not_work_names_the_nearest(encoder, size, nearest):
    with torch.device("meta"):
        detector = build_detector(DetectorConfig(encoder=encoder, width=8, head_channels=(4, 4)))
        with pytest.raises(ValueError, match=f"multiples of 32; the nearest that works is {nearest}"):
            detector(torch.empty(1, 3, *size))


def test_files_that_are_not_ours_are_named(tmp_path, small_weights):
    stranger = tmp_path / "stranger.safetensors"
    save_file({"weight": torch.zeros(3)}, stranger)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(small_weights.read_bytes()[:-1000])
    released = tmp_path / "SRAL_ORSSD.pth"
    torch.save({"weight": torch.zeros(3)}, released)
    for path, why in (
        (stranger, "not one of ours"),
        (cut, "not a safetensors file"),
        (released, "tools.convert_released"),
    ):
        for load in (load_detector, load_sral):
            with pytest.raises(ValueError, match=why) as error:
                load(path)
            assert str(path) in str(error.value)
            assert "\n" not in str(error.value)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_detector(tmp_path / "nowhere.safetensors")


def rewritten(path, to, state=None, **metadata):
    tensors, header = read_weights(path)
    header = {"format": "sral", "kind": header["kind"], "config": json.dumps(dataclasses.asdict(header["config"]))}
    save_file(state or tensors, to, header | metadata)
    return to


def test_tensors_and_configuration_that_disagree_are_named(tmp_path, small_weights):
    tensors, header = read_weights(small_weights)
    lacking = {key: value for key, value in tensors.items() if key != "detector.tsdd.head.predict.bias"}
    path = rewritten(small_weights, tmp_path / "lacking.safetensors", lacking | {"detector.more": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"missing tsdd.head.predict.bias; extra more"):
        load_detector(path)
    with pytest.raises(ValueError, match=r"missing detector.tsdd.head.predict.bias; extra detector.more"):
        load_sral(path)
    config = dataclasses.asdict(header["config"])
    config["detector"]["width"] = 24
    path = rewritten(small_weights, tmp_path / "wider.safetensors", config=json.dumps(config))
    with pytest.raises(ValueError, match=r"misshapen .*\(16, .*expected \(24, "):
        load_detector(path)
    config["detector"]["depth"] = 3
    path = rewritten(small_weights, tmp_path / "newer.safetensors", config=json.dumps(config))
    with pytest.raises(ValueError, match="DetectorConfig has no depth"):
        load_detector(path)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    detector, path = small_network().detector, tmp_path / "last.safetensors"
    save_weights(path, detector)
    before = path.read_bytes()

    def breaks_off(state, file, metadata):
        file.write_bytes(b"half of it")
        raise OSError("No space left on device")

    monkeypatch.setattr(safetensors_file, "save_file", breaks_off)
    with pytest.raises(OSError, match="No space"):
        save_weights(path, detector)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_mode_follows_the_umask(tmp_path):
    old = os.umask(0o022)
    try:
        save_weights(tmp_path / "last.safetensors", small_network().detector)
    finally:
        os.umask(old)
    assert (tmp_path / "last.safetensors").stat().st_mode & 0o777 == 0o644


def test_a_value_beyond_fp16_is_refused_by_name(tmp_path):
    detector, path = small_network().detector, tmp_path / "large.safetensors"
    detector.ppm.reduce[0].weight.data[0, 0] = -7e4
    save_weights(path, detector)
    with pytest.raises(ValueError, match=r"ppm\.reduce\.0\.weight holds -70000, but fp16 ends at 65504; write"):
        prune(path, tmp_path / "half.safetensors", half=True)
    assert not (tmp_path / "half.safetensors").exists()
    prune(path, tmp_path / "whole.safetensors")


@pytest.mark.parametrize("half", [False, True])
def test_pruning_keeps_the_inference_network_alone(small_weights, tmp_path, half):
    path = tmp_path / "pruned.safetensors"
    parameters = prune(small_weights, path, half)
    full, pruned = load_detector(small_weights), load_detector(path)
    assert read_weights(path)[1]["kind"] == "inference"
    assert parameters == sum(p.numel() for p in full.parameters())
    assert path.stat().st_size < small_weights.stat().st_size * (0.6 if half else 1)
    rgb = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        expected, logits = full(rgb)["logits"], pruned(rgb)["logits"]
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, expected, rtol=0, atol=0.02 * float(expected.std()) if half else 0)
