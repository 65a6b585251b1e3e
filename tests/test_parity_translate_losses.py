"""Losses that a model computes by itself are PyTorch's, proved with gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from einops_arch.translation import TranslationError, translate


class Contrast(nn.Module):
    """Two towers whose pairs are classes of each other, with every distance between them."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Linear(5, 4)
        self.right = nn.Linear(3, 4)
        self.register_buffer("weight", torch.tensor([0.5, 2.0, 1.0, 3.0]))

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        u, v = self.left(x), self.right(y)
        scores = F.normalize(u, dim=-1) @ F.normalize(v, dim=-1).T
        labels = torch.arange(scores.shape[0])
        return (
            (F.cross_entropy(scores, labels) + F.cross_entropy(scores.T, labels, label_smoothing=0.1)) / 2,
            F.cross_entropy(u, v.argmax(1), self.weight, reduction="none"),
            F.nll_loss(u.log_softmax(1), v.argmax(1), ignore_index=2, reduction="sum"),
            F.cross_entropy(u, v.softmax(1)),
            F.mse_loss(u, v.detach()) + F.l1_loss(u, v, reduction="sum"),
            F.smooth_l1_loss(u, v, beta=0.5, reduction="none"),
            F.huber_loss(u, v, delta=0.7),
            F.binary_cross_entropy_with_logits(u, v.sigmoid()) + F.binary_cross_entropy(u.sigmoid(), v.sigmoid()),
            F.kl_div(u.log_softmax(1), v.softmax(1), reduction="batchmean"),
        )


class Segmentation(nn.Module):
    """Scores of pixels, whose classes PyTorch has on axis 1, held against classes of pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = nn.Conv2d(3, 4, 3, padding=1)
        self.image = nn.Conv2d(4, 3, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        scores = self.scores(image)
        classes = (image[:, 0] > 0).long() + 2 * (image[:, 1] > 0.5).long()
        return (
            F.cross_entropy(scores, classes, reduction="none"),
            F.mse_loss(self.image(scores), image, reduction="none"),
        )


def test_losses_of_pairs_are_those_of_pytorch():
    inputs = {"x": torch.randn(4, 5), "y": torch.randn(4, 3)}
    translation = translate(Contrast, inputs, axes={"x": "b 5", "y": "b 3"})
    assert translation.passed, translation.report
    assert translation.source.count("functional.cross_entropy(") == 4


def test_classes_of_pixels_stand_last():
    translation = translate(Segmentation, torch.randn(2, 3, 6, 5), axes="b 3 h w")
    assert translation.passed, translation.report
    assert translation.moves == 0


class Scaled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.mse_loss(x, x[:1] * 2)


@pytest.mark.filterwarnings("ignore:Using a target size")
def test_a_loss_of_other_shapes_is_refused():
    with pytest.raises(TranslationError, match=r"mse_loss.*other shapes.*expand the smaller"):
        translate(Scaled, torch.randn(3, 5), axes="b 5")


class Weighted(nn.Module):
    """Binary cross entropies of pixels, with weights of classes and of pixels, behind a norm without an eps."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = nn.Conv2d(3, 4, 3, padding=1)
        self.register_buffer("positive", torch.tensor([0.5, 2.0, 1.0, 3.0]).view(4, 1, 1))

    def forward(self, image: Tensor, goal: Tensor) -> tuple[Tensor, ...]:
        scores = self.scores(image)
        pixels = image.square().mean(1, keepdim=True).detach()  # PyTorch takes no gradient of it
        target = goal.sigmoid()
        return (
            F.binary_cross_entropy_with_logits(scores, target, pos_weight=self.positive),
            F.binary_cross_entropy_with_logits(scores, target, pixels, pos_weight=self.positive, reduction="none"),
            F.binary_cross_entropy(scores.sigmoid(), target, pixels, reduction="sum"),
            F.rms_norm(scores, (8,)),
        )


class Attached(nn.Module):
    """A weight of terms that comes from an input."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(self.fc(x), x.sigmoid(), weight)


def test_what_has_no_gradient_by_an_input_is_refused_with_the_way_out():
    inputs = {"x": torch.randn(2, 3), "weight": torch.rand(2, 3)}
    with pytest.raises(TranslationError, match=r"not differentiable with respect to.*likely fix: \.detach\(\)"):
        translate(Attached, inputs, axes={"x": "b 3", "weight": "b 3"})


def test_weights_of_a_binary_cross_entropy_are_broadcast_as_pytorch_does():
    torch.manual_seed(0)
    inputs = {"image": torch.randn(2, 3, 6, 8), "goal": torch.randn(2, 4, 6, 8)}
    translation = translate(Weighted, inputs, axes={"image": "b 3 h 8", "goal": "b 4 h 8"})
    assert translation.passed, translation.report
