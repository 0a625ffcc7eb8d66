"""Rule tables: what they find, and what they complain about."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest

from keras_moe.checkpoints.layouts import EXPERTS
from keras_moe.checkpoints.layouts import FUSED_EXPERTS
from keras_moe.checkpoints.layouts import LINEAR
from keras_moe.checkpoints.rules import Rule
from keras_moe.checkpoints.rules import Source
from keras_moe.checkpoints.rules import match
from keras_moe.checkpoints.rules import rule
from keras_moe.checkpoints.rules import to_numpy


def variable(*shape, **more):
    return keras.Variable(np.ones(shape, "float32"), **more)


def make_model(num_layers=2, head=True):
    """A model as far as rules look at one."""
    blocks = [
        SimpleNamespace(
            norm=SimpleNamespace(scale=variable(3)),
            experts=SimpleNamespace(kernel=variable(2, 3, 4)),
        )
        for _ in range(num_layers)
    ]
    model = SimpleNamespace(
        decoder_blocks=blocks,
        embedding=variable(5, 3),
        head=variable(3, 5) if head else None,
    )
    weights = [model.embedding, model.head]
    for block in blocks:
        weights += [block.norm.scale, block.experts.kernel]
    model.weights = [each for each in weights if each is not None]
    return model


EMBEDDING = rule("embedding", "embed.weight")
HEAD = rule("head", "head.weight", layout=LINEAR, spare=True)
NORM = rule("decoder_blocks.{layer}.norm.scale", "layers.{layer}.norm")
KERNEL = rule(
    "decoder_blocks.{layer}.experts.kernel",
    "layers.{layer}.experts.{expert}.gate",
    "layers.{layer}.experts.{expert}.up",
    layout=EXPERTS,
    otherwise=(Source(("layers.{layer}.fused",), FUSED_EXPERTS),),
)
RULES = (EMBEDDING, HEAD, NORM, KERNEL)

SHAPES = {
    "embed.weight": (5, 3),
    "head.weight": (5, 3),
    **{f"layers.{layer}.norm": (3,) for layer in range(2)},
    **{
        f"layers.{layer}.experts.{expert}.{branch}": (2, 3)
        for layer in range(2)
        for expert in range(2)
        for branch in ("gate", "up")
    },
}


def found(*without, **more):
    shapes = {name: SHAPES[name] for name in SHAPES if name not in without}
    return {**shapes, **more}


def names(matches):
    return [name for each in matches for name in each.names]


# ---- what is found ----------------------------------------------------------


def test_every_variable_finds_its_tensors():
    model = make_model()
    matches = match(model, RULES, found())
    assert sorted(names(matches)) == sorted(SHAPES)
    matched = [id(v) for each in matches for v in each.variables]
    assert sorted(matched) == sorted(map(id, model.weights))


def test_experts_are_listed_branch_by_branch():
    kernels = match(make_model(1), RULES)[-1]
    assert kernels.names == [
        "layers.0.experts.0.gate",
        "layers.0.experts.1.gate",
        "layers.0.experts.0.up",
        "layers.0.experts.1.up",
    ]
    assert kernels.layout is EXPERTS


def test_saving_takes_the_first_source():
    assert sorted(names(match(make_model(), RULES))) == sorted(SHAPES)


def test_loading_takes_the_source_that_is_there_layer_by_layer():
    fused = {"layers.0.fused": (2, 4, 3)}
    shapes = found(*(n for n in SHAPES if "layers.0.experts" in n), **fused)
    matches = match(make_model(), RULES, shapes)
    layouts = {each.names[0]: each.layout for each in matches}
    assert layouts["layers.0.fused"] is FUSED_EXPERTS
    assert layouts["layers.1.experts.0.gate"] is EXPERTS


def test_a_rule_for_what_the_model_lacks_does_not_apply():
    more = rule("decoder_blocks.{layer}.attention.bias", "layers.{layer}.bias")
    assert match(make_model(), (*RULES, more), found())


def test_one_rule_may_fill_two_variables():
    model = SimpleNamespace(decoder_blocks=[], a=variable(2), b=variable(3))
    model.weights = [model.a, model.b]
    (only,) = match(model, (rule(("a", "b"), "both"),))
    assert [id(v) for v in only.variables] == [id(model.a), id(model.b)]


def test_a_rule_is_written_in_one_line():
    assert EMBEDDING == Rule(("embedding",), (Source(("embed.weight",)),))
    assert KERNEL.sources[1].layout is FUSED_EXPERTS


# ---- variables --------------------------------------------------------------


@pytest.mark.parametrize("trainable", [True, False])
def test_a_variable_without_a_rule_is_named(trainable):
    model = make_model()
    forgotten = variable(2, name="forgotten", trainable=trainable)
    model.weights.append(forgotten)
    for shapes in (None, found()):
        with pytest.raises(ValueError, match="none for forgotten.*rule table"):
            match(model, RULES, shapes)


def test_a_variable_with_two_rules_is_named():
    model = make_model()
    again = rule("embedding", "again")
    with pytest.raises(ValueError, match="Received: .* in several"):
        match(model, (*RULES, again))


def test_missing_tensors_come_before_variables_without_a_rule():
    model = make_model()
    model.weights.append(variable(2, name="forgotten"))
    with pytest.raises(ValueError, match=r"1 missing \(embed.weight\)"):
        match(model, RULES, found("embed.weight"))


def test_seeds_and_counts_need_no_rule():
    model = make_model()
    # Keras has them among the variables of a model, not among its weights.
    steps = variable(2, trainable=False, name="steps")
    model.variables = [*model.weights, steps]
    assert match(model, RULES, found())


def test_a_routers_bias_is_saved_though_it_is_not_trained():
    model = make_model()
    model.weights.append(variable(2, trainable=False, name="expert_bias"))
    with pytest.raises(ValueError, match="none for expert_bias"):
        match(model, RULES)


# ---- tensors ----------------------------------------------------------------


def test_missing_tensors_are_named_by_their_published_names():
    lost = ("layers.1.norm", "layers.0.experts.1.up")
    with pytest.raises(ValueError) as error:
        match(make_model(), RULES, found(*lost))
    # Of the experts, only what is missing; the others are left without it.
    assert "2 missing (layers.1.norm, layers.0.experts.1.up)" in str(
        error.value
    )
    assert "config.json" in str(error.value)


def test_tensors_without_a_partner_are_named():
    shapes = found(**{"layers.2.norm": (3,), "other": ()})
    with pytest.raises(
        ValueError,
        match=r"0 missing \(\), 2 without a partner \(layers.2.norm, other\)",
    ):
        match(make_model(), RULES, shapes)


def test_many_names_are_counted():
    shapes = found(**{f"more.{index}": () for index in range(20)})
    with pytest.raises(ValueError, match=r"20 without.*and 12 more\)"):
        match(make_model(), RULES, shapes)


def test_two_sources_at_once_are_one_too_many():
    shapes = found(**{"layers.0.fused": (2, 4, 3)})
    with pytest.raises(ValueError, match=r"partner \(layers.0.fused\)"):
        match(make_model(), RULES, shapes)


def test_ignored_names_are_left_out_as_a_whole():
    more = {"layers.0.rotary.inv_freq": (2,)}
    ignored = (r"layers\.\d+\.rotary\.inv_freq",)
    assert match(make_model(), RULES, found(**more), ignored)
    with pytest.raises(ValueError, match="1 without a partner"):
        match(make_model(), RULES, found(**more), (r"rotary",))


def test_a_spare_tensor_may_be_there_without_its_variable():
    tied = make_model(head=False)
    assert match(tied, RULES, found())
    assert match(tied, RULES, found("head.weight"))
    assert "head.weight" not in names(match(tied, RULES))


def test_a_spare_rule_is_no_excuse_for_a_variable_that_is_there():
    with pytest.raises(ValueError, match=r"1 missing \(head.weight\)"):
        match(make_model(), RULES, found("head.weight"))


def test_what_is_not_spare_needs_its_variable():
    not_spare = HEAD._replace(spare=False)
    rules = (EMBEDDING, not_spare, NORM, KERNEL)
    with pytest.raises(ValueError, match=r"partner \(head.weight\)"):
        match(make_model(head=False), rules, found())


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("embed.weight", (3, 5), r"\(5, 3\)"),
        ("embed.weight", (5, 3, 1), r"\(5, 3\)"),
        ("embed.weight", (), r"\(5, 3\)"),
        ("head.weight", (3, 5), r"\(5, 3\)"),
        ("layers.1.norm", (4,), r"\(3,\)"),
        ("layers.0.experts.1.up", (3, 2), r"\(2, 3\)"),
        ("layers.0.experts.1.up", (4, 3), r"\(2, 3\)"),
    ],
)
def test_another_shape_is_named(name, shape, expected):
    with pytest.raises(
        ValueError, match=f"shape {expected} of {name}"
    ) as error:
        match(make_model(), RULES, found(**{name: shape}))
    assert f"Received: {shape}" in str(error.value)


# ---- numbers ----------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_variable_keeps_its_dtype(dtype):
    array = to_numpy(keras.Variable([1.0, -2.5], dtype=dtype))
    assert array.dtype.name == dtype
    assert array.astype("float32").tolist() == [1.0, -2.5]
