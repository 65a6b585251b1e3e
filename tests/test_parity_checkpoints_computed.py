"""Weights that are computed on the way, merged or folded: what would be wrong in silence is refused, with its name."""

from __future__ import annotations

import json

import pytest
import safetensors.torch
import torch
from torch import nn
from torch.nn.utils import parametrizations

from einops_arch.errors import EinopsArchError, PortError
from einops_arch.port import port_checkpoint, transfer

A, B = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[5.0], [7.0]])
PAIR = {"fc.lora_A.weight": A, "fc.lora_B.weight": B}
OUTER = {f"base_model.model.{name}": value for name, value in PAIR.items()}
BASE = {"fc.weight": torch.zeros(2, 3)}
ALPHA = {"lora_alpha": 2}


def write(folder, tensors, config, base):
    base_file, adapter = folder / "base.pt", folder / "adapter.safetensors"
    torch.save(base, base_file)
    safetensors.torch.save_file({name: value.clone() for name, value in tensors.items()}, adapter)
    if config is not None:
        (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    return base_file, adapter


def merge(folder, tensors, config=None, base=None):
    base_file, adapter = write(folder, tensors, config, base or BASE)
    remarks = port_checkpoint(base_file, folder / "y.safetensors", "torch", merge_lora=adapter)
    return safetensors.torch.load_file(folder / "y.safetensors"), remarks


def fold(folder, tensors):
    torch.save(tensors, folder / "x.pt")
    remarks = port_checkpoint(folder / "x.pt", folder / "y.safetensors", "torch", fold=True)
    return safetensors.torch.load_file(folder / "y.safetensors"), remarks


INIT = ["pissa", "pissa_niter_4", "olora", "loftq", "corda", "lora_ga"]


@pytest.mark.parametrize(
    ("tensors", "config", "text"),
    [
        *((PAIR, {**ALPHA, "init_lora_weights": word}, f"init_lora_weights='{word}'") for word in INIT),
        *((PAIR, {**ALPHA, f: {"x": 1}}, f"{f}=") for f in ("corda_config", "lora_ga_config", "loftq_config")),
        (PAIR, {**ALPHA, "peft_type": "LOHA"}, "peft_type='LOHA'"),
        (PAIR, {"lora_alpha": float("inf")}, "lora_alpha to be a finite number, received inf"),
        (PAIR, {"lora_alpha": float("nan")}, "lora_alpha to be a finite number"),
        (PAIR, {**ALPHA, "alpha_pattern": {"fc": float("-inf")}}, "alpha_pattern: 'fc': expected a finite number"),
        (PAIR, {**ALPHA, "alpha_pattern": [1]}, "under alpha_pattern"),
        ({**PAIR, "fc.alpha": torch.ones(3)}, None, r"fc\.alpha: expected one number, received shape \(3,\)"),
        ({**PAIR, "fc.alpha": torch.tensor(torch.nan)}, None, r"fc\.alpha: expected a finite number"),
        ({**PAIR, "gone.alpha": torch.ones(())}, ALPHA, r"gone\.alpha: no product"),
        ({**PAIR, "fc.lora_A.weight": torch.ones(0, 3)}, ALPHA, r"lora_A\.weight: expected a rank .* \(0, 3\)"),
        ({**PAIR, "fc.lora_A.weight": torch.ones(())}, ALPHA, r"lora_A\.weight: expected a rank .* \(\)"),
        ({**PAIR, "fc.lora_B.weight": torch.ones(())}, ALPHA, r"lora_B\.weight: expected a rank .* \(\)"),
        ({**PAIR, "fc.lora_B.weight": torch.ones(2, 1, 3)}, ALPHA, r"fc\.weight: expected a product"),
        ({**PAIR, "fc.lora_B.weight": B.to(torch.int8)}, ALPHA, r"lora_B\.weight: expected floating-point numbers"),
        ({**PAIR, **OUTER}, ALPHA, r"fc\.weight is changed by (base_model\.model\.)?fc\.lora_A\.weight, too"),
        ({**PAIR, "fc.lora_A.default.weight": A}, ALPHA, "that half of the product is there as"),
        ({**PAIR, "fc.modules_to_save.weight": torch.ones(2, 3)}, ALPHA, r"by fc\.modules_to_save\.weight, too"),
        (
            {"fc.weight": torch.ones(2, 3), "model.fc.weight": torch.ones(2, 3)},
            ALPHA,
            r"fc\.weight is replaced by fc\.weight, too",
        ),
    ],
)
def test_adapters_that_cannot_be_meant(tensors, config, text, tmp_path):
    with pytest.raises(EinopsArchError, match=text):
        merge(tmp_path, tensors, config)
    assert not (tmp_path / "y.safetensors").exists()


@pytest.mark.parametrize("word", [True, False, None, "gaussian", "eva", "orthogonal"])
def test_beginnings_that_leave_the_base_as_it_is(word, tmp_path):
    merged, _ = merge(tmp_path, PAIR, {**ALPHA, "init_lora_weights": word, "loftq_config": {}, "corda_config": None})
    assert torch.equal(merged["fc.weight"], 2 * B @ A)


@pytest.mark.parametrize(
    ("base", "text"),
    [
        ({"fc.weight": torch.full((2, 3), 120, dtype=torch.int8)}, "to add to, received int8"),
        ({"fc.weight": torch.ones(2, 3, dtype=torch.bool)}, "to add to, received bool"),
        ({"fc.weight": torch.ones(2, 3, dtype=torch.complex64)}, "to add to, received complex64"),
        (
            {"fc.weight": torch.ones(2, 3).to(torch.float8_e4m3fn), "fc.weight_scale": torch.ones(())},
            r"received float8_e4m3fn to multiply with fc\.weight_scale",
        ),
        ({"fc.weight": torch.full((2, 3), 6e4, dtype=torch.float16)}, "finite numbers would be infinite"),
        ({"fc.weight": torch.full((2, 3), 440.0).to(torch.float8_e4m3fn)}, "finite numbers would be infinite or no"),
    ],
)
def test_weights_to_which_nothing_can_be_added(base, text, tmp_path):
    with pytest.raises(EinopsArchError, match=text):
        merge(tmp_path, {**PAIR, "fc.lora_A.weight": A * 1e3}, ALPHA, base)
    assert not (tmp_path / "y.safetensors").exists()


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod.module.", "net.", "module.model."])
def test_an_adapter_belongs_to_weights_behind_a_wrapper(wrapper, tmp_path):
    base = {f"{wrapper}{name}": value for name, value in BASE.items()}
    expected, _ = merge(tmp_path, PAIR, ALPHA)
    (tmp_path / "y.safetensors").unlink()
    received, _ = merge(tmp_path, PAIR, ALPHA, base)
    assert not torch.equal(expected["fc.weight"], BASE["fc.weight"])
    assert received.keys() == base.keys()
    assert all(torch.equal(received[f"{wrapper}{name}"], value) for name, value in expected.items())


def test_an_adapter_that_could_belong_to_two_networks_is_refused(tmp_path):
    base = {"unet.fc.weight": BASE["fc.weight"], "text_encoder.fc.weight": BASE["fc.weight"] + 1}
    with pytest.raises(
        PortError, match=r"received unet\.fc\.weight and text_encoder\.fc\.weight; likely fix: --only unet\."
    ):
        merge(tmp_path, PAIR, ALPHA, base)
    assert not (tmp_path / "y.safetensors").exists()
    received, _ = merge(tmp_path, {f"text_encoder.{name}": value for name, value in PAIR.items()}, ALPHA, base)
    assert torch.equal(received["unet.fc.weight"], base["unet.fc.weight"])
    expected = 1 + ALPHA["lora_alpha"] / A.shape[0] * (B.double() @ A.double())
    assert torch.equal(received["text_encoder.fc.weight"], expected.float())


def test_modules_that_were_saved_are_moved_bit_for_bit(tmp_path):
    big = 2**60 + 1
    base = {**BASE, "n": torch.tensor(0), "head.weight": torch.zeros(2, dtype=torch.float64)}
    tensors = {**PAIR, "n": torch.tensor(big), "head.modules_to_save.weight": torch.tensor([0.1, 0.7]).double()}
    merged, remarks = merge(tmp_path, tensors, ALPHA, base)
    assert merged["n"].item() == big
    assert torch.equal(merged["head.weight"], tensors["head.modules_to_save.weight"])
    assert any("head.weight: replaced by the adapter's, changed by at most 0.7" in line for line in remarks)
    (tmp_path / "y.safetensors").unlink()
    with pytest.raises(PortError, match=r"head\.weight: expected float64, which the file has, received float32"):
        merge(tmp_path, {**PAIR, "head.weight": torch.ones(2)}, ALPHA, base)


def test_the_change_is_that_of_the_rounded_numbers(tmp_path):
    base = {"fc.weight": torch.full((2, 3), 256.0, dtype=torch.bfloat16)}
    tensors = {"fc.lora_A.weight": torch.ones(1, 3), "fc.lora_B.weight": torch.full((2, 1), 0.25)}
    merged, remarks = merge(tmp_path, tensors, {"lora_alpha": 1}, base)
    assert torch.equal(merged["fc.weight"], base["fc.weight"])
    assert "fc.weight: the adapter's product merged, 1 time, changed by at most 0" in remarks


def test_the_adapter_is_no_destination_and_what_it_leaves_out_is_told(tmp_path):
    base, adapter = write(tmp_path, PAIR, ALPHA, BASE)
    before = adapter.read_bytes()
    with pytest.raises(EinopsArchError, match="it is, or holds, the source"):
        port_checkpoint(base, adapter, "torch", merge_lora=adapter, force=True)
    assert adapter.read_bytes() == before
    torch.save({"model": PAIR, "model_ema": PAIR}, tmp_path / "two.pt")
    remarks = port_checkpoint(base, tmp_path / "y.safetensors", "torch", merge_lora=tmp_path / "two.pt")
    assert any(line.startswith("model_ema: left out") for line in remarks)


def test_names_that_nobody_touches_stay_tied(tmp_path):
    wte, other = torch.arange(6.0).reshape(2, 3), torch.ones(4)
    base = {"wte.weight": wte, "lm_head.weight": wte, "a": other, "b": other, **BASE}
    adapter = write(tmp_path, PAIR, ALPHA, base)[1]
    x, y = tmp_path / "base.pt", tmp_path / "y.pt"
    packing = ["wte.weight -> wte.weight: a b -> b a"]
    for options in ({"merge_lora": adapter}, {"packing": packing}):
        remarks = port_checkpoint(x, y, "torch", force=True, **options)
        state = torch.load(y, weights_only=True)
        assert state["a"].data_ptr() == state["b"].data_ptr()
        tied = state["wte.weight"].data_ptr() == state["lm_head.weight"].data_ptr()
        assert tied == ("packing" not in options)
        assert tied != any("lm_head.weight: one tensor with wte.weight in the source" in line for line in remarks)
    assert torch.equal(state["lm_head.weight"], wte)
    assert torch.equal(state["wte.weight"], wte.T)


V, G = torch.tensor([[3.0, 4.0], [6.0, 8.0]]), torch.tensor([[5.0], [2.0]])
NORM = {"fc.weight_g": G, "fc.weight_v": V}
NEW = {"fc.parametrizations.weight.original0": G, "fc.parametrizations.weight.original1": V}


@pytest.mark.parametrize(
    ("tensors", "text"),
    [
        ({**NORM, "fc.weight": V}, r"fc\.weight: made of fc\.weight_g, and there already"),
        ({**NORM, **NEW}, r"fc\.weight: made of fc\.(weight_g|parametrizations\S*) and of fc\.\S+"),
        ({**NEW, "fc.parametrizations.weight.1.scale": torch.ones(1)}, r"1\.scale: computes fc\.weight as well"),
        ({**NEW, "fc.parametrizations.weight.original2": V}, r"original2: computes fc\.weight as well"),
        ({"fc.weight_g": V, "fc.weight_v": V}, r"fc\.weight: a norm of shape \(2, 2\) does not belong"),
        ({"fc.weight_g": torch.ones(1, 1), "fc.weight_v": V}, r"a norm of shape \(1, 1\) does not belong"),
        ({"fc.weight_g": torch.ones(2), "fc.weight_v": V}, r"a norm of shape \(2,\) does not belong"),
        ({"fc.weight_g": G, "fc.weight_v": torch.zeros(2, 2)}, "4 finite numbers would be infinite or no number"),
        (
            {"fc.weight_orig": torch.ones(2, 3), "fc.weight_u": torch.ones(2), "fc.weight_v": torch.ones(3, 1)},
            r"vectors of \(2,\) and \(3, 1\)",
        ),
        ({"proj_g": V, "proj_v": V}, "no weight has a weight norm"),
    ],
)
def test_what_looks_like_a_norm_and_cannot_be_folded(tensors, text, tmp_path):
    with pytest.raises(EinopsArchError, match=text):
        fold(tmp_path, tensors)
    assert not (tmp_path / "y.safetensors").exists()


def test_names_that_end_alike_are_no_weight_norm(tmp_path):
    folded, _ = fold(tmp_path, {**NORM, "attn.proj_g": V, "attn.proj_v": 2 * V})
    assert torch.equal(folded["attn.proj_g"], V)
    assert torch.equal(folded["attn.proj_v"], 2 * V)
    assert torch.allclose(folded["fc.weight"], V * torch.tensor([[1.0], [0.2]]))


@pytest.mark.parametrize("dim", [0, 1, None])
@pytest.mark.parametrize("shape", [(3, 1), (1, 1), (1, 4)])
def test_norms_with_axes_of_one_are_still_folded(dim, shape, tmp_path):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(*reversed(shape)))
    parametrizations.weight_norm(net[0], dim=dim)
    with torch.no_grad():
        net[0].parametrizations.weight.original0.mul_(3)
    folded, _ = fold(tmp_path, net.state_dict())
    torch.testing.assert_close(folded["0.weight"], net[0].weight.detach())


