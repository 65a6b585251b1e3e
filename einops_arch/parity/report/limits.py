"""The numbers that decide, each with the measurement behind it. There are no others."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "CONDITIONED",
    "FLOAT64",
    "FLOOR",
    "LIMITS",
    "MAGNIFIED",
    "NOISE",
    "POOL",
    "RATIO",
    "SUMMED",
    "TEACHER",
    "Limit",
]


@dataclass(frozen=True)
class Limit:
    """A number that decides, what it means, and what was measured."""

    name: str
    value: float
    meaning: str
    measured: str


LIMITS = (
    Limit(
        "FLOAT64",
        1e-12,
        "largest rms difference of the two float64 results, relative to the rms of PyTorch's; of a gradient to that of "
        "all gradients at least, of a running mean to the deviation of what it is the mean of: where numbers cancel, "
        "their rounding is left",
        "552 layers of honest ports differ by at most 2e-15, gradients of a small ShuffleNet in train mode by 7e-14; "
        "the smallest change of a formula that was tried, another eps in one norm of a network, by 1e-6",
    ),
    Limit(
        "RATIO",
        4.0,
        "largest ratio of the two rms errors in the models' own dtype against the float64 result, in either direction",
        "552 layers of honest ports: median 0.98, 99 % below 1.2, largest 5.0 at an output of 20 numbers; "
        "E[x^2]-E[x]^2 as the variance of an input 100 deviations off its centre: 116",
    ),
    Limit(
        "FLOOR",
        4.0,
        "an error of so many unit roundoffs of the rms counts as none, whatever the other side's error is",
        "single layers of honest ports, given the same inputs, are off by about one; another eps by 31",
    ),
    Limit(
        "SUMMED",
        64.0,
        "the same for PyTorch's error in float32, where Flax is the more exact one: a sum of 4,096 numbers, taken one "
        "after the other, is off by so much; a narrower type by thousands",
        "PyTorch's convolution of 8 times 8 pixels of 3 channels is off by 7.4 roundoffs, where Flax's is by 0.6",
    ),
    Limit(
        "NOISE",
        2.0**-50,
        "relative noise that is put on what each layer gives, to see how much a network magnifies rounding",
        "552 layers of honest ports differ by at most 2e-15 in float64, which is twice as much",
    ),
    Limit(
        "MAGNIFIED",
        32.0,
        "a difference of so many times what that noise does is no rounding, whatever each module gives by itself",
        "40 steps of the logistic map, which double an error in every second step, differ by less than the noise "
        "changes them; a mask that is forgotten in the second call of a module by 4e14 times as much",
    ),
    Limit(
        "CONDITIONED",
        1e-10,
        "a difference of a module on the same inputs that may be rounding, where noise on its inputs and operations "
        "changes what PyTorch's gives by as much; larger ones never are",
        "layer norms of numbers of mean 1e5 and deviation 1 differ by up to 6e-11, where the noise does 1.4e-10; a "
        "cast to float32 shows as 1e-9 or more",
    ),
    Limit(
        "POOL",
        1000,
        "a tensor of fewer numbers counts as over the ratio only when all such tensors together are over it",
        "the one honest ratio over the limit, 5.0, was that of 20 numbers; a small ResNet of 162 layers had at most "
        "2.1, the tiny twins with eight seeds at most 2.2",
    ),
    Limit(
        "TEACHER",
        16.0,
        "largest rms difference of two modules that are given the same inputs, in unit roundoffs of their dtype, where "
        "there is no float64; a module that holds others is allowed as much for each of them",
        "single layers of seven architectures, given the same inputs, are at most 5.3 roundoffs off on both sides "
        "together; another eps in a norm on weights with outliers by 31",
    ),
)

FLOAT64, RATIO, FLOOR, SUMMED, NOISE, MAGNIFIED, CONDITIONED, POOL, TEACHER = (limit.value for limit in LIMITS)
