"""ViT: the vision transformer, an image classifier of attention between patches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from einops_arch._settings import check_fraction, check_multiple, is_plain_number
from einops_arch.architectures.axes import Axes
from einops_arch.architectures.config import Config
from einops_arch.architectures.images import ImagePreprocessing

__all__ = ["ViTConfig"]


@dataclass(frozen=True)
class ViTConfig(Config):
    """Vision transformer: an image cut into patches, attention between them, and a linear layer.

    An image of another size than `image_size` is cut into another grid of patches, and the position embedding is
    resized to it, bicubic with antialiasing, as timm does at a change of the image size. So images may have any size
    that the patch divides.

    Args:
        in_channels: channels of the image.
        image_size: height and width of the images that the position embedding is made for.
        patch_size: side of the square patches.
        embedding: features of a token.
        layers: number of blocks.
        heads: attention heads; they divide the features.
        hidden: features inside of a block's multilayer perceptron.
        classes: number of classes; 0 leaves the last layer out.
        class_token: a token of its own beside the patches.
        distillation_token: another one after it, as DeiT has it.
        distillation_head: a linear layer for that token too; the logits are the mean of both.
        pool: `"token"` takes the class token at the end, `"mean"` the mean of the patches.
        norm_after_pool: normalise the pooled features (timm's `fc_norm`), not each token before (`norm`).
        qkv_bias: whether query, key and value have a bias.
        epsilon: added to the variance by each norm; 1e-6 in timm's weights, 1e-12 in those of Hugging Face.
        antialias: whether resizing the position embedding to a smaller grid smooths it; Hugging Face's does not.
        dropout: probability of dropping a feature of the embedded tokens and after each linear layer of a block, the
            one for query, key and value excepted.
        attention_dropout: probability of dropping a weight of the attention.
    """

    PRESETS: ClassVar[tuple[str, ...]] = (
        "vit_base_patch16_224",
        "vit_tiny_patch16_224",
        "vit_small_patch16_224",
        "vit_large_patch16_224",
        "vit_small_patch32_224",
        "vit_base_patch32_224",
        "vit_large_patch32_224",
        "vit_base_patch16_gap_224",
        "deit_tiny_distilled_patch16_224",
        "deit_small_distilled_patch16_224",
        "deit_base_distilled_patch16_224",
        "tiny",
        "tiny_mean",
        "tiny_patches",
        "tiny_distilled",
    )
    SUMMARY: ClassVar[str] = (
        "Vision transformer: an image cut into patches, attention between them, and a linear layer."
    )
    MODEL: ClassVar[str] = "ViT"
    SOURCE: ClassVar[str] = (
        "Dosovitskiy et al. 2020, arXiv:2010.11929; small, tiny and distilled: Touvron et al., arXiv:2012.12877"
    )
    # What timm's weights from ImageNet-21k (augreg) expect.
    IMAGES: ClassVar[ImagePreprocessing] = ImagePreprocessing(
        mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), resize=248, interpolation="bicubic"
    )
    # By torchvision, beside its weights of the same network under other names.
    PUBLISHED: ClassVar[Mapping[str, tuple[int, float]]] = {
        "vit_base_patch16_224": (86_567_656, 17.564),
        "vit_base_patch32_224": (88_224_232, 4.409),
        "vit_large_patch16_224": (304_326_632, 61.555),
        "vit_large_patch32_224": (306_535_400, 15.378),
    }

    in_channels: int = 3
    image_size: tuple[int, int] = (224, 224)
    patch_size: int = 16
    embedding: int = 768
    layers: int = 12
    heads: int = 12
    hidden: int = 3072
    classes: int = 1000
    class_token: bool = True
    distillation_token: bool = False
    distillation_head: bool = False
    pool: str = "token"
    norm_after_pool: bool = False
    qkv_bias: bool = True
    epsilon: float = 1e-6
    antialias: bool = True
    dropout: float = 0.0
    attention_dropout: float = 0.0

    def __post_init__(self) -> None:
        self._require_positive("in_channels", "image_size", "patch_size", "embedding", "layers", "heads", "hidden")
        self._require(len(self.image_size) == 2, "image_size", "a height and a width")
        divides = all(side % self.patch_size == 0 for side in self.image_size)
        self._require(divides, "image_size", f"multiples of patch_size={self.patch_size}")
        check_multiple(type(self).__name__, "embedding", self.embedding, "heads", self.heads)
        if self.classes != 0:
            self._require_positive("classes")
        self._require_choice("pool", ("token", "mean"))
        self._require_bool("class_token", "norm_after_pool", "qkv_bias", "antialias")
        self._require_bool("distillation_token", "distillation_head")
        self._require(self.class_token or self.pool != "token", "pool", "'mean' where class_token=False")
        alone = not self.distillation_token
        self._require(alone or self.class_token, "distillation_token", "False where class_token=False")
        alone = not self.distillation_head
        self._require(alone or self.distillation_token, "distillation_head", "False where distillation_token=False")
        self._require(alone or self.pool == "token", "distillation_head", "False where pool='mean'")
        check_fraction(type(self).__name__, "epsilon", self.epsilon, "(0, 1)", accepts=is_plain_number)
        self._require_probability("dropout", "attention_dropout")

    @classmethod
    def of_size(cls, size: str, patch_size: int, image_size: int = 224) -> Self:
        """A published size.

        Args:
            size: `"tiny"`, `"small"`, `"base"` or `"large"`.
            patch_size: side of the patches, 16 and 32 in the papers.
            image_size: side of the images.

        >>> ViTConfig.of_size("large", 32, 384).grid
        (12, 12)
        """
        embedding, layers, heads = {
            "tiny": (192, 12, 3),
            "small": (384, 12, 6),
            "base": (768, 12, 12),
            "large": (1024, 24, 16),
        }[size]
        return cls(
            image_size=(image_size, image_size),
            patch_size=patch_size,
            embedding=embedding,
            layers=layers,
            heads=heads,
            hidden=4 * embedding,
        )

    @classmethod
    def vit_base_patch16_224(cls) -> Self:
        """ViT-B/16; 86.6 million parameters."""
        return cls.of_size("base", 16)

    @classmethod
    def vit_tiny_patch16_224(cls) -> Self:
        """ViT-Ti/16; 5.7 million parameters."""
        return cls.of_size("tiny", 16)

    @classmethod
    def vit_small_patch16_224(cls) -> Self:
        """ViT-S/16; 22 million parameters."""
        return cls.of_size("small", 16)

    @classmethod
    def vit_large_patch16_224(cls) -> Self:
        """ViT-L/16; 304 million parameters."""
        return cls.of_size("large", 16)

    @classmethod
    def vit_small_patch32_224(cls) -> Self:
        """ViT-S/32; 22.9 million parameters."""
        return cls.of_size("small", 32)

    @classmethod
    def vit_base_patch32_224(cls) -> Self:
        """ViT-B/32; 88 million parameters."""
        return cls.of_size("base", 32)

    @classmethod
    def vit_large_patch32_224(cls) -> Self:
        """ViT-L/32; 307 million parameters."""
        return cls.of_size("large", 32)

    @classmethod
    def vit_base_patch16_gap_224(cls) -> Self:
        """ViT-B/16 with the mean of the patches, no class token and 16 heads; 86.6 million parameters."""
        return cls(heads=16, class_token=False, pool="mean")

    @classmethod
    def deit_tiny_distilled_patch16_224(cls) -> Self:
        """DeiT-Ti/16 with a distillation token; 5.9 million parameters."""
        return cls._distilled("tiny")

    @classmethod
    def deit_small_distilled_patch16_224(cls) -> Self:
        """DeiT-S/16 with a distillation token; 22.4 million parameters."""
        return cls._distilled("small")

    @classmethod
    def deit_base_distilled_patch16_224(cls) -> Self:
        """DeiT-B/16 with a distillation token; 87.3 million parameters."""
        return cls._distilled("base")

    @classmethod
    def _distilled(cls, size: str) -> Self:
        return replace(cls.of_size(size, 16), distillation_token=True, distillation_head=True)

    @classmethod
    def tiny(cls) -> Self:
        """Two thousand parameters, no two sizes equal: for tests. The example's images have its size."""
        return cls(image_size=(6, 8), patch_size=2, embedding=10, layers=2, heads=2, hidden=14, classes=7, dropout=0.1)

    @classmethod
    def tiny_mean(cls) -> Self:
        """The tiny model with the mean of the patches beside a class token, for larger images than the example's."""
        return cls(
            image_size=(14, 10),
            patch_size=2,
            embedding=15,
            layers=1,
            heads=3,
            hidden=11,
            classes=7,
            pool="mean",
            norm_after_pool=True,
            qkv_bias=False,
        )

    @classmethod
    def tiny_patches(cls) -> Self:
        """The tiny model without class token and last layer, for smaller images than the example's."""
        return cls(
            image_size=(4, 6),
            patch_size=2,
            embedding=10,
            layers=1,
            heads=5,
            hidden=13,
            classes=0,
            class_token=False,
            pool="mean",
            antialias=False,
        )

    @classmethod
    def tiny_distilled(cls) -> Self:
        """The tiny model with a distillation token and a linear layer for it."""
        return replace(cls.tiny(), layers=1, dropout=0.0, distillation_token=True, distillation_head=True)

    @property
    def grid(self) -> tuple[int, int]:
        """How many patches there are along the height and the width of `image_size`."""
        return self.grid_of(*self.image_size)

    @property
    def tokens_before_patches(self) -> int:
        """How many tokens come before the patches: the class token and the distillation token, where there are any."""
        return self.class_token + self.distillation_token

    @property
    def pooled_tokens(self) -> slice:
        """Which tokens the pooling is over."""
        return slice(1) if self.pool == "token" else slice(self.tokens_before_patches, None)

    def grid_of(self, height: int, width: int) -> tuple[int, int]:
        """The grid of patches of an image of any size."""
        return height // self.patch_size, width // self.patch_size

    def inputs(self) -> tuple[Axes, ...]:
        """Images `b c h w` of any height and width that the patch divides."""
        sides = {"h": self.patch_size, "w": self.patch_size}
        return (Axes("image", "b c h w", {"c": self.in_channels}, least=sides, multiple=sides),)

    def outputs(self) -> tuple[Axes, ...]:
        """Logits `b o`, one for each class, or the features `b e`."""
        return (
            Axes("logits", "b o", {"o": self.classes})
            if self.classes
            else Axes("features", "b e", {"e": self.embedding}),
        )
