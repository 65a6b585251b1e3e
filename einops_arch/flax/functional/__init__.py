"""Functions that mean what those of `torch.nn.functional` mean, where no plain form of `jax.numpy` does.

Channels are last; attention takes `b heads t d`, as PyTorch's does. Layers of the same names are around them.
"""

from einops_arch.flax.functional.activation import (
    celu,
    elu,
    glu,
    hardshrink,
    hardsigmoid,
    hardswish,
    hardtanh,
    leaky_relu,
    logsigmoid,
    mish,
    prelu,
    quick_gelu,
    relu6,
    selu,
    silu,
    softmin,
    softplus,
    softshrink,
    softsign,
    tanhshrink,
    threshold,
)
from einops_arch.flax.functional.attention import (
    attention_scores,
    causal_mask,
    safe_softmax,
    scaled_dot_product_attention,
)
from einops_arch.flax.functional.bags import embedding_bag
from einops_arch.flax.functional.entries import check_shape, largest, smallest
from einops_arch.flax.functional.fold import fold, roll, unfold, window_partition, window_reverse
from einops_arch.flax.functional.fractional import fractional_max_pool
from einops_arch.flax.functional.grid import affine_grid, grid_sample
from einops_arch.flax.functional.losses import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    ctc_loss,
    huber_loss,
    kl_div,
    l1_loss,
    mse_loss,
    nll_loss,
    smooth_l1_loss,
)
from einops_arch.flax.functional.order import median, median_place
from einops_arch.flax.functional.pad import pad
from einops_arch.flax.functional.pointwise import absolute, at_least, atan2, clamp
from einops_arch.flax.functional.pool import (
    adaptive_avg_pool,
    adaptive_max_pool,
    avg_pool,
    lp_pool,
    max_pool,
    max_unpool,
)
from einops_arch.flax.functional.positions import sinusoidal_positions
from einops_arch.flax.functional.resize import interpolate
from einops_arch.flax.functional.spectrum import stft, window
from einops_arch.flax.functional.vector import cdist, gumbel_softmax, norm, normalize, one_hot, std

__all__ = [
    "check_shape",
    "largest",
    "smallest",
    "sinusoidal_positions",
    "attention_scores",
    "causal_mask",
    "safe_softmax",
    "scaled_dot_product_attention",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "ctc_loss",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "mse_loss",
    "nll_loss",
    "smooth_l1_loss",
    "celu",
    "elu",
    "glu",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "leaky_relu",
    "logsigmoid",
    "mish",
    "prelu",
    "quick_gelu",
    "relu6",
    "selu",
    "silu",
    "softmin",
    "softplus",
    "softshrink",
    "softsign",
    "tanhshrink",
    "threshold",
    "embedding_bag",
    "median",
    "median_place",
    "fold",
    "roll",
    "unfold",
    "window_partition",
    "window_reverse",
    "affine_grid",
    "grid_sample",
    "pad",
    "adaptive_avg_pool",
    "adaptive_max_pool",
    "avg_pool",
    "fractional_max_pool",
    "lp_pool",
    "max_pool",
    "max_unpool",
    "interpolate",
    "stft",
    "window",
    "absolute",
    "at_least",
    "atan2",
    "clamp",
    "cdist",
    "gumbel_softmax",
    "norm",
    "normalize",
    "one_hot",
    "std",
]