def test_what_transfer_has_no_argument_for_is_told_by_what_has():
    state = {f"fc.{name}": torch.ones(1) for name in ("lora_A.weight", "lora_B.weight")}
    with pytest.raises(PortError, match=r"2 names of a LoRA adapter, .* port_checkpoint\(\.\.\., merge_lora=\)"):
        transfer(state, nn.Linear(3, 2))
    with pytest.raises(PortError, match=r"port_checkpoint\(\.\.\., fold=True\)"):
        transfer(NORM, nn.ModuleDict({"fc": nn.Linear(2, 2)}))


def test_two_modules_change_places():
    torch.manual_seed(0)
    source, target = (nn.ModuleDict({"a": nn.Linear(2, 3), "b": nn.Linear(2, 3)}) for _ in range(2))
    transfer(source, target, paths={"a": "b", "b": "a"})
    assert torch.equal(target["a"].weight, source["b"].weight)
    assert torch.equal(target["b"].bias, source["a"].bias)
    inner = nn.ModuleDict({"x": nn.ModuleDict({"y": nn.Linear(2, 3), "z": nn.Linear(3, 2)})})
    outer = nn.ModuleDict({"z": nn.Linear(3, 2), "w": nn.Linear(2, 3)})
    transfer(inner, outer, paths={"x": "", "x.y": "w"})
    assert torch.equal(outer["w"].weight, inner["x"]["y"].weight)
    assert torch.equal(outer["z"].weight, inner["x"]["z"].weight)
    with pytest.raises(PortError, match="1 name"):
        transfer({"weight": torch.ones(2, 3)}, nn.Linear(3, 2, bias=False), ignore=["nothing"])
