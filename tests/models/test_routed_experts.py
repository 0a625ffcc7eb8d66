"""Recording and replaying which experts the tokens go to."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe.callbacks.sparse_layers import find_sparse_layers
from keras_moe.layers import ExpertChoiceRouter
from keras_moe.layers import SparseMoE
from keras_moe.layers import record_choices
from keras_moe.models import RoutedExperts
from tests.models.small_backbones import DECODERS
from tests.models.small_backbones import make_task

# XLA takes long on TensorFlow, whose graphs are the same without.
COMPILES = False if keras.backend.backend() == "tensorflow" else "auto"
LAYERS, EXPERTS, TOP_K = 2, 4, 2
TOKEN_IDS = np.array([[5, 7, 9, 7, 11], [7, 5, 5, 9, 3]], "int32")
MASK = np.array([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]], "int32")
FREE = {
    "token_ids": TOKEN_IDS,
    "padding_mask": MASK,
    "routed_experts": np.full((2, 5, LAYERS, TOP_K), -1, "int32"),
}


def make_model(family="mixtral", **changes):
    keras.utils.set_random_seed(3)
    model = make_task(family, **changes)
    model.compile(
        keras.optimizers.SGD(0.5),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=COMPILES,
        sampler="greedy",
    )
    return model


@pytest.fixture(scope="module")
def model():
    return make_model(router={"replay": True, "balancing": None})


@pytest.fixture(scope="module")
def recorded(model):
    return RoutedExperts(model).predict_on_batch(FREE)


def test_experts_are_those_that_a_layer_chooses(model, recorded):
    assert recorded.shape == (2, 5, LAYERS, TOP_K)
    assert recorded.dtype == np.int32
    assert np.all(recorded[0, 4] == EXPERTS)
    # The first layer by hand: attention, norm, router.
    block = model.backbone.decoder_blocks[0]
    x = model.backbone.embed(TOKEN_IDS)
    x = x + block.attention(block.attention_norm(x), padding_mask=MASK == 1)
    logits = ops.matmul(
        block.feed_forward_norm(x), block.feed_forward.router.kernel
    )
    best = np.argsort(-ops.convert_to_numpy(logits), axis=-1)[..., :TOP_K]
    real = MASK == 1
    np.testing.assert_array_equal(recorded[real][:, 0], best[real])


def test_a_replay_gives_back_what_the_recorded_run_gave(model, recorded):
    expected = model.predict_on_batch(FREE)
    replayed = {**FREE, "routed_experts": recorded}
    real = MASK == 1
    np.testing.assert_allclose(
        model.predict_on_batch(replayed)[real],
        expected[real],
        rtol=1e-5,
        atol=1e-6,
    )
    # Other experts give other outputs, and are recorded as they were given.
    turned = np.where(recorded < EXPERTS, (recorded + 1) % EXPERTS, recorded)
    inputs = {**FREE, "routed_experts": turned}
    outputs = model.predict_on_batch(inputs)
    assert np.abs(outputs - expected)[real].max() > 1e-4
    again = RoutedExperts(model).predict_on_batch(inputs)
    np.testing.assert_array_equal(again, turned)


def test_a_choice_out_of_range_is_refused_or_turns_the_outputs_to_nan(model):
    inputs = {**FREE, "routed_experts": FREE["routed_experts"] + EXPERTS + 2}
    if keras.backend.backend() == "torch":  # Nothing is compiled.
        with pytest.raises(ValueError, match="as many experts"):
            model.predict_on_batch(inputs)
    else:
        assert np.all(np.isnan(model.predict_on_batch(inputs)[MASK == 1]))


@pytest.mark.once
def test_choices_for_other_layers_are_refused(model, recorded):
    inputs = {**FREE, "routed_experts": recorded[:, :, :1]}
    with pytest.raises(ValueError, match="recorded of a model with as many"):
        model.predict_on_batch(inputs)


@pytest.mark.sweep
def test_a_replayed_step_trains_as_the_recorded_run_would(model, recorded):
    weights = [ops.convert_to_numpy(each).copy() for each in model.weights]

    def trained(routed_experts):
        for each, value in zip(model.weights, weights, strict=True):
            each.assign(value)
        inputs = {**FREE, "routed_experts": routed_experts}
        model.train_on_batch(inputs, TOKEN_IDS, sample_weight=MASK)
        return [ops.convert_to_numpy(each).copy() for each in model.weights]

    expected, replayed = trained(FREE["routed_experts"]), trained(recorded)
    trained(FREE["routed_experts"])
    for before, free, again in zip(weights, expected, replayed, strict=True):
        # Steps of 0.5 times gradients of size 0.1 and less.
        np.testing.assert_allclose(again, free, rtol=1e-5, atol=1e-6)
        assert np.abs(free - before).max() > 0
    for each, value in zip(model.weights, weights, strict=True):
        each.assign(value)


@pytest.mark.sweep
def test_generate_returns_the_experts_of_its_sequences(model):
    # Prompts on the left and on the right of their padding.
    mask = np.array([[0, 1, 1, 0, 0], [1, 1, 0, 0, 0]])
    prompts = {"token_ids": TOKEN_IDS, "padding_mask": mask}
    outputs = model.generate(
        prompts, stop_token_ids=None, return_routed_experts=True
    )
    expected = RoutedExperts(model).predict_on_batch(
        {
            **FREE,
            "token_ids": outputs["token_ids"],
            "padding_mask": outputs["padding_mask"].astype("int32"),
        }
    )
    np.testing.assert_array_equal(outputs["routed_experts"], expected)
    nowhere = np.all(expected == EXPERTS, axis=(2, 3))
    np.testing.assert_array_equal(nowhere, ~outputs["padding_mask"])


@pytest.mark.once
def test_experts_of_stripped_sequences_are_refused(model):
    with pytest.raises(ValueError, match="cut prompts off afterwards"):
        model.generate(FREE, strip_prompt=True, return_routed_experts=True)


@pytest.mark.sweep
def test_a_switch_tells_the_experts_of_both_stacks_and_replays_them():
    model = make_model(
        "switch",
        num_layers=1,
        expert_layer_stride=1,
        router={"replay": True},
    )
    inputs = {
        "encoder_token_ids": TOKEN_IDS,
        "encoder_padding_mask": MASK,
        "decoder_token_ids": TOKEN_IDS[:, :3],
        "decoder_padding_mask": np.ones((2, 3), "int32"),
        "encoder_routed_experts": np.full((2, 5, 1, 1), -1, "int32"),
        "decoder_routed_experts": np.full((2, 3, 1, 1), -1, "int32"),
    }
    routed = RoutedExperts(model).predict_on_batch(inputs)
    encoder = routed["encoder_routed_experts"]
    assert encoder.shape == (2, 5, 1, 1)
    assert np.all((encoder[:, :, 0, 0] == EXPERTS) == (MASK == 0))
    decoder = routed["decoder_routed_experts"]
    assert decoder.shape == (2, 3, 1, 1)
    assert np.all(decoder < EXPERTS)
    expected = model.predict_on_batch(inputs)
    outputs = model.predict_on_batch({**inputs, **routed})
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)
    for name in routed:
        turned = np.minimum((routed[name] + 1) % (EXPERTS + 1), EXPERTS)
        outputs = model.predict_on_batch({**inputs, **routed, name: turned})
        assert np.abs(outputs - expected).max() > 1e-3


@pytest.mark.once
def test_what_has_no_choice_of_tokens_is_refused():
    layer = SparseMoE(EXPERTS, 3, router=ExpertChoiceRouter(EXPERTS))
    with record_choices(), pytest.raises(ValueError, match="tokens choose"):
        layer(np.ones((1, 4, 3), "float32"))
    layer(np.ones((1, 4, 3), "float32"))  # Nobody asks any more.
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="by themselves"):
        RoutedExperts(model)(np.ones((2, 3), "float32"))


@pytest.mark.once
def test_a_model_that_replays_is_saved_and_has_the_weights_of_one_that_does_not(
    model, recorded, tmp_path
):
    inputs = {**FREE, "routed_experts": recorded}
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_allclose(
        loaded.predict_on_batch(inputs),
        model.predict_on_batch(inputs),
        rtol=1e-5,
        atol=1e-6,
    )
    other = make_task("mixtral")
    assert list(other.input) == ["token_ids", "padding_mask"]
    other.set_weights(model.get_weights())
    np.testing.assert_allclose(
        other.predict_on_batch({"token_ids": TOKEN_IDS, "padding_mask": MASK}),
        model.predict_on_batch(FREE),
        rtol=1e-5,
        atol=1e-6,
    )


@pytest.mark.once
@pytest.mark.parametrize("family", DECODERS)
def test_every_decoder_replays_what_it_recorded(family):
    model = make_model(family, router={"replay": True})
    router = model.backbone.router
    layers = len(find_sparse_layers(model))
    free = np.full((2, 5, layers, router.top_k), -1, "int32")
    inputs = {**FREE, "routed_experts": free}
    routed = RoutedExperts(model).predict_on_batch(inputs)
    assert routed.shape == free.shape
    np.testing.assert_allclose(
        model.predict_on_batch({**inputs, "routed_experts": routed}),
        model.predict_on_batch(inputs),
        rtol=1e-5,
        atol=1e-5,
    )
