"""An encoder of your own: five convolutions with stride 2."""

from torch import nn

from models.own_encoders import register_encoder

CHANNELS = (16, 32, 64, 96, 128)


@register_encoder("five_convolutions", CHANNELS)
class FiveConvolutions(nn.Module):
    def __init__(self):
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(before, after, 3, stride=2, padding=1), nn.BatchNorm2d(after), nn.ReLU())
            for before, after in zip((3, *CHANNELS), CHANNELS, strict=False)
        )

    def forward(self, rgb):
        features = [rgb]
        for stage in self.stages:
            features.append(stage(features[-1]))
        return features[1:]  # at strides 2, 4, 8, 16 and 32
