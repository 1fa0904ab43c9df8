"""Register your own network for training with SRAL. The network itself needs no change."""

import timm
from torch import nn
from torch.nn.functional import interpolate

from models.hosts import register


class Mine(nn.Module):
    def __init__(self, encoder: str, pretrained: bool):
        super().__init__()
        self.body = timm.create_model(encoder, features_only=True, pretrained=pretrained)
        self.reduce = nn.ModuleList(nn.Conv2d(c, 32, 1) for c in self.body.feature_info.channels())
        self.predict = nn.Conv2d(32, 1, 3, padding=1)

    def forward(self, rgb):
        features = [reduce(f) for reduce, f in zip(self.reduce, self.body(rgb), strict=True)]
        summed = sum(interpolate(f, features[0].shape[-2:], mode="bilinear") for f in features)
        return {"out": self.predict(summed.relu())}


@register(
    "mine",
    shallow="body[1]",  # features that the SR branch reads: a module's name, [i] for its i-th output
    context="body[-1]",
    logits="[out]",
    encoder="body",  # has its own learning rate; --encoder_weights FILE loads it
)
def build(config, pretrained):
    return Mine(config.encoder, pretrained)
