"""Encoders: five features from any timm network, and weights in torchvision's names against torchvision itself."""

import pytest
import torch
from safetensors.torch import save_file

from models.encoders import Encoder


def _features_of_torchvision(name: str, model: torch.nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """F1…F5, or F2…F5 of Swin, by torchvision's own modules."""
    if name == "resnet18":
        features = [model.relu(model.bn1(model.conv1(x)))]
        x = model.maxpool(features[0])
        for layer in (model.layer1, model.layer2, model.layer3, model.layer4):
            x = layer(x)
            features.append(x)
        return features
    last = {"mobilenet_v2": (1, 3, 6, 13, 17), "swin_t": (1, 3, 5, 7)}[name]
    features = []
    for index, layer in enumerate(model.features):
        x = layer(x)
        if index in last:
            features.append(x.permute(0, 3, 1, 2) if name == "swin_t" else x)
    return features


@pytest.mark.parametrize(
    ("theirs", "ours", "suffix"),
    [
        ("resnet18", "resnet18", ".pth"),
        ("mobilenet_v2", "mobilenetv2_100", ".pth"),
        ("swin_t", "swin_tiny_patch4_window7_224", ".safetensors"),
    ],
)
def test_torchvision_weights(tmp_path, theirs, ours, suffix):
    import torchvision

    torch.manual_seed(0)
    model = getattr(torchvision.models, theirs)().eval()
    for name, buffer in model.named_buffers():
        if "running" in name:
            buffer.uniform_(0.5, 1.5)
    path = tmp_path / f"weights{suffix}"
    save_file(model.state_dict(), path) if suffix == ".safetensors" else torch.save(model.state_dict(), path)
    x = torch.rand(1, 3, 224, 224)
    with torch.inference_mode():
        expected = _features_of_torchvision(theirs, model, x)
        features = Encoder(ours, str(path)).eval()(x)
    for feature, wanted in zip(features[-len(expected) :], expected, strict=True):
        torch.testing.assert_close(feature, wanted, rtol=1e-4, atol=1e-4 * float(wanted.std()) + 1e-9)


def test_prefixed_names_and_a_head(tmp_path):
    source = Encoder("resnet18")
    state = {f"module.{key}": value for key, value in source.body.state_dict().items()}
    torch.save({"state_dict": state | {"module.fc.weight": torch.zeros(5, 512)}}, tmp_path / "w.pth")
    loaded = Encoder("resnet18", str(tmp_path / "w.pth"))
    for name, value in source.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)


@pytest.mark.parametrize(
    ("name", "input_size"),
    [(name, (224, 224)) for name in ("resnet18", "mobilenetv2_100", "swin_tiny_patch4_window7_224", "convnext_atto")]
    + [("coat_tiny", (96, 160))],
)
def test_five_features_at_any_size(name, input_size):
    encoder = Encoder(name, input_size=input_size).eval()
    with torch.inference_mode():
        features = encoder(torch.rand(1, 3, 96, 160))
    assert [tuple(feature.shape[1:]) for feature in features] == [
        (channels, 96 // stride, 160 // stride)
        for channels, stride in zip(encoder.channels, (2, 4, 8, 16, 32), strict=True)
    ]


@pytest.mark.parametrize(
    ("name", "says"),
    [("resnet49", "timm has no network of that name; did you mean"), ("vit_tiny_patch16_224", r"without \[4, 8, 32\]")],
)
def test_unsuitable_networks_are_named(name, says):
    with pytest.raises(ValueError, match=says):
        Encoder(name)


@pytest.mark.parametrize("name", ["mobilenetv2_100", "convnext_atto"])
def test_paths_are_dropped_in_training_alone(name):
    torch.manual_seed(0)
    dropping, whole = Encoder(name, drop_path=0.5), Encoder(name)
    whole.load_state_dict(dropping.state_dict())
    rgb = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert not torch.equal(dropping(rgb)[-1], dropping(rgb)[-1])
        dropping.load_state_dict(whole.state_dict())  # the norms' statistics are as they were
        for one, other in zip(dropping.eval()(rgb), whole.eval()(rgb), strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("name", ["densenet121", "ghostnet_050"])  # timm's builder refuses the rate; it ignores it
def test_a_network_without_such_paths_is_named(name):
    with pytest.raises(ValueError, match=f"{name} has no residual branches that timm could drop; leave drop_path out"):
        Encoder(name, drop_path=0.1)


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_a_rate_that_is_none(rate):
    with pytest.raises(ValueError, match="drop_path must be at least 0 and less than 1"):
        Encoder("resnet18", drop_path=rate)


def test_unfit_weights_are_named(tmp_path):
    torch.save(Encoder("resnet18").body.state_dict(), tmp_path / "resnet18.pth")
    with pytest.raises(ValueError, match="another network's file"):
        Encoder("mobilenetv2_100", str(tmp_path / "resnet18.pth"))
    with pytest.raises(FileNotFoundError, match="no such file"):
        Encoder("resnet18", str(tmp_path / "nothing.pth"))
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(ValueError, match="not a readable state dict"):
        Encoder("resnet18", str(tmp_path / "text.pth"))
