"""A network of your own, and the eight lines that let SRAL train it. Nothing in the network knows of that."""

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
    shallow="body[1]",  # what the SR branch reads: modules by name, [index] of several outputs
    context="body[-1]",
    logits="[out]",
    encoder="body",  # has a learning rate of its own, and --encoder_weights FILE fills it
)
def build(config, pretrained):
    return Mine(config.encoder, pretrained)
