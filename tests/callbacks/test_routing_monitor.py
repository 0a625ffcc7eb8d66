import re
import sys
import warnings

import keras
import numpy as np
import pytest

from keras_moe.callbacks import RoutingMonitor
from keras_moe.layers import SparseMoE
from keras_moe.layers import TopKRouter
from keras_moe.routing import Capacity

E = 4
BATCH = 4
# One-hot tokens: with a router kernel of C * identity, token n goes to expert
# n with logit C. Five batches of four tokens each.
TOKENS = np.array(
    [[0, 0, 0, 1], [2, 2, 1, 0], [3, 3, 3, 3], [0, 1, 2, 3], [1, 1, 0, 0]]
)
INPUTS = np.eye(E, dtype="float32")[TOKENS.reshape(-1)]
VALIDATION = np.eye(E, dtype="float32")[[2, 2, 2, 2]]
NAMES = [
    "load_balancing_loss",
    "router_z_loss",
    "max_violation",
    "dropped_fraction",
    "unrouted_fraction",
    "router_entropy",
]
SPREAD = 2.0 * np.eye(E, dtype="float32")
# Where it is quicker than compiling, for tests that are not about either.
EAGERLY = keras.config.backend() != "jax"
# Every token to expert 2, with logit 1.
COLLAPSED = np.tile(np.float32([0, 0, 1, 0]), (E, 1))


def make_model(kernels=(SPREAD, COLLAPSED), **compile_options):
    """Make one or two sparse layers next to each other."""

    def sparse(name):
        return SparseMoE(
            E,
            intermediate_dim=2,
            # 4 tokens, 4 experts: one slot each
            router=TopKRouter(E, top_k=1, capacity=Capacity(1.0)),
            strategy="dense",
            name=name,
        )

    inputs = outputs = keras.Input((E,))
    for name, kernel in zip(("spread", "collapsed"), kernels, strict=False):
        layer = sparse(name)
        outputs = keras.layers.Add()([outputs, layer(inputs)])
        layer.router.kernel.assign(kernel)
    model = keras.Model(inputs, outputs)
    model.compile(
        # Nothing is learnt, so that the routing stays what it is.
        keras.optimizers.SGD(0.0),
        "mse",
        **compile_options,
    )
    return model


def fit(model, *callbacks, inputs=INPUTS, **options):
    return model.fit(
        inputs,
        inputs,
        batch_size=BATCH,
        shuffle=False,
        callbacks=list(callbacks),
        **{"verbose": 0, **options},
    )


def expected_of_layer(kernel, batches):
    """Average one layer's numbers over batches (of 4 tokens, top 1)."""
    numbers = {name: [] for name in NAMES}
    loads = []
    for tokens in batches:
        logits = kernel[tokens].astype("float64")  # (4, E)
        probs = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        counts = np.bincount(logits.argmax(-1), minlength=E)
        loads.append(counts / BATCH)
        numbers["load_balancing_loss"].append(
            E * np.sum(counts / BATCH * probs.mean(0))
        )
        numbers["router_z_loss"].append(
            np.mean(np.log(np.exp(logits).sum(-1)) ** 2)
        )
        numbers["dropped_fraction"].append(
            np.maximum(counts - 1, 0).sum() / BATCH
        )
        # Each token has one choice.
        numbers["unrouted_fraction"] = numbers["dropped_fraction"]
        numbers["router_entropy"].append(-(probs * np.log(probs)).sum(-1))
    load = np.mean(loads, axis=0)
    means = {name: np.mean(each) for name, each in numbers.items() if each}
    return {**means, "max_violation": E * load.max() - 1, "load": load}


def expected_of_model(batches, kernels=(SPREAD, COLLAPSED)):
    layers = [expected_of_layer(kernel, batches) for kernel in kernels]
    means = {name: np.mean([each[name] for each in layers]) for name in NAMES}
    return {**means, "max_violation": max(e["max_violation"] for e in layers)}


def assert_numbers(logs, expected):
    for name in NAMES:
        np.testing.assert_allclose(logs[name], expected[name], rtol=1e-5)


def sparse_layers(model):
    return [layer for layer in model.layers if isinstance(layer, SparseMoE)]


class Logs(keras.callbacks.Callback):
    """Keeps the logs that a callback behind the monitor sees."""

    def __init__(self):
        super().__init__()
        self.batches = []

    def on_train_batch_end(self, batch, logs=None):
        self.batches.append(dict(logs))


