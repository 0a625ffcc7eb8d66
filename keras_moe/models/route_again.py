"""Which experts the tokens of generated sequences go to."""

import numpy as np

from keras_moe.models.routed_experts import RoutedExperts
from keras_moe.models.traced_state import TracedState
from keras_moe.routing.replay import FREE


def check_whole_sequences(task, strip_prompt):
    """Raise unless `generate` returns the ids of whole sequences.

    Args:
        task: `GenerativeTask`.
        strip_prompt: bool, as for `generate`.

    Raises:
        ValueError: If it returns text, or leaves prompts out.
    """
    if task.preprocessor is not None or strip_prompt:
        raise ValueError(
            "Expected a task without preprocessor, and whole sequences, to "
            "return each token's experts. Received: preprocessor="
            f"{task.preprocessor}, strip_prompt={strip_prompt}. Generate from "
            "a dict of token ids, and cut prompts off afterwards."
        )


class RouteAgain:
    """Tells the experts of whole sequences in one pass over them.

    Compiled once for a task, and again when it has changed.

    Args:
        task: `GenerativeTask`.
    """

    def __init__(self, task):
        self.task = task
        self._state = None

    def __call__(self, inputs):
        """Run the task.

        Args:
            inputs: dict of int arrays, the task's inputs and maybe others.

        Returns:
            dict of int32 arrays `routed_experts` of shape (B, X, layers, K),
            or of several, as `RoutedExperts` returns them.
        """
        state = TracedState(self.task)
        if state != self._state:
            self._state, self._model = state, RoutedExperts(self.task)
        given = {
            name: np.asarray(inputs[name], "int32")
            for name in self.task.input
            if name in inputs
        }
        backbone = self.task.backbone
        for name in self.task.input:
            prefix, routed, _ = name.partition("routed_experts")
            if routed:
                replayed = getattr(backbone, f"{prefix}replayed_layers")
                size = (replayed.num_layers, backbone.router.top_k)
                free = (*given[f"{prefix}token_ids"].shape, *size)
                given[name] = np.full(free, FREE, "int32")
        routed = self._model.predict_on_batch(given)
        return (
            routed if isinstance(routed, dict) else {"routed_experts": routed}
        )
