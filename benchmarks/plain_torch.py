"""Yardstick for `step_time.py`: DeepLabV3+ on ResNet-50 and a UniMatch step in plain PyTorch, without Keras or tricks.

All layers are PyTorch's own, in channels-last memory format. All forward passes come first, then one backward pass.
"""

import torch
from torch import nn
from torch.nn import functional

THRESHOLD = 0.95


def conv_norm(inputs, outputs, size=1, stride=1, dilation=1, rectify=True):
    """Return a convolution, batch normalization and, if `rectify`, a ReLU."""
    padding = dilation * (size // 2)
    layers = [nn.Conv2d(inputs, outputs, size, stride, padding, dilation, bias=False), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if rectify else []))


class Bottleneck(nn.Module):
    """Residual block of ResNet-50 with the stride in its first convolution, as in keras.applications."""

    def __init__(self, inputs, width, stride, dilation, projected):
        super().__init__()
        self.path = nn.Sequential(
            conv_norm(inputs, width, 1, stride),
            conv_norm(width, width, 3, 1, dilation),
            conv_norm(width, 4 * width, rectify=False),
        )
        self.shortcut = conv_norm(inputs, 4 * width, 1, stride, rectify=False) if projected else nn.Identity()

    def forward(self, maps):
        """Return the sum of path and shortcut."""
        return functional.relu_(self.path(maps) + self.shortcut(maps))


class Encoder(nn.Module):
    """ResNet-50 with output stride 16."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(conv_norm(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1))
        stages, inputs = [], 64
        for width, blocks, stride, dilation in ((64, 3, 1, 1), (128, 4, 2, 1), (256, 6, 2, 1), (512, 3, 1, 2)):
            stage = []
            for block in range(blocks):
                # As `models.dilate` does it: the first block keeps the dilation of the stage before.
                rate = 1 if block == 0 else dilation
                stage.append(Bottleneck(inputs, width, stride if block == 0 else 1, rate, block == 0))
                inputs = 4 * width
            stages.append(nn.Sequential(*stage))
        self.stages = nn.ModuleList(stages)

    def forward(self, images):
        """Return the maps at stride 4 and 16."""
        low = self.stages[0](self.stem(images))
        high = low
        for stage in self.stages[1:]:
            high = stage(high)
        return low, high


class Decoder(nn.Module):
    """DeepLabV3+ decoder: ASPP, projected low map, two 3x3 convolutions and a classifier."""

    def __init__(self, classes):
        super().__init__()
        self.branches = nn.ModuleList([conv_norm(2048, 256), *(conv_norm(2048, 256, 3, 1, r) for r in (6, 12, 18))])
        self.pooled, self.projection = conv_norm(2048, 256), conv_norm(5 * 256, 256)
        self.low = conv_norm(256, 48)
        self.head = nn.Sequential(conv_norm(304, 256, 3), conv_norm(256, 256, 3), nn.Conv2d(256, classes, 1))

    def forward(self, low, high, size):
        """Return logits at the size of the images."""
        pooled = self.pooled(high.mean((2, 3), keepdim=True)).expand(-1, -1, *high.shape[2:])
        features = self.projection(torch.cat([*(branch(high) for branch in self.branches), pooled], 1))
        joined = torch.cat([self.low(low), resize(features, low.shape[2:])], 1)
        return resize(self.head(joined), size)


def resize(maps, size):
    """Resize bilinearly with aligned corners."""
    return functional.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=True)


class PlainStep:
    """Network, optimizer and losses of one UniMatch step on a fixed batch, without CutMix boxes.

    Args:
        batch: training batch as a dict of NumPy arrays.
        classes: number of classes.
    """

    def __init__(self, batch, classes):
        def images(name):
            return torch.from_numpy(batch[name]).permute(0, 3, 1, 2)

        self.weak = torch.cat([images("labeled_image"), images("weak_image")])
        self.strong = torch.cat([images("strong_image_1"), images("strong_image_2")])
        self.mask = torch.from_numpy(batch["labeled_mask"]).long()
        self.encoder, self.decoder = Encoder(), Decoder(classes)
        self.network = nn.ModuleList([self.encoder, self.decoder]).to(memory_format=torch.channels_last).train()
        self.optimizer = torch.optim.SGD(self.network.parameters(), 1e-4, momentum=0.9, weight_decay=1e-4)

    def loss(self):
        """Return the sum of losses after all forward passes."""
        size, labeled = self.weak.shape[2:], len(self.mask)
        maps = self.encoder(self.weak)
        dropped = [functional.dropout2d(x[labeled:], 0.5) for x in maps]
        logits = self.decoder(*(torch.cat(pair) for pair in zip(maps, dropped, strict=True)), size)
        confidence, label = logits[labeled : len(self.weak)].detach().softmax(1).max(1)
        strong = self.decoder(*self.encoder(self.strong), size)

        def consistency(student):
            losses = functional.cross_entropy(student, label, reduction="none")
            return (losses * (confidence >= THRESHOLD)).mean()

        total = functional.cross_entropy(logits[:labeled], self.mask) / 2 + consistency(logits[len(self.weak) :]) / 4
        return total + sum(consistency(half) / 8 for half in strong.chunk(2))

    def gradient(self):
        """Run the forward and backward passes."""
        self.optimizer.zero_grad()
        self.loss().backward()

    def update(self):
        """Update the weights."""
        self.optimizer.step()
