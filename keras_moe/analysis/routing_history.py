"""The callback that follows how a text is routed while a model trains."""

from typing import Any

import numpy as np

from keras_moe.analysis.agreement import routing_agreement
from keras_moe.analysis.expert_use import dead_experts
from keras_moe.analysis.expert_use import effective_experts
from keras_moe.analysis.expert_use import expert_load
from keras_moe.analysis.record_routing import RoutingRecorder
from keras_moe.analysis.texts import cut_windows
from keras_moe.analysis.texts import encode_text
from keras_moe.callbacks.periodic_callback import PeriodicCallback
from keras_moe.callbacks.periodic_callback import steps_taken
from keras_moe.callbacks.routing_logs import RoutingLogs
from keras_moe.ops.plain_numbers import plain_numbers

DESCRIPTIONS = {
    "routing_agreement": (
        "Share of the text's tokens whose first choice is the one of the "
        "previous report."
    ),
    "agreement_with_final": (
        "Share of the text's tokens whose first choice is already the one at "
        "the end of training."
    ),
    "effective_experts": "`exp(entropy)` of the expert load on the text.",
    "dead_experts": "Experts that no token of the text goes to.",
}


class RoutingHistory(PeriodicCallback):
    """Follows how one text is routed while a model trains.

    Before training and at each report the model reads the text, without
    training, and its first choices are kept. They tell when the routing
    becomes fixed (OpenMoE finds: early), and whether experts fall out of use.
    `logs` gets three entries:

    - `routing_agreement`, the share of tokens with the same first choice as at
      the previous report, mean over the layers;
    - `effective_experts`, `exp(entropy)` of the load, mean over the layers;
    - `dead_experts`, those that no token of the text goes to, of all layers.

    Args:
        text: str; or int array of token ids of shape (T,).
        window: int L, tokens that the model reads at once.
        max_tokens: optional int, evenly spaced windows of a longer text.
        batch_size: int, windows of a batch.
        log_dir: optional path of a folder for TensorBoard: the three numbers
            of each layer by training step, and, when training ends,
            `<layer>/agreement_with_final`. Needs the package `tensorboard`.
        update_freq: `"epoch"`, `"batch"` or int n: report at the end of each
            epoch only, or after every batch or every n batches as well.

    Attributes:
        steps: list of int, the optimizer's steps at the reports of the latest
            `fit()`; the first is before training.
        layer_names: list of str, the sparse layers.
        first_choices: int16 array (reports, B, L, layers), -1 for nowhere.
        expert_load: float array (reports, layers, E), each expert's share of
            all choices.

    Raises:
        ValueError: If `update_freq` is none of the above, or, in `fit()`, the
            text is empty or the model is none that `analyze` takes.
        ImportError: If `log_dir` is given and `tensorboard` is missing.

    Example:

    >>> from keras_moe.models import MixtralBackbone, MixtralCausalLM
    >>> model = MixtralCausalLM(MixtralBackbone(
    ...     vocabulary_size=20, num_layers=1, num_query_heads=2,
    ...     num_key_value_heads=1, hidden_dim=8, intermediate_dim=8,
    ...     num_experts=4,
    ... ))
    >>> token_ids = np.arange(16).reshape(2, 8)
    >>> x = {"token_ids": token_ids, "padding_mask": np.ones_like(token_ids)}
    >>> history = RoutingHistory(np.arange(20), window=8, batch_size=3)
    >>> _ = model.fit(x, token_ids, epochs=2, verbose=0, callbacks=[history])
    >>> history.steps
    [0, 1, 2]
    >>> history.agreement_with_final.shape, history.expert_load.shape
    ((3, 1), (3, 1, 4))

    References:
        Xue et al., 2024, https://arxiv.org/abs/2402.01739, section 4.
    """

    @plain_numbers
    def __init__(
        self,
        text,
        *,
        window=128,
        max_tokens=8192,
        batch_size=8,
        log_dir=None,
        update_freq="epoch",
    ):
        super().__init__(update_freq)
        self.text = text
        self.window = window
        self.max_tokens = max_tokens
        self.batch_size = batch_size
        self.log_dir = log_dir
        if log_dir is not None:
            RoutingLogs.check_installed()
        self.steps = []
        self.layer_names = []
        self._choices = []
        self._loads = []
        self._recorder: Any = None
        self._writer = None

    @property
    def first_choices(self):
        return np.array(self._choices)

    @property
    def expert_load(self):
        return np.array(self._loads)

    @property
    def agreement_with_last(self):
        """float array (reports - 1, layers): with the report before."""
        return self._agreement(self._choices[1:], self._choices[:-1])

    @property
    def agreement_with_final(self):
        """float array (reports, layers): with the latest report."""
        return self._agreement(
            self._choices, self._choices[-1:] * len(self.steps)
        )

    def to_dict(self):
        """Return all numbers, as JSON can hold them.

        Returns:
            dict of `layer_names`, `steps`, `agreement_with_last`,
            `agreement_with_final`, `effective_experts` and `dead_experts`, by
            report and layer.
        """
        return {
            "layer_names": self.layer_names,
            "steps": self.steps,
            "agreement_with_last": self.agreement_with_last.tolist(),
            "agreement_with_final": self.agreement_with_final.tolist(),
            "effective_experts": effective_experts(self.expert_load).tolist(),
            "dead_experts": [dead_experts(each) for each in self._loads],
        }

    def on_train_begin(self, logs=None):
        super().on_train_begin()
        token_ids = encode_text(self.model, self.text)
        self._windows = cut_windows(token_ids, self.window, self.max_tokens)
        self._recorder = RoutingRecorder(self.model)
        self.steps, self._choices, self._loads = [], [], []
        if self.log_dir is not None:
            from keras_moe.callbacks.event_writer import EventWriter

            self._writer = EventWriter(self.log_dir)
        self._record()

    def report(self, step, logs):
        """Let the model read the text, and add to the logs."""
        is_new = steps_taken(self.model) != self.steps[-1]
        if is_new:
            self._record()
        numbers = {
            "routing_agreement": self.agreement_with_last[-1],
            "effective_experts": effective_experts(self._loads[-1]),
            "dead_experts": np.sum(self._loads[-1] == 0, axis=-1),
        }
        for name, of_layers in numbers.items():
            if is_new:
                self._write(name, of_layers, self.steps[-1])
            if logs is not None:
                total = np.sum if name == "dead_experts" else np.mean
                logs[name] = float(total(of_layers))

    def on_train_end(self, logs=None):
        self._recorder = None
        for step, each in zip(
            self.steps, self.agreement_with_final, strict=True
        ):
            self._write("agreement_with_final", each, step)
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _record(self):
        routing = self._recorder.record(*self._windows, self.batch_size)
        self.layer_names = routing.layer_names
        self._num_experts = routing.num_experts
        self.steps.append(steps_taken(self.model))
        self._choices.append(routing.chosen[..., 0].astype("int16"))
        self._loads.append(expert_load(routing.chosen, routing.num_experts))

    def _agreement(self, reports, others):
        found = [
            routing_agreement(
                one[..., None], other[..., None], self._num_experts
            ).first
            for one, other in zip(reports, others, strict=True)
        ]
        return np.reshape(found, (len(found), len(self.layer_names)))

    def _write(self, name, of_layers, step):
        if self._writer is None:
            return
        for layer, value in zip(self.layer_names, of_layers, strict=True):
            self._writer.write_scalar(
                f"{layer}/{name}", value, step, DESCRIPTIONS[name]
            )
