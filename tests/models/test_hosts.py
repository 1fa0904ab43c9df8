"""Other networks in the detector's place: trained with SRAL around them, and afterwards exactly themselves."""

import copy
import importlib.util
import json
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import train
from inference.backends import open_backend
from inference.export.graph import CellMeans
from inference.fold import fold
from models.config import ASRDConfig, DetectorConfig, HostConfig, SRALConfig, from_dict
from models.detector import build_detector
from models.hosts import Host, build_host, register, release, run_host_file
from models.hosts.host import as_map
from models.hosts.registry import KINDS, HostKind
from models.hosts.smp import CONTEXTS
from models.losses import LossWeights, joint_loss, loss_terms
from models.sral import SRAL, build_sral
from models.weights import load_detector, load_sral, read_header, save_weights
from tests.helpers import ROOT, normalized, run_script, seen_data
from tools.prune import prune
from training.config import differences, parse, plain

NARROW = ASRDConfig(shallow_channels=8, fuse_channels=(8, 8, 8), up_channels=(8, 8, 8))
SIZE = (64, 96)


class OfAnyHost:
    """What holds for every host. `config` builds it; `alone` builds the same network without any of our code."""

    config: DetectorConfig

    @staticmethod
    def alone() -> nn.Module:
        raise NotImplementedError

    def attached(self) -> SRAL:
        torch.manual_seed(0)
        return build_sral(SRALConfig(self.config, NARROW, deep_supervision=False))

    @property
    def image(self) -> torch.Tensor:
        return torch.randn(2, 3, *self.config.input_size, generator=torch.Generator().manual_seed(0))

    def test_it_trains_and_is_itself_afterwards(self):
        network, alone = self.attached(), self.alone()
        ycbcr = torch.rand(2, 3, *self.config.input_size)
        height, width = (2 * side for side in self.config.input_size)
        outputs = network.train()(self.image, ycbcr)
        assert outputs["logits1"].shape == (2, 1, height, width)
        assert outputs["sr_image"].shape == outputs["fused"].shape == (2, 3, height, width)
        targets = {"mask": torch.rand(2, 1, height, width), "sr_target": torch.rand(2, 3, height, width)}
        terms = loss_terms(outputs, targets, network.tfgm)
        assert set(terms) == {"saliency_map1", "sr", "spatial", "affinity"}
        terms["sr"].backward(retain_graph=True)  # reaches the host from outside
        encoder = [value.grad for value in network.detector.encoder.parameters() if value.grad is not None]
        assert any(gradient.abs().sum() > 0 for gradient in encoder)
        joint_loss(terms, LossWeights().of_epoch(1)).backward()
        torch.optim.SGD(network.parameters(), lr=1e-3).step()

        released = release(network)
        assert type(released).__qualname__ == type(alone).__qualname__
        assert [*released.state_dict()] == [*alone.state_dict()]
        shapes = [{name: value.shape for name, value in each.named_parameters()} for each in (released, alone)]
        assert shapes[0] == shapes[1]
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in released.modules())
        assert [str(module) for module in released.modules()] == [str(module) for module in alone.modules()]

    def test_inference_is_the_networks_own(self):
        host, alone = self.attached().detector.eval(), self.alone().eval()
        alone.load_state_dict(host.network.state_dict())
        with torch.no_grad():
            own = alone(self.image)
            own = own["out"] if isinstance(own, dict) else own
            logits = host(self.image)["logits"]
        wanted = nn.functional.interpolate(own, logits.shape[-2:], mode="bilinear", align_corners=True)
        assert torch.equal(logits, wanted)
        assert logits.shape[-2:] == tuple(2 * side for side in self.config.input_size)
        assert multiply_adds(host, self.image) == multiply_adds(alone, self.image) > 0

    def test_weights_file_and_bare_network(self, tmp_path):
        network = self.attached()
        save_weights(tmp_path / "run.safetensors", network, {"epoch": 3})
        prune(tmp_path / "run.safetensors", tmp_path / "bare.safetensors", bare=True)
        alone = self.alone()
        alone.load_state_dict(load_file(tmp_path / "bare.safetensors"))
        assert same(alone.state_dict(), release(network).state_dict())

    def test_the_inference_form_is_the_network(self):
        pixels = torch.randint(0, 256, (2, *self.config.input_size, 3), dtype=torch.uint8)
        torch.manual_seed(0)
        host = seen_data(build_detector(self.config), pixels)
        with torch.no_grad():
            wanted = host(normalized(pixels, self.config))["logits"]
            form = fold(host)
            assert wanted.std() > 1e-3
            torch.testing.assert_close(form.logits(normalized(pixels, self.config)), wanted, rtol=1e-3, atol=1e-3)
            torch.testing.assert_close(form(pixels), wanted[:, 0].sigmoid(), rtol=1e-3, atol=2e-4)
            assert form.bfloat16()(pixels).dtype == torch.float32


