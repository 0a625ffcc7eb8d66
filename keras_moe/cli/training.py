"""One training run: its settings, its state, its steps."""

import zlib
from typing import NamedTuple

from keras_moe.cli.language_model import ModelSize

REPORTS = 90
REPORTS_PER_MILESTONE = 10


class TrainingSettings(NamedTuple):
    """All that decides the numbers of a run.

    Attributes:
        size: `ModelSize`.
        text: path of the text, or `None` for the standard library.
        steps: int, training steps.
        batch_size: int B, windows per step.
        sequence_length: int L, bytes per window.
        learning_rate: float, the peak of a warm-up and cosine schedule.
        dtype: dtype policy name.
        seed: int, 0 or more.
    """

    size: ModelSize = ModelSize()
    text: str | None = None
    steps: int = 900
    batch_size: int = 16
    sequence_length: int = 128
    learning_rate: float = 3e-3
    dtype: str = "float32"
    seed: int = 0

    def to_dict(self):
        """Return the settings, those of the size among them, in one dict."""
        settings = {**self._asdict(), **self.size._asdict()}
        del settings["size"]
        return settings

    @classmethod
    def from_dict(cls, settings):
        """Return the settings that `to_dict` turned into a dict."""
        # A run of an earlier version has fewer settings.
        size, rest = (
            {name: settings[name] for name in names if name in settings}
            for names in (ModelSize._fields, cls._fields)
        )
        return cls(size=ModelSize(**size), **rest)


class Training:
    """A model with its optimizer, its text, and the step it has reached.

    Step n trains on windows that depend on the text, the seed and n alone, so
    the position in the data is the number of steps.

    Args:
        settings: `TrainingSettings`.
        logs: folder for TensorBoard, or `None`.
        make_model: optional function of a `ModelSize` and a dtype that makes
            the untrained model, in place of `language_model.make_model`.

    Attributes:
        model: compiled `MixtralCausalLM`.
        monitor: `RoutingMonitor`.
        step: int, steps done.
        losses: list of float, the loss of each step, nats per byte.
        reports: list of dicts with `step` and what `RoutingMonitor` gives.

    Raises:
        ValueError: If the sizes do not fit together or the text is too short.
    """

    def __init__(self, settings, logs, make_model=None):
        import keras

        from keras_moe.callbacks import RoutingMonitor
        from keras_moe.cli import language_model
        from keras_moe.cli.text import read_text
        from keras_moe.cli.text import windows

        _check_heads(settings.size)
        self.settings = settings
        self.text, self.held_out_text = read_text(
            settings.text, settings.sequence_length
        )
        self._held_out = windows(
            self.held_out_text,
            8 * settings.batch_size,
            settings.sequence_length,
            seed=1,
        )
        keras.utils.set_random_seed(settings.seed)
        make_model = make_model or language_model.make_model
        self.model = make_model(settings.size, settings.dtype)
        self.model.compile(
            optimizer=_optimizer(settings),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            weighted_metrics=[],
        )
        self.model.optimizer.build(self.model.trainable_variables)
        self.step = 0
        self.losses = []
        self.reports = []
        self.monitor = RoutingMonitor(log_dir=logs)
        self.monitor.set_model(self.model)

    @property
    def finished(self):
        return self.step >= self.settings.steps

    @property
    def balance(self):
        """The latest load-balancing loss, 1 when balanced, or `None`."""
        return self.reports[-1]["load_balancing_loss"] if self.reports else None

    @property
    def steps_per_report(self):
        return max(1, self.settings.steps // REPORTS)

    def record(self):
        """Return what a checkpoint must hold besides the variables."""
        import keras

        return {
            "backend": keras.config.backend(),
            "settings": self.settings.to_dict(),
            "text_checksum": self._text_checksum(),
            "step": self.step,
            "losses": self.losses,
            "reports": self.reports,
        }

    def begin(self, checkpoint=None):
        """Start the monitor, and restore a checkpoint if there is one.

        Args:
            checkpoint: optional path of a file by `write_checkpoint`.

        Raises:
            ValueError: If the text is another one than before.
        """
        from keras_moe.cli.checkpoint import read_record
        from keras_moe.cli.checkpoint import restore_variables

        self.monitor.on_train_begin()
        self.monitor.on_epoch_begin(self.step)
        if checkpoint is None:
            return
        record = read_record(checkpoint)
        if record["text_checksum"] != self._text_checksum():
            raise ValueError(
                "Expected the text that the run started with. Received: "
                f"{self.settings.text or 'the standard library'}, which has "
                "changed since. Start again with --overwrite."
            )
        restore_variables(checkpoint, self.model)
        self.step = record["step"]
        self.losses = record["losses"]
        self.reports = record["reports"]

    def end(self):
        """Close the monitor and its logs."""
        self.monitor.on_train_end()

    def batch(self):
        """Return the inputs and the labels of the next step."""
        from keras_moe.cli.text import windows

        settings = self.settings
        return windows(
            self.text,
            settings.batch_size,
            settings.sequence_length,
            seed=(settings.seed, self.step),
        )

    def train_step(self):
        """Train on the next batch.

        Returns:
            dict, the report that this step completed, or `None`.
        """
        if self.step % self.steps_per_report == 0:
            self.monitor.on_epoch_begin(self.step)
        inputs, labels = self.batch()
        logs = self.model.train_on_batch(inputs, labels, return_dict=True)
        self.step += 1
        self.losses.append(float(logs["loss"]))
        if self.step % self.steps_per_report == 0 or self.finished:
            return self._report()
        return None

    def _report(self):
        steps = (self.step - 1) % self.steps_per_report + 1
        logs = {"loss": sum(self.losses[-steps:]) / steps}
        milestone = self.steps_per_report * REPORTS_PER_MILESTONE
        if self.step % milestone == 0 or self.finished:
            logs["val_loss"] = self.held_out_loss()
        self.monitor.on_epoch_end(self.step, logs)
        self.reports.append({"step": self.step, **logs})
        return self.reports[-1]

    def held_out_loss(self):
        """Return the loss on held-out text, in nats per byte."""
        inputs, labels = self._held_out
        logs = self.model.evaluate(
            inputs,
            labels,
            batch_size=self.settings.batch_size,
            verbose=0,
            return_dict=True,
        )
        return float(logs["loss"])

    def _text_checksum(self):
        return zlib.crc32(self.held_out_text, zlib.crc32(self.text))


def _check_heads(size):
    """Refuse heads of no whole width; rotary embeddings turn pairs."""
    if size.hidden_dim % (2 * size.num_query_heads):
        raise ValueError(
            "Expected `hidden_dim` to be a multiple of twice "
            f"`num_query_heads`. Received: hidden_dim={size.hidden_dim}, "
            f"num_query_heads={size.num_query_heads}. Choose a width that "
            "gives every head an even share."
        )


def _optimizer(settings):
    from keras import optimizers

    warm_up = max(1, settings.steps // 20)
    return optimizers.AdamW(
        optimizers.schedules.CosineDecay(
            initial_learning_rate=settings.learning_rate / 20,
            decay_steps=max(1, settings.steps - warm_up),
            alpha=0.05,
            warmup_target=settings.learning_rate,
            warmup_steps=warm_up,
        ),
        weight_decay=0.01,
        clipnorm=1.0,
    )
