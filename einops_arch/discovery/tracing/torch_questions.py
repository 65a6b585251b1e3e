"""What a program may ask of a tensor while it is recorded: what is harmless, what is refused, and in which words."""

from __future__ import annotations

__all__ = ["ASKED", "BY_DRAW", "BY_VALUE", "DRAWS", "FIXES", "INSPECTIONS", "NO_DRAW", "REFUSED"]

# Asked of a tensor, these answer what every recording of the same kind answers.
INSPECTIONS = frozenset(
    (
        *("dim", "ndimension", "ndim", "dtype", "device", "layout", "is_cuda", "is_cpu", "is_mps", "is_meta", "is_xpu"),
        *("is_quantized", "is_sparse", "is_nested", "is_mkldnn", "is_contiguous", "is_floating_point", "is_complex"),
        *("requires_grad", "requires_grad_", "grad_fn", "is_leaf", "get_device", "element_size", "stride", "names"),
        *("__len__", "__hash__", "is_inference", "is_conj", "is_neg", "has_names", "_is_view", "_version", "grad"),
        *(
            "is_tensor",
            "is_signed",
            "result_type",
            "promote_types",
            "can_cast",
            "data_ptr",
            "is_sparse_csr",
            "is_vulkan",
        ),
        *("_has_compatible_shallow_copy_type", "is_same_size", "is_xla", "is_maia", "is_ipu", "is_hpu", "is_mtia"),
    )
)
REFUSED = {
    "__bool__": "the program takes another way for other values",
    "item": "a number is taken out of a tensor",
    "tolist": "numbers are taken out of a tensor",
    "numpy": "a tensor leaves torch for numpy",
    "__array__": "a tensor leaves torch for numpy",
    "__int__": "a number is taken out of a tensor",
    "__float__": "a number is taken out of a tensor",
    "__index__": "a tensor is used as a Python index",
    "__contains__": "the program takes another way for other values",
    "equal": "the program takes another way for other values",
    "allclose": "the program takes another way for other values",
    "nonzero": "the shape of the result depends on values",
    "unique": "the shape of the result depends on values",
    "masked_select": "the shape of the result depends on values",
    "unique_consecutive": "the shape of the result depends on values",
    "argwhere": "the shape of the result depends on values",
    "bincount": "the shape of the result depends on values",
    "backward": "gradients are computed inside of the model",
    "is_nonzero": "the program takes another way for other values",
    "__format__": "a value is written as text",
    "__repr__": "a value is written as text",
    "__str__": "a value is written as text",
    "register_hook": "a hook changes gradients on their way back",
    "register_post_accumulate_grad_hook": "a hook changes gradients on their way back",
    "retain_grad": "gradients are kept inside of the model",
}
# One number, which may be the same at every size.
ASKED = ("__bool__", "item", "__int__", "__float__")
BY_VALUE = "write it with torch.where, or give the value as an argument of the constructor"
_WITH_A_MASK = "torch.where, or sums with the mask: (x * mask).sum() / mask.sum() is the mean of x[mask]"
# Where there is more to say than `BY_VALUE` does.
FIXES = {
    "bincount": "torch.zeros(length).index_add(0, x, torch.ones(x.shape[0]))",
    "masked_select": _WITH_A_MASK,
    "nonzero": _WITH_A_MASK,
    "argwhere": _WITH_A_MASK,
}
DRAWS = frozenset(["rand", "randn", "randint", "rand_like", "bernoulli", "uniform", "normal"])
BY_DRAW = "the program takes another way by a random draw, as where whole layers are left out in training"
NO_DRAW = "no such draw, as with config.layerdrop = 0 or encoder_layerdrop = decoder_layerdrop = 0"