def same(ours: dict, theirs: dict) -> bool:
    return [*ours] == [*theirs] and all(torch.equal(value, theirs[key]) for key, value in ours.items())


def multiply_adds(network: nn.Module, image: torch.Tensor) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image)
    return counter.get_total_flops() // 2


def of_smp(name: str) -> type:
    """The tests of one of segmentation_models_pytorch's networks."""
    vit = {"decoder_fusion_channels": 16, "decoder_intermediate_channels": [8, 8, 8, 8]} if name == "DPT" else {}
    encoder = "vit_tiny_patch16_224" if vit else "lcnet_035"
    size = (128, 160) if name == "PAN" else SIZE  # it pools a stride of 16 three times more

    def alone() -> nn.Module:
        import segmentation_models_pytorch as smp

        more = vit | ({"dynamic_img_size": True} if vit else {})
        return getattr(smp, name)(f"tu-{encoder}", encoder_weights=None, in_channels=3, classes=1, **more)

    config = DetectorConfig(encoder, input_size=size, host=HostConfig(name, vit))
    marked = pytest.mark.skipif(
        importlib.util.find_spec("segmentation_models_pytorch") is None,
        reason="segmentation_models_pytorch is not installed: pip install -r requirements-hosts.txt",
    )
    return marked(type(f"Test{name}", (OfAnyHost,), {"config": config, "alone": staticmethod(alone)}))


for _name in CONTEXTS:
    globals()[f"Test{_name}"] = of_smp(_name)


@pytest.fixture
def my_network():
    """The example on docs/hosts.md, registered for one test."""
    run_host_file(ROOT / "docs" / "my_network.py")
    yield ROOT / "docs" / "my_network.py"
    KINDS.pop("mine", None)


@pytest.mark.usefixtures("my_network")
class TestMine(OfAnyHost):
    config = DetectorConfig("lcnet_035", input_size=SIZE, host=HostConfig("mine"))

    @staticmethod
    def alone() -> nn.Module:
        return sys.modules["host_file_my_network"].Mine("lcnet_035", False)


def test_the_example_is_short_and_on_the_page():
    text = (ROOT / "docs" / "my_network.py").read_text()
    assert sum(bool(line.strip()) for line in text.splitlines()) <= 30
    assert text in (ROOT / "docs" / "hosts.md").read_text()


class Tokens(nn.Module):
    """A transformer's habits: tokens with one before them, channels last, and several outputs."""

    def __init__(self):
        super().__init__()
        self.patches, self.stem, self.head = nn.Conv2d(3, 6, 16, 16), Last(), nn.Conv2d(6, 1, 1)
        self.tokens = nn.Identity()

    def forward(self, rgb: torch.Tensor) -> list[torch.Tensor]:
        self.stem(rgb)
        patches = self.patches(rgb)
        tokens = patches.flatten(2).transpose(1, 2)
        self.tokens(torch.cat([tokens.new_zeros(len(rgb), 1, 6), tokens], dim=1))
        return [self.head(patches), patches]


class Last(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 8, 8)

    def forward(self, rgb: torch.Tensor) -> torch.Tensor:
        return self.conv(rgb).permute(0, 2, 3, 1)


def tokens(**places) -> Host:
    given = {"shallow": "stem", "context": "tokens", "logits": "[0]"} | places
    kind = HostKind(lambda config, pretrained: Tokens(), **given)
    return Host(Tokens(), kind, DetectorConfig(input_size=SIZE, host=HostConfig("tokens")))


