"""The glossary of axis names: every pattern in the package uses these and no others."""

from __future__ import annotations

__all__ = ["AXES"]

AXES: dict[str, str] = {
    "b": "batch",
    "t": "time, the position in a sequence",
    "c": "channels",
    "c1": "channels, the rows of a gram matrix",
    "c2": "channels, the columns of a gram matrix",
    "d": "depth, the first of three spatial axes",
    "h": "height, the first of two spatial axes; in a recurrent state or weight the hidden features",
    "w": "width, the last spatial axis",
    "g": "groups",
    "k": "members of a group, or features of one attention head",
    "n": "tokens, or positions that were flattened into one axis",
    "e": "embedding, the features of a token",
    "token": "words of a vocabulary",
    "heads": "attention heads",
    "qkv": "query, key and value, in this order",
    "r1": "factor of the first spatial axis",
    "r2": "factor of the second spatial axis",
    "r3": "factor of the third spatial axis",
    "p1": "patch size along the first spatial axis",
    "p2": "patch size along the second spatial axis",
    "p3": "patch size along the third spatial axis",
    "layer": "layers of a recurrent network, the first one first",
    "direction": "directions of a recurrent network, forward then backward",
    "gate": "gates of a recurrent cell",
    "o": "output features of a weight",
    "i": "input features of a weight",
    "kd": "kernel depth",
    "kh": "kernel height",
    "kw": "kernel width",
}
"""Axis name to meaning."""
