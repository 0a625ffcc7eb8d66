"""The callback that follows the routing of a text, on every backend."""

import json

import keras
import numpy as np
import pytest

from keras_moe.analysis import RoutingHistory
from keras_moe.models import RoutedExperts
from tests.models.small_backbones import make_task

TEXT = np.arange(21) * 5 % 48
# Where it is quicker than compiling.
EAGERLY = keras.config.backend() != "jax"
LAYERS = 2 if EAGERLY else 1


def make_model():
    keras.utils.set_random_seed(0)
    model = make_task("mixtral", num_layers=LAYERS)
    model.compile(
        # Steps so long that the routing changes.
        keras.optimizers.SGD(0.5),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        run_eagerly=EAGERLY,
    )
    return model


def fit(model, *callbacks, **options):
    """Train for three steps in each epoch, and return the logs."""
    token_ids = np.random.default_rng(0).integers(0, 48, (12, 8))
    inputs = {"token_ids": token_ids, "padding_mask": np.ones_like(token_ids)}
    return model.fit(
        inputs,
        token_ids,
        batch_size=4,
        shuffle=False,
        verbose=0,
        callbacks=[*callbacks],
        **options,
    ).history


class Watch(keras.callbacks.Callback):
    """Knows what the routers choose for the text, (B, L, layers, K)."""

    def on_train_begin(self, logs=None):
        self.routed = RoutedExperts(self.model)
        self.before = self.choices()

    def choices(self):
        token_ids = np.pad(TEXT, (0, 3)).reshape(3, 8)
        mask = np.arange(24).reshape(3, 8) < 21
        inputs = {"token_ids": token_ids, "padding_mask": mask}
        routed = np.array(self.routed.predict_on_batch(inputs))
        return np.where(routed < 4, routed, -1)


def test_it_follows_the_routing_and_leaves_training_alone():
    history = RoutingHistory(TEXT, window=8, batch_size=2, update_freq=2)
    watch = Watch()
    model = make_model()
    weights = model.get_weights()
    logs = fit(model, watch, history)
    assert history.steps == [0, 2, 3]
    first = history.first_choices
    assert first.shape == (3, 3, 8, LAYERS)
    after = watch.choices()
    np.testing.assert_array_equal(first[0], watch.before[..., 0])
    np.testing.assert_array_equal(first[-1], after[..., 0])

    real = first[:, np.arange(24).reshape(3, 8) < 21]  # (3, 21, layers)
    assert (real >= 0).all()
    assert (first == -1).sum() == 3 * 3 * LAYERS
    same = (real[1:] == real[:-1]).mean(1)
    assert same.min() < 1.0
    np.testing.assert_allclose(history.agreement_with_last, same, rtol=1e-6)
    with_final = (real == real[-1]).mean(1)
    np.testing.assert_allclose(
        history.agreement_with_final, with_final, rtol=1e-6
    )
    counts = np.array([(after == e).sum((0, 1, 3)) for e in range(4)]).T
    load = counts / 42  # Two choices of each token.
    np.testing.assert_allclose(history.expert_load[-1], load, rtol=1e-6)

    assert logs["routing_agreement"] == pytest.approx([same[-1].mean()])
    assert logs["dead_experts"] == [(counts == 0).sum()]
    log_load = np.log(np.where(load > 0, load, 1.0))
    effective = np.exp(-np.sum(load * log_load, axis=1)).mean()
    assert logs["effective_experts"] == pytest.approx([effective])

    model.set_weights(weights)
    other_logs = fit(model)
    # The same sums in the same order.
    np.testing.assert_allclose(logs["loss"], other_logs["loss"], rtol=1e-6)


@pytest.mark.once
def test_the_numbers_fit_into_json_and_start_again_with_each_fit():
    history = RoutingHistory(TEXT, window=8)
    model = make_model()
    fit(model, history)
    fit(model, history, epochs=2)
    assert history.steps == [3, 6, 9]
    numbers = json.loads(json.dumps(history.to_dict()))
    assert numbers["agreement_with_final"][-1] == [1.0, 1.0]
    assert np.shape(numbers["effective_experts"]) == (3, 2)
    assert [len(each) for each in numbers["dead_experts"]] == [2, 2, 2]
    assert len(numbers["layer_names"]) == 2


@pytest.mark.once
def test_tensorboard_shows_each_layer(tmp_path):
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    )
    history = RoutingHistory(
        TEXT, window=8, log_dir=tmp_path, update_freq="batch"
    )
    fit(make_model(), history)
    events = accumulator.EventAccumulator(str(tmp_path)).Reload()
    for layer in history.layer_names:
        for name, steps in {
            "routing_agreement": [1, 2, 3],
            "effective_experts": [1, 2, 3],
            "dead_experts": [1, 2, 3],
            "agreement_with_final": [0, 1, 2, 3],
        }.items():
            written = events.Tensors(f"{layer}/{name}")
            assert [event.step for event in written] == steps
    final = written[-1].tensor_proto.float_val
    assert list(final) == [1.0]


@pytest.mark.once
def test_a_text_or_a_frequency_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="Received: update_freq=0"):
        RoutingHistory(TEXT, update_freq=0)
    with pytest.raises(ValueError, match=r"Received: 'text', which is empty"):
        fit(make_model(), RoutingHistory([]))
    with pytest.raises(ValueError, match="Give token ids in place of text"):
        fit(make_model(), RoutingHistory("def"))