def test_features_come_as_maps_whatever_they_are():
    host, rgb = tokens(), torch.rand(2, 3, *SIZE)
    found = host.forward_features(rgb)
    stem, patches = host.network.stem.conv(rgb), host.network.patches(rgb)
    wanted = nn.functional.interpolate(stem, (16, 24), mode="bilinear", align_corners=True)  # stride 8 becomes 4
    torch.testing.assert_close(found["shallow"], wanted)
    torch.testing.assert_close(found["context"], patches)
    assert host.channels() == {"shallow": 5, "context": 6, "coarse": []}
    assert host.training
    square = torch.rand(2, 7, 7, 320)
    assert torch.equal(as_map(square, 224, 224, "x"), square.permute(0, 3, 1, 2))
    assert as_map(torch.rand(2, 56, 56, 56), 224, 224, "x").shape == (2, 56, 56, 56)  # as it is
    assert as_map(torch.rand(2, 261, 9), 224, 224, "x").shape == (2, 9, 16, 16)  # five tokens before 16×16


@pytest.mark.parametrize(
    ("places", "why"),
    [
        ({"context": "nowhere"}, "has no module 'nowhere'; at its top it has patches, stem, head, tokens"),
        ({"context": "stem[9][1]["}, "write it as decoder.psp, encoder"),
        ({"context": "stem[name]"}, r"there is no \[name\] in a Tensor"),
        ({"logits": "[1]"}, r"gives \(2, 6, 4, 6\), expected logits of one class"),
        ({"logits": ""}, "gives list, expected logits"),
        ({"logits": "[5]"}, r"there is no \[5\] in a list"),
        ({"context": ""}, "found list, expected a feature map"),
    ],
)
def test_places_that_cannot_be(places, why):
    with pytest.raises(ValueError, match=why):
        tokens(**places).forward_features(torch.rand(2, 3, *SIZE))


def test_a_module_that_is_not_run_is_named():
    host = tokens(context="head")
    host.network.forward = lambda rgb: [rgb[:, :1]]
    with pytest.raises(ValueError, match="shallow at stem: the network runs without that module"):
        host.channels()


@pytest.mark.usefixtures("my_network")
def test_weights_files_rebuild_hosts(tmp_path):
    network = TestMine().attached()
    save_weights(tmp_path / "run.safetensors", network, {"epoch": 3})
    assert same(load_sral(tmp_path / "run.safetensors").state_dict(), network.state_dict())
    prune(tmp_path / "run.safetensors", tmp_path / "pruned.safetensors")
    assert read_header(tmp_path / "pruned.safetensors")["config"] == TestMine.config
    for name in ("run", "pruned"):
        detector = load_detector(tmp_path / f"{name}.safetensors")
        assert isinstance(detector, Host)
        assert not detector.training
        assert same(detector.state_dict(), network.detector.state_dict())
    KINDS.pop("mine")
    with pytest.raises(ValueError, match=r"host 'mine' is none of .*name the Python file that registers it"):
        load_detector(tmp_path / "pruned.safetensors")


def test_a_host_runs_in_a_backend_from_python():
    host = build_detector(DetectorConfig("resnet18", input_size=SIZE, host=HostConfig("FPN"))).eval()
    pixels = np.random.default_rng(0).integers(0, 256, (2, *SIZE, 3), dtype=np.uint8)
    with torch.no_grad():
        wanted = fold(host)(torch.from_numpy(pixels)).numpy()
    np.testing.assert_allclose(open_backend("torch", host, "cpu")(pixels), wanted, atol=1e-6)


def test_only_hosts_are_released(small_weights, tmp_path):
    with pytest.raises(ValueError, match="this is our own detector"):
        prune(small_weights, tmp_path / "bare.safetensors", bare=True)


@pytest.mark.usefixtures("my_network")
def test_deep_supervision_needs_features_to_supervise():
    config = DetectorConfig("lcnet_035", head_channels=(8, 8), input_size=SIZE, host=HostConfig("mine"))
    with pytest.raises(ValueError, match="deep_supervision: mine on lcnet_035 names no decoded features"):
        build_sral(SRALConfig(config, NARROW))
    config.host.coarse = ("reduce.1", "reduce.2")
    network = build_sral(SRALConfig(config, NARROW))
    outputs = network(torch.rand(2, 3, *SIZE), torch.rand(2, 3, *SIZE))
    assert {name for name in outputs if name.startswith("logits")} == {"logits1", "logits2", "logits3"}
    assert outputs["logits3"].shape == (2, 1, 128, 192)


@pytest.mark.usefixtures("my_network")
def test_what_the_sr_branch_reads_is_a_setting():
    config = DetectorConfig(
        "lcnet_035", input_size=SIZE, host=HostConfig("mine", shallow="reduce.0", context="body[2]")
    )
    host = build_host(config)
    assert host.channels() == {"shallow": 32, "context": host.network.body.feature_info.channels()[2], "coarse": []}


