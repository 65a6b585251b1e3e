"""Arguments that calls leave out: written where other calls of the same class have them."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence

from einops_arch.translation.holes import parse

__all__ = ["with_defaults"]

_LAYER = {
    "strides": "1",
    "padding": "0",
    "output_padding": "0",
    "kernel_dilation": "1",
    "feature_group_count": "1",
    "use_bias": "True",
}
_LAYERS = dict.fromkeys(("Conv", "ConvTranspose", "Linear"), _LAYER)


def with_defaults(codes: Sequence[str], classes: Mapping[str, Mapping[str, str]] | None = None) -> list[str]:
    """The codes with the arguments that others of them have written out, among those that make the same layers.

    Args:
        codes: of calls.
        classes: arguments of generated classes that have a default, by the name of the class.
    """
    if len(set(codes)) == 1:
        return list(codes)
    trees = [parse(code) for code in codes]
    calls = [[node for node in ast.walk(tree) if isinstance(node, ast.Call)] for tree in trees]
    names = [tuple(ast.unparse(call.func) for call in made) for made in calls]
    if len(set(names)) > 1:
        result = list(codes)
        for kind in dict.fromkeys(names):
            places = [n for n, name in enumerate(names) if name == kind]
            for n, code in zip(places, with_defaults([codes[n] for n in places], classes), strict=True):
                result[n] = code
        return result
    known = {**_LAYERS, **(classes or {})}
    for same in zip(*calls, strict=True):
        defaults = known.get(ast.unparse(same[0].func), {})
        wanted = {word.arg for call in same for word in call.keywords if word.arg in defaults}
        order = [name for name in defaults if name in wanted]
        for call in same:
            keywords = {word.arg: word for word in call.keywords}
            for name in order:
                keywords.setdefault(name, ast.keyword(name, ast.parse(defaults[name], mode="eval").body))
            call.keywords = [*(keywords.pop(name) for name in order), *keywords.values()]
    return [ast.unparse(tree) for tree in trees]
