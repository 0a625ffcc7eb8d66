"""Which rows of a batch a process reads."""

from keras_moe.ops.backend import load_or


def rows_of_process(batch_size):
    """Return the rows of a batch that this process feeds to `fit`.

    The parts of all processes are the batch, without a duplicate or a gap. Use
    it with `ExpertParallel(auto_shard_dataset=False)`, where each process
    reads its own part, and with batches that depend on a seed and their step.
    On PyTorch it is all rows, of which `replicate` takes a part.

    Args:
        batch_size: int, rows of the batch of all processes.

    Returns:
        slice.

    Raises:
        ValueError: If the rows cannot be divided.

    Example:

    >>> rows_of_process(8)
    slice(0, 8, None)
    """
    engine = load_or("process_index", None)
    count = 1 if engine is None else engine.process_count()
    if batch_size % count:
        raise ValueError(
            "Expected a batch that can be divided among the processes. "
            f"Received: batch_size={batch_size} for {count} processes. "
            "Choose a multiple of their number."
        )
    size = batch_size // count
    start = 0 if engine is None else engine.process_index() * size
    return slice(start, start + size)