@pytest.mark.usefixtures("my_network")
def test_plain_training_reads_nothing_but_logits():
    config = DetectorConfig("lcnet_035", input_size=SIZE, host=HostConfig("mine", shallow="reduce.0[nothing]"))
    plain = build_sral(SRALConfig(config, deep_supervision=False, super_resolution=False, guidance=False))
    assert set(plain(torch.rand(2, 3, *SIZE), torch.rand(2, 3, *SIZE))) == {"logits1"}
    assert [*plain.state_dict()] == [f"detector.network.{key}" for key in plain.detector.network.state_dict()]


def test_copies_are_hooked_on_their_own():
    """The moving average of the weights is a deep copy."""
    host = tokens()
    other = copy.deepcopy(host)
    nn.init.zeros_(other.network.patches.weight)
    nn.init.zeros_(other.network.patches.bias)
    rgb = torch.rand(1, 3, *SIZE)
    assert other.forward_features(rgb)["context"].abs().sum() == 0
    assert host.forward_features(rgb)["context"].abs().sum() > 0


@pytest.mark.parametrize("prefix", ["", "model.", "encoder.body."])
def test_encoder_weights_from_a_file(prefix, tmp_path):
    pytest.importorskip("segmentation_models_pytorch", reason="pip install -r requirements-hosts.txt")
    config = DetectorConfig("lcnet_035", input_size=SIZE, host=HostConfig("PSPNet"))
    theirs = build_detector(DetectorConfig("lcnet_035")).encoder.body.state_dict()
    save_file({prefix + name: value for name, value in theirs.items()}, tmp_path / "encoder.safetensors")
    ours = build_host(config, str(tmp_path / "encoder.safetensors")).encoder.model.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items() if "num_batches" not in name)


def test_encoder_weights_for_a_host_without_an_encoder():
    register("plain", shallow="0", context="0")(lambda config, pretrained: nn.Sequential(nn.Conv2d(3, 1, 1)))
    try:
        host = build_host(DetectorConfig(host=HostConfig("plain")))
        assert not [*host.encoder.parameters()]
        with pytest.raises(ValueError, match=r"names no encoder that file\.pth could fill"):
            build_host(DetectorConfig(host=HostConfig("plain")), "file.pth")
    finally:
        KINDS.pop("plain")


def test_an_encoder_of_smps_own():
    pytest.importorskip("segmentation_models_pytorch", reason="pip install -r requirements-hosts.txt")
    host = build_host(DetectorConfig("mit_b0", input_size=SIZE, host=HostConfig("Segformer")))
    assert host.channels() == {"shallow": 32, "context": 256, "coarse": []}


@pytest.mark.parametrize(
    ("encoder", "host", "why"),
    [
        ("resnet18", HostConfig("Unet", {"depth": 3}), "has no option depth; it has encoder_depth, "),
        ("resnet18", HostConfig("Unet", {"encoder_weights": "x"}), "has no option encoder_weights"),
        ("resnet18", HostConfig("Unet", {"checkpoint_path": "x"}), "has no option checkpoint_path"),
        ("resnet18", HostConfig("Unet", {"decoder_channels": [8]}), "Unet on resnet18 cannot be built"),
        ("resnet19", HostConfig("Unet"), "encoder 'resnet19': neither timm nor"),
        ("resnet18", HostConfig("Ynet"), "host 'Ynet' is none of Unet, .*name the Python file that registers it"),
    ],
)
def test_hosts_that_cannot_be_built(encoder, host, why):
    pytest.importorskip("segmentation_models_pytorch", reason="pip install -r requirements-hosts.txt")
    with pytest.raises(ValueError, match=why):
        build_host(DetectorConfig(encoder, host=host))


