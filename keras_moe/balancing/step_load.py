"""How busy the experts are in one optimizer step."""

from keras import ops

from keras_moe.balancing.micro_batch import running_micro_batch
from keras_moe.balancing.run_state import RunState
from keras_moe.losses.load_balancing import tokens_per_expert
from keras_moe.ops.replicas import sum_over_replicas


class StepLoad(RunState):
    """Counts the tokens of each expert over the batch of an optimizer step.

    That is the sum over the replicas of a `tf.distribute` strategy, and over
    the micro-batches if the optimizer accumulates gradients.

    Args:
        num_experts: int E.

    Call arguments:
        plan: `TokenChoice` of the running training step.

    Returns:
        A pair: float32 tensor of shape (E,), in (token, choice) pairs since
        the optimizer step began; and a bool scalar tensor, or `True`, whether
        the optimizer step ends with this training step.
    """

    def __init__(self, num_experts, **kwargs):
        super().__init__(**kwargs)
        self.num_experts = num_experts

    def build(self, *shapes):
        self.earlier = self.add_state("earlier", (self.num_experts,))

    def call(self, plan):
        load = sum_over_replicas(tokens_per_expert(plan))
        micro_batch = running_micro_batch()
        if micro_batch is None:
            return load, True
        earlier = ops.convert_to_tensor(self.earlier)
        earlier = ops.where(micro_batch.is_first, 0.0, earlier)
        load = load + earlier
        self.earlier.assign(load)
        return load, micro_batch.is_last
