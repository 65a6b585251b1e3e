"""GPT-2 in PyTorch: its block against PyTorch's own, the state, and what it writes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from einops_arch.architectures import GPT2Config
from einops_arch.errors import ConfigError, IndexRangeError, ShapeError
from einops_arch.parity import randomize
from einops_arch.torch.gpt2 import GPT2, Block, choose, generate

TINY = ("tiny", "tiny_untied")


def _model(preset="tiny", spread=3.0):
    model = GPT2(GPT2Config.preset(preset))
    randomize(model)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(spread)
    return model.double().eval()


def _tokens(config, b=3, t=4):
    return torch.randint(config.vocabulary, (b, t), generator=torch.Generator().manual_seed(b * t))


def test_a_block_is_pytorchs_encoder_layer_with_a_mask():
    config = GPT2Config.tiny()
    block = Block(config)
    randomize(block)
    block.double().eval()
    layer = nn.TransformerEncoderLayer(
        config.embedding,
        config.heads,
        config.hidden,
        dropout=0.0,
        activation=nn.GELU(approximate="tanh"),
        batch_first=True,
        norm_first=True,
    ).double()
    names = {
        "self_attn.in_proj_": "attn.c_attn.",
        "self_attn.out_proj.": "attn.c_proj.",
        "linear1.": "mlp.c_fc.",
        "linear2.": "mlp.c_proj.",
        "norm1.": "ln_1.",
        "norm2.": "ln_2.",
    }
    state = block.state_dict()
    # Its weights lie as `i o`.
    layer.load_state_dict(
        {theirs + leaf: state[ours + leaf].t() for theirs, ours in names.items() for leaf in ("weight", "bias")}
    )
    x = torch.randn(2, 7, 10, dtype=torch.float64, requires_grad=True)
    expected = layer(x, src_mask=nn.Transformer.generate_square_subsequent_mask(7, dtype=torch.float64))
    torch.testing.assert_close(block(x)[0], expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("preset", TINY)
def test_a_text_in_parts_with_the_state_between_them_is_the_text(preset):
    model = _model(preset)
    tokens = _tokens(model.config, t=8)
    whole = model(tokens)
    parts, state = [], None
    for part in tokens.split([3, 1, 4], dim=1):
        logits, state = model.extend(part, state)
        parts.append(logits)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=1e-12, atol=1e-12)
    assert len(state) == model.config.layers
    assert state[0][0].shape == (3, model.config.heads, 8, model.config.embedding // model.config.heads)
    # A token does not see those after it, and sees those before.
    changed = tokens.clone()
    changed[:, 5] = (changed[:, 5] + 1) % model.config.vocabulary
    difference = (model(changed) - whole).abs().amax(dim=(0, 2))
    assert (difference[:5] < 1e-12).all()
    assert (difference[5:] > 1e-6).all()


def test_the_last_layer_is_tied_or_its_own():
    tied, untied = _model("tiny"), _model("tiny_untied")
    assert tied.lm_head.weight is tied.transformer.wte.weight
    assert untied.lm_head.weight is not untied.transformer.wte.weight


@pytest.mark.parametrize(
    ("preset", "parameters"),
    [("gpt2", 124_439_808), ("gpt2_medium", 354_823_168), ("gpt2_large", 774_030_080), ("gpt2_xl", 1_557_611_200)],
)
def test_published_sizes(preset, parameters):
    with torch.device("meta"):
        model = GPT2(GPT2Config.preset(preset))
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


def test_it_begins_as_published():
    torch.manual_seed(0)
    state = GPT2(GPT2Config(vocabulary=500, positions=100, embedding=96, layers=8, hidden=384)).state_dict()
    for name, deviation in {"wte.weight": 0.02, "wpe.weight": 0.02, "h.7.attn.c_attn.weight": 0.02}.items():
        assert state[f"transformer.{name}"].std().item() == pytest.approx(deviation, rel=0.05), name
    for name in ("attn", "mlp"):
        assert state[f"transformer.h.0.{name}.c_proj.weight"].std().item() == pytest.approx(0.005, rel=0.05)


# Generation


@pytest.mark.parametrize("preset", TINY)
def test_greedy_tokens_are_those_of_the_whole_text_read_again_and_again(preset):
    model = _model(preset)
    text = prompt = _tokens(model.config, t=2)
    for _ in range(9):
        text = torch.cat([text, model(text)[:, -1:].argmax(-1)], dim=1)
    words = generate(model, prompt, steps=9)
    assert torch.equal(words, text[:, 2:])
    assert len(words.unique()) > 1, "one word for ever shows nothing"


def test_generation_is_without_dropout_and_leaves_each_mode_alone():
    model = _model()
    prompt = _tokens(model.config)
    expected = generate(model, prompt, 5)
    model.train()
    model.transformer.drop.eval()
    assert torch.equal(generate(model, prompt, 5), expected)
    assert (model.training, model.transformer.drop.training, model.transformer.h[0].training) == (True, False, True)


def test_drawn_tokens_come_from_the_generator_or_from_the_numbers():
    model = _model(spread=1.0)
    prompt = _tokens(model.config)

    def draw(seed):
        return generate(model, prompt, 8, temperature=1.0, generator=torch.Generator().manual_seed(seed))

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))
    uniform = torch.rand(3, 8, generator=torch.Generator().manual_seed(1))
    assert torch.equal(generate(model, prompt, 8, temperature=1.0, uniform=uniform), draw(1))


def test_a_fraction_is_the_likeliest_token_first():
    logits = torch.tensor([[0.1, 0.2, 0.3, 0.4]]).log()

    def at(fraction, **settings):
        return choose(logits, torch.tensor([fraction]), **settings).item()

    assert [at(fraction) for fraction in (0.0, 0.39, 0.41, 0.69, 0.71, 0.89, 0.91, 1 - 2**-24)] == [
        3,
        3,
        2,
        2,
        1,
        1,
        0,
        0,
    ]
    # Two are left, in the proportion 4 to 3.
    assert [at(fraction, top_k=2) for fraction in (0.0, 0.57, 0.58, 1 - 2**-24)] == [3, 3, 2, 2]
    assert [at(fraction, top_p=0.6) for fraction in (0.0, 0.57, 0.58, 1 - 2**-24)] == [3, 3, 2, 2]
    # The token that passes the probability is in; the likeliest always is.
    assert {at(fraction, top_p=1e-9) for fraction in (0.0, 0.5, 1 - 2**-24)} == {3}
    assert at(1 - 2**-24, top_k=3, top_p=0.75) == 2
    assert at(0.999, temperature=0.01) == 3
    assert choose(logits, None).item() == 3


@pytest.mark.parametrize(
    "settings", [{"temperature": 1e-30}, {"temperature": 1.0, "top_k": 1}, {"temperature": 1.0, "top_p": 1e-9}]
)
def test_the_sharpest_draw_is_the_greedy_token(settings):
    model = _model()
    prompt = _tokens(model.config)
    assert torch.equal(generate(model, prompt, 5, **settings), generate(model, prompt, 5))


# Errors, on whole messages


def test_more_tokens_than_positions():
    model = _model()
    ending = "; likely fix: leave out the beginning of the text"
    start = "tokens: expected axes 'b t' with t<=13, the positions of the config, received "
    with pytest.raises(ShapeError) as error:
        model(_tokens(model.config, t=14))
    assert str(error.value) == f"{start}t=14{ending}"
    _, state = model.extend(_tokens(model.config, t=12))
    with pytest.raises(ShapeError) as error:
        model.extend(_tokens(model.config, t=2), state)
    assert str(error.value) == f"{start}t=12 and 2 more{ending}"
    # The last token is not read again.
    assert generate(model, _tokens(model.config, t=10), 4).shape == (3, 4)
    with pytest.raises(ShapeError) as error:
        generate(model, _tokens(model.config, t=10), 5)
    assert str(error.value) == f"{start}t=10 and 4 steps - 1 more{ending}"


def test_a_state_that_does_not_fit():
    model = _model()
    _, state = model.extend(_tokens(model.config))
    with pytest.raises(ShapeError) as error:
        model.extend(_tokens(model.config), state[:1])
    assert str(error.value) == "state: expected a key and a value for each of 2 layers, received 1"
    with pytest.raises(ShapeError) as error:
        model.extend(_tokens(model.config, b=2), state)
    assert str(error.value) == (
        "key of layer 0: expected axes 'b heads n k' with b=2, heads=2, n=4, k=5, received b=3 in shape (3, 2, 4, 5)"
    )


def test_tokens_that_are_not_in_the_vocabulary():
    model = _model()
    for call in (model, model.extend, lambda tokens: generate(model, tokens, 2)):
        with pytest.raises(IndexRangeError) as error:
            call(torch.tensor([[0, 17]]))
        assert str(error.value).startswith("tokens: expected integers from 0 to 16, received 17 at b=0, t=1; ")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "generate: steps needs a whole number of at least 1, received 0"),
        ({"top_k": 18}, "generate: top_k needs a whole number from 1 to 17, received 18"),
        ({"top_p": 0.0}, "generate: top_p needs a number in (0, 1], received 0.0"),
        ({"uniform": torch.zeros(2, 5)}, "generate: expected uniform of shape (2, 2), received (2, 5)"),
    ],
)
def test_settings_of_generation_that_do_not_fit(settings, message):
    with pytest.raises(ConfigError) as error:
        generate(_model(), torch.zeros(2, 3, dtype=torch.int64), **{"steps": 2, **settings})
    assert str(error.value) == message


def test_configs_check_themselves():
    with pytest.raises(ConfigError) as error:
        GPT2Config(heads=7)
    assert str(error.value) == "GPT2Config: embedding needs a multiple of heads=7, received 768"