def test_without_the_package_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    with pytest.raises(ValueError, match=r"pip install -r requirements-hosts\.txt"):
        build_host(DetectorConfig("resnet18", host=HostConfig("Unet")))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "no such file"),
        ("x = 1", "registers no network"),
        ("raise KeyError('a')", "KeyError: 'a'"),
        ("def (", "SyntaxError"),
        ("from models.hosts import register\n@register('a')\ndef f(c, p): ...", "TypeError"),
        ("from models.hosts import register\n@register('a', deep='x')\ndef f(c, p): ...", "TypeError"),
    ],
)
def test_host_files_that_cannot_be_run(text, why, tmp_path):
    path = tmp_path / "mine.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises((FileNotFoundError, ValueError), match=why) as error:
        run_host_file(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


STRANGE = [
    5, "Unet", [], {}, {"network": 5}, {"network": "a/b"}, {"network": "../x.py"}, {"network": "Unet", "file": "x.py"},
    {"network": "Unet", "options": 5}, {"network": "Unet", "options": {"a b": 1}},
    {"network": "Unet", "options": {"a": {"b": 1}}}, {"network": "Unet", "options": {"a": 10**9}},
    {"network": "Unet", "options": {"a": float("nan")}}, {"network": "Unet", "options": {"a": [1] * 17}},
    {"network": "Unet", "options": {"a": "hf-hub:x"}}, {"network": "Unet", "options": {f"a{i}": 1 for i in range(17)}},
    {"network": "Unet", "shallow": 5}, {"network": "Unet", "coarse": ["a"] * 17}, {"network": "Unet", "coarse": "a"},
]  # fmt: skip


@pytest.mark.parametrize("host", STRANGE, ids=str)
def test_a_strangers_host_is_checked(host, tmp_path):
    """A weights file is read by nobody who trusts it."""
    config = asdict(DetectorConfig("lcnet_035")) | {"host": host}
    header = {"format": "sral", "kind": "inference", "config": json.dumps(config), "about": "{}"}
    save_file({"network.x": torch.zeros(1)}, tmp_path / "x.safetensors", header)
    with pytest.raises(ValueError, match="its configuration cannot be read") as error:
        load_detector(tmp_path / "x.safetensors")
    assert str(error.value).isprintable()


def test_older_files_have_no_host():
    config = asdict(DetectorConfig("lcnet_035"))
    assert config.pop("host") is None
    assert from_dict(DetectorConfig, config) == DetectorConfig("lcnet_035")


def test_a_run_goes_on_with_the_host_that_it_began_with():
    ours, host = parse([]).settings, parse(["--detector.host.network=Unet"]).settings
    older = plain(ours)
    older["detector"].pop("host")  # as it was before there were hosts
    assert differences(ours, older) == []
    assert differences(host, plain(host)) == []
    assert differences(host, older)[0] == "detector.host.network: None -> Unet"
    assert "detector.host.network: Unet -> None" in differences(ours, plain(host))


def test_pooling_to_rows_and_columns():
    x = torch.rand(2, 3, 12, 20)
    for bins in (1, (1, 1), 6, (6, 6), (2, 5)):
        torch.testing.assert_close(CellMeans(bins)(x), nn.functional.adaptive_avg_pool2d(x, bins))


def test_a_network_of_ones_own_by_the_commands(training_pairs, tmp_path, monkeypatch, capsys):
    """Training, resuming, maps; and maps without the file that makes the network: one line says what to give."""
    own = ["--host_file=docs/my_network.py", "--detector.host.network=mine", "--deep_supervision=false"]
    small = ["--detector.encoder=lcnet_035", "--detector.input_size=[64,64]", "--asrd.shallow_channels=8"]
    small += ["--asrd.fuse_channels=[8,8,8]", "--asrd.up_channels=[8,8,8]", "--encoder_weights=none", "--device=cpu"]
    data = ["--data.dataset=folders", f"--data.images={training_pairs}/train-images", "--data.cache=null"]
    data += [f"--data.masks={training_pairs}/train-labels", "--data.validation=0.3", "--batch_size=2"]
    run = tmp_path / "run"
    start = parse([*own, *small, *data, f"--output={run}", "--epochs=1"])
    assert train.train(start) == 0
    KINDS.pop("mine")

    maps = ["getsmaps.py", "--weights", run / "best.safetensors", "--input", training_pairs / "train-images"]
    maps = [*map(str, maps), "--output", str(tmp_path / "maps")]
    done = subprocess.run([sys.executable, *maps], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "name the Python file that registers it" in done.stderr.splitlines()[-1]
    monkeypatch.setattr(sys, "argv", [*maps, "--host-file", str(ROOT / "docs" / "my_network.py")])
    monkeypatch.chdir(ROOT)
    try:
        run_script(ROOT / "getsmaps.py")
    finally:
        KINDS.pop("mine", None)
    written = sorted((tmp_path / "maps").glob("*.png"))
    assert len(written) == 7
    assert np.asarray(Image.open(written[0])).shape == (128, 128)
