"""Run a model over windows of text and keep what its routers decide."""

from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from keras_moe.callbacks.sparse_layers import find_sparse_layers
from keras_moe.export.signatures.token_inputs import read_sequence
from keras_moe.layers.record_choices import record_plans
from keras_moe.ops.widen import int32
from keras_moe.routing import Capacity


class Routing(NamedTuple):
    """The choices of a text's tokens.

    Attributes:
        chosen: int32 array (B, L, layers, K), best first, before a capacity;
            -1 for nowhere.
        kept: int32 array of the same shape, after the capacity of training.
        num_experts: int E.
        layer_names: list of str.
    """

    chosen: np.ndarray
    kept: np.ndarray
    num_experts: int
    layer_names: list


def record_routing(
    model, token_ids, mask, *, capacity_factor=None, batch_size=8, verbose=0
):
    """Record the choices of every sparse layer, batch by batch.

    Args:
        model: task or backbone of ours; of a model with an encoder, the
            encoder reads the text.
        token_ids: int array of shape (B, L).
        mask: bool array of shape (B, L), True = real token.
        capacity_factor: optional float, a capacity to apply to `kept`, earlier
            tokens first; default: each router's own while training.
        batch_size: int, rows of a batch.
        verbose: int, 1 shows a progress bar.

    Returns:
        `Routing`.

    Raises:
        ValueError: If the model has no sparse layers, its routers let experts
            choose, or it is none of ours.

    Example:

    >>> from keras_moe.models import MixtralBackbone
    >>> backbone = MixtralBackbone(
    ...     vocabulary_size=20, num_layers=3, num_query_heads=2,
    ...     num_key_value_heads=1, hidden_dim=8, intermediate_dim=8,
    ...     num_experts=4,
    ... )
    >>> token_ids = np.array([[3, 4, 5]])
    >>> record_routing(backbone, token_ids, token_ids > 0).chosen.shape
    (1, 3, 3, 2)
    """
    recorder = RoutingRecorder(model, capacity_factor)
    return recorder.record(token_ids, mask, batch_size, verbose)


class RoutingRecorder(keras.Model):
    """A model whose outputs are the choices of another one's routers.

    Compiled once, it records again whenever the weights have changed.

    Args:
        model: as for `record_routing`.
        capacity_factor: as for `record_routing`.

    Raises:
        ValueError: If the model has no sparse layers or is none of ours.
    """

    def __init__(self, model, capacity_factor=None):
        super().__init__(name="routing_recorder")
        backbone = getattr(model, "backbone", model)
        if not hasattr(backbone, "encode") and not hasattr(
            backbone, "hidden_states"
        ):
            raise ValueError(
                "Expected a model of keras_moe.models that reads token ids. "
                f"Received: a {type(model).__name__}. For other models, "
                "record with `RoutedExperts` and call the functions on arrays."
            )
        if not find_sparse_layers(backbone):
            raise ValueError(
                "Expected a model with sparse layers. Received: a "
                f"{type(model).__name__} without. Choose one with experts."
            )
        self.backbone = backbone
        self.capacity_factor = capacity_factor

    def record(self, token_ids, mask, batch_size=8, verbose=0):
        """Record the choices of every sparse layer, batch by batch.

        Args:
            token_ids: int array of shape (B, L).
            mask: bool array of shape (B, L), True = real token.
            batch_size: int, rows of a batch.
            verbose: int, 1 shows a progress bar.

        Returns:
            `Routing`.
        """
        batches = []
        progress = keras.utils.Progbar(
            -(-len(token_ids) // batch_size), verbose=verbose, unit_name="batch"
        )
        for start in range(0, len(token_ids), batch_size):
            rows = np.arange(start, start + batch_size) % len(token_ids)
            # Full batches alone: another shape would be compiled again.
            batch = self.predict_on_batch(
                {
                    "token_ids": np.asarray(token_ids, "int32")[rows],
                    "padding_mask": np.asarray(mask, "int32")[rows],
                }
            )
            batches.append({name: np.asarray(batch[name]) for name in batch})
            progress.add(1)
        chosen, kept = (
            np.concatenate([each[name] for each in batches])[: len(token_ids)]
            for name in ("chosen", "kept")
        )
        layers = find_sparse_layers(self.backbone)
        names = list(layers)[: chosen.shape[2]]
        num_experts = max(each.num_experts for each in layers.values())
        return Routing(chosen, kept, num_experts, names)

    def call(self, inputs):
        with record_plans() as plans:
            mask = ops.cast(inputs["padding_mask"], "bool")
            read_sequence(self.backbone, inputs["token_ids"], mask)
        # An encoder comes before its decoder, which did not run.
        layers = [*find_sparse_layers(self.backbone).values()][: len(plans)]
        chosen, kept = [], []
        for plan, layer in zip(plans, layers, strict=True):
            num_experts = layer.num_experts
            chosen.append(_experts(plan, num_experts))
            limited = self._limit(plan, layer.router)
            kept.append(_experts(limited, num_experts))
        return {
            "chosen": ops.stack(chosen, axis=2),
            "kept": ops.stack(kept, axis=2),
        }

    def _limit(self, plan, router):
        capacity = router.capacity
        if self.capacity_factor is not None:
            capacity = Capacity(self.capacity_factor)
        if capacity is None:
            return plan
        return capacity.limit(
            plan, router.num_experts, True, router.capacity_seed
        )


def _experts(plan, num_experts):
    """Return a plan's experts (B, L, K), -1 for nowhere."""
    experts = plan.expert_indices
    return ops.where(experts < num_experts, experts, int32(-1))
