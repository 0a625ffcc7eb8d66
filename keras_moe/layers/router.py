"""What all routers have in common."""

from typing import Any

import keras

from keras_moe.balancing.get_rules import DEFAULT
from keras_moe.balancing.get_rules import get_rules
from keras_moe.balancing.selection_bias import check_bias_is_heeded
from keras_moe.layers.check_balancing import check_balancing
from keras_moe.layers.kept_losses import KeptLosses
from keras_moe.layers.record_choices import note_choice
from keras_moe.layers.sublayers import build_parts
from keras_moe.layers.sublayers import compute_once
from keras_moe.layers.sublayers import without_identity
from keras_moe.layers.symbolic_plan import SymbolicPlan
from keras_moe.layers.symbolic_plan import plan_of_tensors
from keras_moe.ops.padding import clean_padding
from keras_moe.ops.plain_numbers import to_plain
from keras_moe.ops.replicas import whole_batch
from keras_moe.routing.padding import join_masks
from keras_moe.routing.plans import TokenChoice
from keras_moe.routing.validation import check_padding_mask
from keras_moe.routing.validation import check_positive
from keras_moe.routing.validation import check_tokens


class Router(KeptLosses):
    """Decides which experts see a token.

    Abstract: a subclass says in `route` what it decides. This class does what
    is the same for all routers: everything is float32 under every dtype
    policy (a `dtype` argument has no effect), padding is taken out before
    `route` and sent nowhere after it, balancing rules see the plan before
    anything is dropped, and then a capacity drops what finds no slot. Under
    `keras.RematScope` routing is not recomputed.

    Args:
        num_experts: int E.
        balancing: what keeps the experts equally busy while training: a
            `keras_moe.balancing.BalancingRule`, its name, a list of these, or
            `None`. Defaults to a load-balancing loss of weight 0.01 and a
            router z-loss of 0.001.
        capacity: optional `keras_moe.routing.Capacity`; `None` is dropless.

    Call arguments:
        inputs: float tensor of shape (..., H).
        padding_mask: optional bool tensor of shape (...), True = real token.
            A Keras mask that comes with the inputs is used as well.
        training: bool.
        **routing_inputs: what `route` needs besides, such as token ids.

    Returns:
        A plan, such as `keras_moe.routing.TokenChoice`.

    Raises:
        ValueError: If a size is not positive, a rule is unknown, the inputs
            have rank 1 or no token, or a mask does not fit.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> from keras_moe.routing import choose_top_k
    >>> class FirstFeatures(Router):
    ...     def route(self, inputs, padding_mask=None, training=None):
    ...         return choose_top_k(inputs[..., : self.num_experts], top_k=2)
    >>> router = FirstFeatures(num_experts=4)
    >>> plan = router(np.ones((1, 5, 16), "float32"))
    >>> tuple(plan.expert_indices.shape)
    (1, 5, 2)
    """

    # The class that `route` returns.
    plan_class: Any = TokenChoice
    # Names of what `route` needs besides the inputs. Blocks and models that
    # know these pass them on: `token_ids`, of the shape of the inputs' tokens.
    routing_inputs: tuple[str, ...] = ()
    # Where the formula was published: paper and equation, one line.
    source: str | None = None
    # How many experts, the last ones, compute nothing: no bank holds them.
    num_free_experts = 0
    # Whether what a token gets is independent of later tokens.
    is_causal = True
    # Whether experts are equally busy whatever the tokens.
    has_equal_load = False
    # What `keras_moe.balancing.SelectionBias` moves, where there is one.
    expert_bias = None

    def __init__(
        self, num_experts, *, balancing=DEFAULT, capacity=None, **kwargs
    ):
        super().__init__(**{**kwargs, "dtype": "float32"})
        check_positive(num_experts=num_experts)
        self.num_experts = to_plain(num_experts)
        self.balancing = get_rules(balancing)
        self.capacity = capacity
        check_balancing(self)
        self.capacity_seed = capacity and capacity.seed_generator()
        self.supports_masking = True
        self._has_rules = False
        self.heeds_bias = False

    def route(self, inputs, padding_mask=None, training=None, **routing_inputs):
        """Decide for every token.

        Args:
            inputs: float32 tensor of shape (..., H), finite in padding.
            padding_mask: optional bool tensor of shape (...), True = real
                token. A `TokenChoice` need not heed it: padding is sent
                nowhere afterwards.
            training: bool.
            **routing_inputs: what the router's caller passed on.

        Returns:
            A plan. Of a `TokenChoice`, experts, weights and scores.
        """
        raise NotImplementedError

    def build(self, inputs_shape):
        """Build the balancing rules, and layers that have no shape yet.

        A subclass with weights makes them first and then calls this.
        """
        for rule in self.balancing:
            rule.build(self)
        self._has_rules = True
        build_parts(self, inputs_shape)
        # Recomputed, losses would be added from inside the second pass, and
        # the rules' state would move twice.
        compute_once(self)

    def call(
        self,
        inputs,
        padding_mask=None,
        training=None,
        mask=None,
        inputs_mask=None,
        **routing_inputs,
    ):
        # Keras puts the inputs' own mask in `mask`, or in `inputs_mask` if
        # the inputs are not the only tensor.
        padding_mask = self._check(inputs, padding_mask, mask, inputs_mask)
        inputs = clean_padding(inputs, padding_mask)
        plan = self.route(
            inputs,
            padding_mask=padding_mask,
            training=training,
            **routing_inputs,
        )
        check_bias_is_heeded(self)
        plan = self._complete(plan, padding_mask)
        note_choice(plan)
        if training:
            self._balance(plan)
        if self.capacity is not None:
            plan = self.capacity.limit(
                plan, self.num_experts, training, self.capacity_seed
            )
        return plan

    def selection_bias(self):
        """Return what the balancing rules add to the scores for the choice.

        Returns:
            float32 tensor of shape (E,), or `None`.
        """
        biases = [rule.selection_bias(self) for rule in self.balancing]
        biases = [bias for bias in biases if bias is not None]
        if not biases:
            return None
        if not self.heeds_bias:  # Once: compilers do not like it.
            self.heeds_bias = True
        return sum(biases[1:], start=biases[0])

    def copy(self, **changes):
        """Make a new router like this one, not built.

        Args:
            **changes: constructor arguments to replace, such as `name` or
                `balancing`.

        Returns:
            Router of the same class.

        Example:

        >>> from keras_moe.layers import TopKRouter
        >>> TopKRouter(num_experts=8).copy(top_k=1).top_k
        1
        """
        config = without_identity(self.get_config())
        return type(self).from_config({**config, **changes})

    def _check(self, inputs, *masks):
        check_tokens(inputs)
        for each in masks:
            if each is not None:
                check_padding_mask(each, inputs)
        if not self._has_rules:
            raise ValueError(
                f"Expected `{type(self).__name__}.build` to call "
                "`super().build(inputs_shape)`, which builds the balancing "
                "rules. Received: a router without. Call it at the end."
            )
        return join_masks(*masks)

    def _complete(self, plan, padding_mask):
        if not isinstance(plan, self.plan_class):
            raise ValueError(
                f"Expected `{type(self).__name__}.route` to return a "
                f"{self.plan_class.__name__}. Received: {type(plan).__name__}."
                " Use `keras_moe.routing.choose_top_k`, or make the plan."
            )
        return plan.complete(padding_mask, self.num_experts)

    def _balance(self, plan):
        for rule in self.balancing:
            rule.update(plan, self)
        for rule in self.balancing:
            with whole_batch(rule.scope == "batch"):
                rule.add_loss(plan, self)

    def rematerialized_call(self, layer_call, *args, **kwargs):
        return layer_call

    def __call__(self, *args, **kwargs):
        plan = super().__call__(*args, **kwargs)
        # A node of a functional model holds tensors alone: without the parts
        # of the plan that may be `None`, which come last.
        if hasattr(plan, "_fields"):
            return plan
        return plan_of_tensors(self.plan_class, plan)

    def compute_output_spec(self, *args, **kwargs):
        return SymbolicPlan(self).compute_output_spec(*args, **kwargs)

    def compute_output_shape(self, inputs_shape):
        if not self.built:
            self.build(inputs_shape)
        inputs = keras.KerasTensor(inputs_shape, "float32")
        spec = self.compute_output_spec(inputs)
        return keras.tree.map_structure(lambda tensor: tensor.shape, spec)

    def get_config(self):
        return {
            **super().get_config(),
            "num_experts": self.num_experts,
            "balancing": [
                keras.saving.serialize_keras_object(rule)
                for rule in self.balancing
            ],
            "capacity": keras.saving.serialize_keras_object(self.capacity),
        }

    @classmethod
    def from_config(cls, config):
        revived = {
            name: keras.saving.deserialize_keras_object(value)
            if isinstance(value, dict) and "class_name" in value
            else value
            for name, value in config.items()
        }
        return cls(**revived)