def test_logs_hold_the_averages_of_each_epoch():
    class CollapseInSecondEpoch(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                for layer in sparse_layers(self.model):
                    layer.router.kernel.assign(COLLAPSED)

    model = make_model()
    # Validation tokens go elsewhere: they would change the load.
    validation = (VALIDATION, VALIDATION)

    history = fit(
        model,
        RoutingMonitor(),
        CollapseInSecondEpoch(),
        epochs=2,
        validation_data=validation,
    ).history

    first, second = (
        {name: history[name][epoch] for name in NAMES} for epoch in (0, 1)
    )
    assert_numbers(first, expected_of_model(TOKENS))
    assert_numbers(
        second, expected_of_model(TOKENS, kernels=(COLLAPSED, COLLAPSED))
    )
    assert second["max_violation"] == pytest.approx(E - 1)
    assert not any(f"val_{name}" in history for name in NAMES)
    assert all(type(history[name][0]) is float for name in NAMES)


@pytest.mark.sweep(first=1)
@pytest.mark.parametrize(("update_freq", "every"), [("batch", 1), (2, 2)])
def test_batch_logs_hold_the_averages_so_far(update_freq, every, capsys):
    model = make_model()
    logs = Logs()

    history = fit(
        model, RoutingMonitor(update_freq=update_freq), logs, verbose=2
    ).history

    for batch, seen in enumerate(logs.batches):
        if (batch + 1) % every == 0:
            assert_numbers(seen, expected_of_model(TOKENS[: batch + 1]))
        else:
            assert not set(NAMES) & seen.keys()
    expected = expected_of_model(TOKENS)
    assert_numbers({name: history[name][0] for name in NAMES}, expected)
    progress = capsys.readouterr().out
    for name in NAMES:
        assert f"{name}: {expected[name]:.4f}" in progress


@pytest.mark.parametrize(
    "jit_compile", ["auto"] if keras.config.backend() == "torch" else [True]
)
def test_monitored_and_plain_fits_may_alternate(jit_compile):
    model = make_model([SPREAD], jit_compile=jit_compile)
    (layer,) = sparse_layers(model)
    expected = expected_of_model(TOKENS, [SPREAD])

    monitor = RoutingMonitor(update_freq=5)

    def watched():
        history = fit(model, monitor).history
        return {name: history[name][0] for name in NAMES}

    fit(model)
    assert layer.statistics.result()["steps"] == 0

    assert_numbers(watched(), expected)
    assert not layer.statistics.enabled
    assert layer.statistics.result()["steps"] == len(TOKENS)
    # Reported with the optimizer's count, which includes the first fit.
    assert monitor.report_steps == [10]

    assert not set(NAMES) & fit(model).history.keys()
    assert layer.statistics.result()["steps"] == len(TOKENS)

    assert_numbers(watched(), expected)
    assert monitor.report_steps == [20]
    assert monitor.expert_load["spread"].shape == (1, E)


@pytest.mark.skipif(
    keras.config.backend() == "torch", reason="torch runs step by step"
)
def test_several_steps_per_execution_count_one_by_one():
    monitor = RoutingMonitor(update_freq=3)
    model = make_model([SPREAD], steps_per_execution=2)

    history = fit(model, monitor, inputs=INPUTS[: 4 * BATCH]).history

    # Batches come in twos: 4 is the first report with at least 3 of them.
    assert monitor.report_steps == [4]
    assert_numbers(
        {name: history[name][0] for name in NAMES},
        expected_of_model(TOKENS[:4], [SPREAD]),
    )


@pytest.mark.sweep(first=1)
@pytest.mark.parametrize(
    ("update_freq", "steps", "batches"),
    [
        ("epoch", [0, 1], [TOKENS] * 2),
        (3, [3, 5, 8, 10], [TOKENS[:3], TOKENS[3:]] * 2),
    ],
)
def test_reports_cover_the_steps_since_the_previous_one(
    tmp_path, update_freq, steps, batches
):
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    )
    from tensorboard.util import tensor_util

    monitor = RoutingMonitor(tmp_path, update_freq)
    history = fit(make_model(), monitor, epochs=2).history
    assert monitor.report_steps == steps
    events = accumulator.EventAccumulator(str(tmp_path)).Reload()

    def read(tag):
        series = {
            event.step: tensor_util.make_ndarray(event.tensor_proto)
            for event in events.Tensors(tag)
        }
        assert list(series) == steps
        return list(series.values())

    for layer, kernel in (("spread", SPREAD), ("collapsed", COLLAPSED)):
        expected = [expected_of_layer(kernel, each) for each in batches]
        for name in NAMES:
            np.testing.assert_allclose(
                read(f"{layer}/{name}"),
                [each[name] for each in expected],
                rtol=1e-5,
            )
        loads = [each["load"] for each in expected]
        np.testing.assert_allclose(monitor.expert_load[layer], loads, atol=1e-6)
        histograms = np.stack(read(f"{layer}/expert_load"))
        # An equal share has height 1.
        np.testing.assert_allclose(
            histograms[:, :, 2], np.stack(loads) * E, atol=1e-5
        )
    for name in (*NAMES, "loss"):
        np.testing.assert_allclose(
            read(f"all_layers/{name}")[-1], history[name][-1], rtol=1e-6
        )
    for tag in events.PluginTagToContent("scalars"):
        assert events.SummaryMetadata(tag).summary_description, tag
    # An image of all reports so far with each report.
    assert len(read("all_layers/expert_load")) == len(steps)
    assert list(events.PluginTagToContent("images")) == [
        "all_layers/expert_load"
    ]


