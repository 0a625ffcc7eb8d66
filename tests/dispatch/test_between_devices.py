"""What a layer computes on a mesh is what it computes on one device."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe.distribution import ExpertParallel
from keras_moe.layers import ExpertChoiceRouter
from keras_moe.layers import SoftRouter
from keras_moe.layers import SparseMoE
from keras_moe.layers import TopKRouter
from keras_moe.routing import Capacity
from keras_moe.routing import CombineWeights
from keras_moe.routing import ExpertGroups

NUM_EXPERTS = 8
SHAPE = (8, 6, 8)
# Half of the pairs find no slot.
HALF = Capacity(factor=0.5)


def token_choice(**arguments):
    return lambda: SparseMoE(NUM_EXPERTS, 4, **arguments)


def routed_by(make_router, **arguments):
    return lambda: SparseMoE(NUM_EXPERTS, 4, router=make_router(), **arguments)


def weights_on_inputs():
    return TopKRouter(
        NUM_EXPERTS, combine_weights=CombineWeights(apply_to="inputs")
    )


def recomputed(capacity=None):
    with keras.RematScope(mode="full"):
        return SparseMoE(NUM_EXPERTS, 4, capacity=capacity)


def sorted_with_a_capacity():
    return SparseMoE(NUM_EXPERTS, 4, capacity=HALF, strategy="sorted")


exhaustive = pytest.mark.exhaustive
LAYERS = [
    pytest.param(token_choice(capacity=HALF), id="capacity"),
    pytest.param(token_choice(), id="dropless", marks=exhaustive),
    pytest.param(token_choice(strategy="dense"), id="dense", marks=exhaustive),
    pytest.param(
        sorted_with_a_capacity, id="sorted with a capacity", marks=exhaustive
    ),
    pytest.param(
        routed_by(weights_on_inputs), id="weights on inputs", marks=exhaustive
    ),
    pytest.param(
        routed_by(lambda: ExpertChoiceRouter(NUM_EXPERTS)),
        id="expert choice",
        marks=exhaustive,
    ),
    pytest.param(
        routed_by(lambda: SoftRouter(NUM_EXPERTS, slots_per_expert=2)),
        id="soft slots",
        marks=exhaustive,
    ),
    pytest.param(lambda: recomputed(HALF), id="recomputed", marks=exhaustive),
]


def pull_back(make_layer, distribution, dtype="float32"):
    """Return outputs, losses and all gradients, as NumPy arrays."""
    import jax

    keras.distribution.set_distribution(distribution)
    keras.config.set_dtype_policy(dtype)
    keras.utils.set_random_seed(1)
    layer = make_layer()
    layer.build(SHAPE)
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=SHAPE).astype("float32")
    cotangent = generator.normal(size=SHAPE).astype("float32")
    padding_mask = np.ones(SHAPE[:2], bool)
    padding_mask[1, 3:] = False
    others = [each.value for each in layer.non_trainable_variables]

    def loss(weights, inputs):
        outputs, _, losses = layer.stateless_call(
            weights,
            others,
            inputs,
            padding_mask=padding_mask,
            training=True,
            return_losses=True,
        )
        outputs = ops.cast(outputs, "float32")
        return ops.sum(outputs * cotangent) + sum(losses), (outputs, losses)

    weights = [each.value for each in layer.trainable_variables]
    gradient = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))
    (_, values), gradients = gradient(weights, inputs)
    return [np.asarray(each) for each in jax.tree.leaves((values, gradients))]


def assert_equal_on(distribution, make_layer):
    expected = pull_back(make_layer, None)
    actual = pull_back(make_layer, distribution)
    for found, wanted in zip(actual, expected, strict=True):
        # Sums of up to 48 float32 numbers in another order.
        scale = max(np.abs(wanted).max(), 1.0)
        np.testing.assert_allclose(found, wanted, atol=1e-6 * scale)


@pytest.mark.multi_device
@pytest.mark.parametrize("make_layer", LAYERS)
def test_outputs_losses_and_gradients_are_those_of_one_device(make_layer):
    assert_equal_on(ExpertParallel(2, 4), make_layer)


@exhaustive
@pytest.mark.multi_device
@pytest.mark.parametrize("mesh", [(1, 8), (8, 1)])
@pytest.mark.parametrize("capacity", [None, HALF])
def test_any_mesh_has_the_gradients_of_one_device(mesh, capacity):
    assert_equal_on(ExpertParallel(*mesh), token_choice(capacity=capacity))


def limited_to_two_devices():
    # A group is a device. Two of them hold as many experts as a token has.
    groups = ExpertGroups(num_groups=4, num_limited=2)
    return TopKRouter(NUM_EXPERTS, top_k=4, expert_groups=groups)


@pytest.mark.multi_device
@pytest.mark.parametrize(
    ("make_layer", "times", "rows"),
    [
        # 45 tokens are not padding: not the 180 rows of their choices.
        pytest.param(
            routed_by(limited_to_two_devices), 6, 90, id="two devices"
        ),
        # More choices than devices, and than experts on each.
        pytest.param(
            token_choice(top_k=5), 6, None, id="many", marks=exhaustive
        ),
        pytest.param(token_choice(), 6, None, id="any", marks=exhaustive),
        pytest.param(recomputed, 6, None, id="recomputed", marks=exhaustive),
        pytest.param(
            sorted_with_a_capacity, 6, None, id="capacity", marks=exhaustive
        ),
        # The weights that travel are ones, which have no gradient.
        pytest.param(
            routed_by(weights_on_inputs), 5, None, id="pairs", marks=exhaustive
        ),
    ],
)
def test_tokens_travel_to_devices_where_the_platform_sends_them(
    make_layer, times, rows, sent_rows
):
    assert_equal_on(ExpertParallel(2, 4), make_layer)
    # Tokens, their choices and the outputs, and the gradients of the three,
    # from each of 8 devices.
    sent = sent_rows()
    assert len(sent) == times * 8
    assert rows is None or sum(sent) == times * rows


@pytest.mark.exhaustive
@pytest.mark.multi_device
def test_half_precision_is_that_of_one_device():
    make_layer = token_choice(capacity=HALF)
    policy = "mixed_bfloat16"
    expected = pull_back(make_layer, None, policy)
    actual = pull_back(make_layer, ExpertParallel(2, 4), policy)
    for found, wanted in zip(actual, expected, strict=True):
        # A few roundings to 8 bits.
        scale = max(np.abs(wanted).max(), 1.0)
        np.testing.assert_allclose(found, wanted, atol=2**-7 * scale)


@pytest.mark.multi_device
def test_groups_that_cannot_be_divided_are_carried_all_the_same():
    import jax

    # Outside of `fit` nobody asks for a batch that can be divided.
    keras.distribution.set_distribution(ExpertParallel(2, 4))
    layer = SparseMoE(NUM_EXPERTS, 4, capacity=Capacity(slots=6))
    layer.build(SHAPE)
    call = jax.jit(lambda inputs: layer(inputs, training=False))
    inputs = np.random.default_rng(0).normal(size=SHAPE).astype("float32")
    part, whole = np.asarray(call(inputs[:3])), np.asarray(call(inputs))
    np.testing.assert_allclose(part, whole[:3], atol=1e-6)
    # Nor outside of a compiled program.
    np.testing.assert_allclose(np.asarray(layer(inputs)), whole, atol=1e-6)


@pytest.mark.parametrize("made_under", [None, "another"])
def test_a_model_that_was_made_before_is_refused(backend, made_under):
    if backend != "jax":
        pytest.skip("experts are distributed on JAX")
    import jax

    if made_under == "another":
        keras.distribution.set_distribution(ExpertParallel(devices=["cpu:0"]))
    layer = SparseMoE(NUM_EXPERTS, 4, name="sparse")
    layer.build(SHAPE)
    keras.distribution.set_distribution(ExpertParallel(devices=["cpu:0"]))
    with pytest.raises(ValueError, match="under the distribution") as error:
        jax.eval_shape(layer, jax.ShapeDtypeStruct(SHAPE, "float32"))
    name = made_under or "no"
    received = f"experts/gate_up/kernel, made under {name} distribution. Call"
    assert received in str(error.value)
