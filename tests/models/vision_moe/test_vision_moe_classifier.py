"""V-MoE's numbers and gradients, and what survives saving."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe.export import export_saved_model
from keras_moe.models.vision_moe import VisionMoEClassifier
from keras_moe.routing import Capacity
from keras_moe.surgery import upcycle
from tests.models.vision_moe.conftest import values_of

# Tokens are dropped: 2 choices of 7 tokens for 4 experts with 2 slots each.
SCARCE = Capacity(0.5, 0.5, priority="score")
# A loss and its gradient are functions of the weights alone.
CALM = {"logit_noise": None, "balancing": None, "capacity": SCARCE}
# Sums of at most 28 float32 products of order 1, through four parts.
TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}


@pytest.mark.parametrize(
    "changes",
    [
        {"routing_group": "batch"},
        {"routing_group": "image", "pooling": "avg", "use_class_token": False},
    ],
    ids=str,
)
def test_logits_match_the_oracle_where_tokens_are_dropped(
    create_classifier, images, oracle, changes
):
    model = create_classifier(**changes, router={"capacity": SCARCE})
    values = values_of(model)
    expected = oracle(values, images, model, 0.5)
    logits = model.predict_on_batch(images)
    np.testing.assert_allclose(logits, expected, **TOLERANCE)
    # The capacity matters.
    assert np.abs(oracle(values, images, model, 4.0) - expected).max() > 0.01


@pytest.mark.parametrize("group", ["image", "batch"])
def test_an_image_is_routed_alone_unless_the_batch_is_the_group(
    create_classifier, images, group
):
    model = create_classifier("avg", routing_group=group, router=CALM)
    among_others = model.predict_on_batch(images)[-1]
    copies = np.repeat(images[-1:], 4, axis=0)
    among_copies = model.predict_on_batch(copies)[-1]
    same = np.allclose(among_copies, among_others, **TOLERANCE)
    assert same == (group == "image")


def test_gradients_are_the_slopes_of_the_oracle(
    create_classifier, images, oracle
):
    model = create_classifier(routing_group="batch", router=CALM)
    before = values_of(model)
    labels = np.array([0, 2, 1, 1])
    model.compile(
        keras.optimizers.SGD(1.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=keras.backend.backend() == "jax",
        metrics=[],
    )
    model.train_on_batch(images, labels)
    after = values_of(model)

    def loss(step, directions):
        moved = {
            path: value + step * directions.get(path, 0.0)
            for path, value in before.items()
        }
        logits = oracle(moved, images, model, 0.5)
        return np.mean(
            np.log(np.exp(logits).sum(1)) - logits[np.arange(4), labels]
        )

    rng = np.random.default_rng(0)
    for part in ("patch_embedding", "block_0", "router", "experts", "block_1"):
        paths = [path for path in before if part in path]
        directions = {
            path: rng.normal(size=before[path].shape) for path in paths
        }
        slope = (loss(1e-5, directions) - loss(-1e-5, directions)) / 2e-5
        gradient = sum(
            np.sum((before[path] - after[path]) * directions[path])
            for path in paths
        )
        np.testing.assert_allclose(gradient, slope, rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_logits_are_the_same_after_saving(
    create_classifier, images, tmp_path, dtype
):
    model = create_classifier(dtype=dtype)
    logits = model.predict_on_batch(images)
    assert logits.dtype == np.float32
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.get_config() == model.get_config()
    np.testing.assert_array_equal(loaded.predict_on_batch(images), logits)


@pytest.mark.sweep
def test_a_step_is_taken_while_rematerializing(create_classifier, images):
    with keras.RematScope(mode="full"):
        model = create_classifier(dropout=0.1, dtype="mixed_bfloat16")
    model.compile(
        keras.optimizers.SGD(0.1),
        jit_compile=keras.backend.backend() != "torch",
    )
    before = values_of(model)
    loss, _ = model.train_on_batch(images, np.array([0, 2, 1, 1]))
    assert np.isfinite(loss)
    for path, value in values_of(model).items():
        assert np.isfinite(value).all(), path
        if "key/bias" not in path:  # Softmax does not see it.
            assert not np.array_equal(value, before[path]), path


@pytest.mark.exhaustive
@pytest.mark.slow
def test_an_export_answers_as_the_model_does(
    create_classifier, images, tmp_path
):
    model = create_classifier(router={"capacity": SCARCE})
    folder = export_saved_model(model, tmp_path / "export")
    tf = pytest.importorskip("tensorflow")
    serving = tf.saved_model.load(str(folder)).signatures["serving_default"]
    answers = serving(images=tf.constant(images))
    (logits,) = answers.values()
    np.testing.assert_allclose(
        logits, model.predict_on_batch(images), **TOLERANCE
    )


@pytest.mark.sweep
def test_a_dense_model_becomes_a_sparse_one(create_classifier, images):
    dense = create_classifier(num_dense_layers=2)
    router = {"combine_weights": None, "capacity": None}
    sparse = upcycle(dense, num_experts=3, router=router)
    np.testing.assert_allclose(
        sparse.predict_on_batch(images),
        dense.predict_on_batch(images),
        **TOLERANCE,
    )


@pytest.mark.once
def test_the_losses_are_the_papers(create_classifier, images):
    model = create_classifier()
    importance, load = model.backbone.router.balancing
    assert (importance.weight, importance.of) == (0.005, "probs")
    assert (load.weight, load.own_threshold) == (0.005, False)
    model(images, training=True)
    losses = [float(ops.stop_gradient(each)) for each in model.losses]
    assert len(losses) == 2 and min(losses) > 0
    model(images)
    assert not model.losses


def test_pooling_must_be_known_and_possible(create_classifier):
    backbone = create_classifier(use_class_token=False, pooling="avg").backbone
    with pytest.raises(ValueError, match="Use pooling='avg'"):
        VisionMoEClassifier(backbone, 2)
    with pytest.raises(ValueError, match=r"\('token', 'avg'\).*'max'"):
        VisionMoEClassifier(backbone, 2, pooling="max")


@pytest.mark.once
def test_adapters_are_learned_and_kernels_become_integers(
    create_classifier, images, no_collections
):
    model = create_classifier()
    logits = model.predict_on_batch(images)
    model.backbone.enable_lora(2)
    adapted = [each.path for each in model.backbone.trainable_variables]
    assert len(adapted) == 2 * 2 * 2  # Queries and values of two layers.
    assert all("lora" in path for path in adapted)
    model = create_classifier()
    model.quantize("int8")
    experts = model.backbone.encoder_transformer_layers[1].feed_forward.experts
    assert keras.backend.standardize_dtype(experts.up._kernel.dtype) == "int8"
    # Each part rounds to 1 / 254 of its largest weight, through four parts.
    np.testing.assert_allclose(
        model.predict_on_batch(images), logits, rtol=0.1, atol=0.2
    )