def test_a_metric_of_the_same_name_keeps_it():
    class MaxViolation(keras.metrics.MeanMetricWrapper):
        def __init__(self):
            super().__init__(lambda y_true, y_pred: 7.0, "max_violation")

    model = make_model([SPREAD], metrics=[MaxViolation()], run_eagerly=EAGERLY)
    logs = Logs()

    history = fit(model, RoutingMonitor(update_freq=5), logs).history

    expected = expected_of_model(TOKENS, [SPREAD])
    assert history["max_violation"] == [7.0]
    assert history["routing_max_violation"] == [
        pytest.approx(expected["max_violation"])
    ]
    assert logs.batches[-1]["max_violation"] == 7.0
    assert "routing_router_z_loss" not in history
    assert "router_z_loss" in history


def test_nothing_of_it_is_saved(tmp_path):
    model = make_model([SPREAD], run_eagerly=EAGERLY)
    number_of_weights = len(model.get_weights())
    before = model.predict(INPUTS, verbose=0)

    fit(
        model,
        RoutingMonitor(),
        keras.callbacks.ModelCheckpoint(tmp_path / "during.keras"),
    )
    model.save(tmp_path / "after.keras")

    for name in ("during.keras", "after.keras"):
        loaded = keras.saving.load_model(tmp_path / name)
        assert len(loaded.get_weights()) == number_of_weights
        assert not any(e.statistics.enabled for e in sparse_layers(loaded))
        np.testing.assert_allclose(loaded.predict(INPUTS, verbose=0), before)


def test_a_layer_that_does_not_run_is_left_out():
    class OneOfTwo(keras.Model):
        def __init__(self):
            super().__init__()
            self.used = SparseMoE(E, 2, name="used", strategy="dense")
            self.unused = SparseMoE(E, 2, name="unused")

        def build(self, inputs_shape):
            self.used.build(inputs_shape)
            self.unused.build(inputs_shape)
            self.unused.trainable = False

        def call(self, inputs, training=None):
            return self.used(inputs, training=training)

    model = OneOfTwo()
    model.compile("sgd", "mse", run_eagerly=EAGERLY)
    monitor = RoutingMonitor()

    history = fit(model, monitor).history

    # Not halved by zeros from the layer that saw nothing: never below 1.
    assert history["load_balancing_loss"][0] >= 0.99
    assert monitor.expert_load["used"].sum() == pytest.approx(1.0)
    assert monitor.expert_load["unused"].tolist() == [[0.0] * E]


def test_warns_when_no_layer_runs_in_training():
    class Frozen(keras.Model):
        def __init__(self):
            super().__init__()
            self.moe = SparseMoE(E, 2, strategy="dense")
            self.scale = keras.layers.Dense(E)

        def call(self, inputs):
            return self.scale(self.moe(inputs, training=False))

    model = Frozen()
    model.compile("sgd", "mse", run_eagerly=EAGERLY)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        history = fit(model, RoutingMonitor()).history

    messages = [str(warning.message) for warning in caught]
    assert any("no SparseMoE layer ran" in message for message in messages)
    assert history.keys() == {"loss"}


def test_evaluate_and_predict_ignore_the_monitor():
    model = make_model()
    monitor = RoutingMonitor()

    model.evaluate(INPUTS, INPUTS, verbose=0, callbacks=[monitor])
    model.predict(INPUTS, verbose=0, callbacks=[monitor])

    assert not any(e.statistics.enabled for e in sparse_layers(model))
    assert monitor.expert_load == {}


def test_a_model_without_sparse_layers_is_an_error():
    model = keras.Sequential([keras.layers.Dense(E)], name="dense_model")
    model.compile("sgd", "mse")

    with pytest.raises(ValueError, match="at least one SparseMoE.*dense_mod"):
        fit(model, RoutingMonitor())


@pytest.mark.parametrize("update_freq", [0, -1, 2.0, True, "step", None])
def test_an_unknown_update_freq_is_an_error(update_freq):
    received = f"Received: update_freq={update_freq!r}"
    with pytest.raises(ValueError, match=re.escape(received)):
        RoutingMonitor(update_freq=update_freq)


def test_a_missing_tensorboard_is_an_error_with_the_cure(monkeypatch):
    monkeypatch.delitem(
        sys.modules, "keras_moe.callbacks.event_writer", raising=False
    )
    for name in ["tensorboard", *sys.modules]:
        if name.split(".")[0] == "tensorboard":
            monkeypatch.setitem(sys.modules, name, None)

    RoutingMonitor()
    with pytest.raises(ImportError, match=r"pip install 'keras-moe\[tensorb"):
        RoutingMonitor(log_dir="logs")
