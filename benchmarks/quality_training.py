"""One run of `quality.py`: train a recipe, measure it, forget it."""

import functools
import time

import keras
import numpy as np

from keras_moe.callbacks.sparse_layers import find_sparse_layers
from keras_moe.cli.language_model import make_model
from keras_moe.cli.text import windows
from keras_moe.cli.text import windows_at
from keras_moe.cli.training import Training
from keras_moe.models import RoutedExperts
from keras_moe.models import parameter_counts
from keras_moe.routing import expert_capacity

WINDOWS = 256  # Of held-out text.
POINTS = 25  # Of a curve.
EVALUATIONS = 20  # Of a long training.
LAST = 10  # Final numbers are means over the last tenth of the steps.


class OnceThrough(Training):
    """A training that sees no byte of its text twice.

    The text is cut into windows once, which come in an order of the seed's.
    """

    @functools.cached_property
    def _starts(self):
        settings = self.settings
        needed = settings.steps * settings.batch_size
        # One byte is left for the last label.
        whole = (len(self.text) - 1) // settings.sequence_length
        if needed > whole:
            raise ValueError(
                f"Expected text for {needed:,} windows of "
                f"{settings.sequence_length} bytes. Received: {whole:,}. "
                "Choose a larger --text: none of it is seen twice."
            )
        order = np.random.default_rng(settings.seed).permutation(whole)
        return order[:needed] * settings.sequence_length

    def batch(self):
        count = self.settings.batch_size
        starts = self._starts[self.step * count : (self.step + 1) * count]
        return windows_at(self.text, starts, self.settings.sequence_length)


def begin(recipe, settings):
    """Make the model of a recipe, compiled, with its text.

    Args:
        recipe: `Recipe`.
        settings: `TrainingSettings`, complete.

    Returns:
        `Training`.
    """
    keras.backend.clear_session()
    training_class = OnceThrough if recipe.long else Training
    return training_class(settings, None, _make(recipe))


def _make(recipe):
    return functools.partial(
        make_model, backbone_class=recipe.backbone_class, **recipe.router
    )


def train(recipe, settings, advance):
    """Train a recipe and measure what came out.

    Args:
        recipe: `Recipe`.
        settings: `TrainingSettings`, complete.
        advance: function without arguments, called after each step.

    Returns:
        dict of plain data. `held_out_loss` in nats per byte, and
        `held_out_loss_dropless` of a model with a capacity when it is
        evaluated without; `rows_per_token`, experts that a held-out token is
        computed by, mean over the layers; `final`, means over the last tenth
        of the steps; `curves`, means over equal parts of training or of the
        sequence, among them `effective_experts`, the exponential of the
        load's entropy, of the layer that has the least. Of a long training
        also `held_out_loss` at the steps `held_out_step`.
    """
    training = begin(recipe, settings)
    held_out = windows(
        training.held_out_text,
        WINDOWS if settings.steps > 100 else settings.batch_size,
        settings.sequence_length,
        seed=1,
    )
    training.begin()
    started = time.perf_counter()
    on_the_way = {}
    while not training.finished:
        training.train_step()
        advance()
        if recipe.long and is_due(training.step, settings.steps):
            loss = _loss(training.model, held_out, settings)
            on_the_way[training.step] = loss
    seconds = time.perf_counter() - started
    training.end()

    history = _history(training)
    counts = parameter_counts(training.model)
    run = {
        "backend": keras.config.backend(),
        "settings": settings.to_dict(),
        "parameters": {"total": counts.total, "active": counts.active},
        "flops_per_token": counts.flops_per_token,
        "seconds": round(seconds, 1),
        "held_out_loss": _loss(training.model, held_out, settings),
        "final": {
            name: _rounded(np.mean(values[-max(1, len(values) // LAST) :]))
            for name, values in history.items()
            if name != "step"
        },
        "curves": {name: _thin(values) for name, values in history.items()},
    }
    if on_the_way:
        run["curves"]["held_out_step"] = [*on_the_way]
        run["curves"]["held_out_loss"] = [*on_the_way.values()]
    _measure_choices(run, training.model, held_out[0], recipe, settings)
    if "capacity" in recipe.router:
        dropless = _make(recipe)(settings.size, settings.dtype, capacity=None)
        dropless.set_weights(training.model.get_weights())
        dropless.compile(loss=training.model.loss, weighted_metrics=[])
        run["held_out_loss_dropless"] = _loss(dropless, held_out, settings)
    return run


def is_due(step, steps):
    """Whether the step ends one of the equal parts of a training."""
    return step * EVALUATIONS // steps > (step - 1) * EVALUATIONS // steps


def _history(training):
    """Return each number of the reports as an array over the reports."""
    names = [name for name in training.reports[0] if name != "val_loss"]
    history = {
        name: np.array([report[name] for report in training.reports])
        for name in names
    }
    effective = [
        np.exp(-np.sum(load * np.log(np.maximum(load, 1e-30)), axis=-1))
        for load in training.monitor.expert_load.values()
    ]
    return {**history, "effective_experts": np.min(effective, axis=0)}


def _loss(model, held_out, settings):
    inputs, labels = held_out
    logs = model.evaluate(
        inputs,
        labels,
        batch_size=settings.batch_size,
        verbose=0,
        return_dict=True,
    )
    return _rounded(logs["loss"])


def _measure_choices(run, model, inputs, recipe, settings):
    """Add what the choices on held-out text say."""
    choices = RoutedExperts(model).predict(
        inputs, batch_size=settings.batch_size, verbose=0
    )  # (B, L, layers, K)
    first, *_ = find_sparse_layers(model).values()
    rows = np.sum(choices < first.experts.num_experts, axis=-1)
    run["rows_per_token"] = _rounded(np.mean(rows))
    capacity = recipe.router.get("capacity")
    if capacity is None:
        return
    size = settings.size
    slots = expert_capacity(
        capacity.eval_factor,
        settings.sequence_length,
        size.top_k,
        size.num_experts,
    )
    dropped = np.mean(
        [
            dropped_by_position(choices[:, :, layer], size.num_experts, slots)
            for layer in range(choices.shape[2])
        ],
        axis=0,
    )
    run["curves"]["dropped_by_position"] = _thin(dropped, points=16)


def dropped_by_position(choices, num_experts, slots):
    """Compute which share of the pairs finds no slot, by position.

    All first choices come before any second one, earlier tokens first.

    Args:
        choices: int array of shape (B, L, K).
        num_experts: int E.
        slots: int, of each expert for each row.

    Returns:
        float array of shape (L,).
    """
    batch, length, top_k = choices.shape
    # (B, L, K) -> (B, K L)
    queue = choices.transpose(0, 2, 1).reshape(batch, top_k * length)
    taken = queue[..., None] == np.arange(num_experts)
    place = np.sum(np.cumsum(taken, axis=1) * taken, axis=-1)
    dropped = (place > slots).reshape(batch, top_k, length)
    return np.mean(dropped, axis=(0, 1))


def _thin(values, points=POINTS):
    parts = np.array_split(np.asarray(values), min(points, len(values)))
    return [_rounded(np.mean(part)) for part in parts]


def _rounded(number):
    return float(f"{float(number):.5g}")
