"""What is added up over one optimizer step."""

from keras import ops

from keras_moe.balancing.micro_batch import running_micro_batch
from keras_moe.balancing.run_state import RunState
from keras_moe.ops.replicas import sum_over_replicas


class StepSum(RunState):
    """Adds up numbers over the batch of an optimizer step.

    That is the sum over the replicas of `torch.distributed` or `tf.distribute`,
    and over the micro-batches if the optimizer accumulates gradients.

    Args:
        size: int, how many numbers.

    Call arguments:
        values: float32 tensor of shape (size,), of the running training step.

    Returns:
        A pair: float32 tensor of shape (size,), the sums since the optimizer
        step began; and a bool scalar tensor, or `True`, whether the optimizer
        step ends with this training step.
    """

    def __init__(self, size, **kwargs):
        super().__init__(**kwargs)
        self.size = size

    def build(self, *shapes):
        self.earlier = self.add_state("earlier", (self.size,))

    def call(self, values):
        values = sum_over_replicas(values)
        micro_batch = running_micro_batch()
        if micro_batch is None:
            return values, True
        earlier = ops.convert_to_tensor(self.earlier)
        values = values + ops.where(micro_batch.is_first, 0.0, earlier)
        self.earlier.assign(values)
        return values, micro_batch.is_last
