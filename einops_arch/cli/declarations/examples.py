"""Examples for `--help`, to copy: a test runs them in this order, in a folder that has the files they name."""

from __future__ import annotations

__all__ = ["EXAMPLES"]

EXAMPLES: dict[str, tuple[str, ...]] = {
    "list": ("einops-arch list",),
    "show": ("einops-arch show resnet50 --depth 1", "einops-arch show convnet --parameters --framework flax"),
    "translate": (
        'einops-arch translate "nets:Classifier()" --input "b c h w=2,3,8,9" -o classifier.py --weights w.safetensors',
    ),
    "port": (
        "einops-arch port convnet.pt convnet-flax.safetensors --to flax",
        "einops-arch port convnet-flax.safetensors back.pt --to torch --check",
    ),
    "verify": (
        "einops-arch verify convnet --mode eval",
        'einops-arch verify nets:Classifier classifier:Classifier --randomize --input "b c h w=2,3,8,9"',
        'einops-arch verify nets:Classifier classifier:Classifier --state w.safetensors --input "b c h w=2,3,8,9"',
    ),
    "inspect": ("einops-arch inspect convnet.pt",),
    "discover": ('einops-arch discover nets:shuffle --input "b c h w=2,12,5,7"',),
    "capture": ('einops-arch capture nets:Classifier run --input "b c h w=2,3,8,9"',),
    "mutate": ("einops-arch mutate convnet",),
    "generate": ('einops-arch generate --checkpoint gpt2 --prompt-tokens "5 11 3" --steps 4',),
    "classify": ("einops-arch classify photograph.png --checkpoint resnet",),
    "demo": ("einops-arch demo --quick",),
    "doctor": ("einops-arch doctor", "einops-arch doctor --json"),
}
"""Lines of a shell by the name of the command."""
