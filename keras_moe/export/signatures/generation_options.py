"""What a request for new tokens may ask for, row by row."""

from typing import Any
from typing import NamedTuple

from keras import ops

from keras_moe.export.model_inputs import ModelInput


class GenerationOptions(NamedTuple):
    """The wishes of all rows; shape (1,) stands for (B,).

    Attributes:
        max_new_tokens: int32 tensor of shape (B,), how many tokens a row gets
            at most; less than 0 is 0.
        temperature: float32 tensor of shape (B,), 0 for the most probable
            token.
        top_k: int32 tensor of shape (B,), 0 for off.
        top_p: float32 tensor of shape (B,), 1 for off.
        seed: int32 tensor of shape (B,).
        stop_token_ids: int32 tensor of shape (B, N), tokens that end a row;
            -1 for none.
    """

    max_new_tokens: Any
    temperature: Any
    top_k: Any
    top_p: Any
    seed: Any
    stop_token_ids: Any


def option_inputs(stop_token_ids=()):
    """Describe the optional inputs.

    Args:
        stop_token_ids: sequence of ints, the model's own.

    Returns:
        tuple of `ModelInput`.

    Example:

    >>> [each.default for each in option_inputs(stop_token_ids=[2])]
    [[64], [0.0], [0], [1.0], [0], [[2]]]
    """
    described = GenerationOptions(
        max_new_tokens=((None,), "int32", [64]),
        temperature=((None,), "float32", [0.0]),
        top_k=((None,), "int32", [0]),
        top_p=((None,), "float32", [1.0]),
        seed=((None,), "int32", [0]),
        stop_token_ids=((None, None), "int32", [[*stop_token_ids] or [-1]]),
    )
    return tuple(
        ModelInput(name, *each) for name, each in described._asdict().items()
    )


def read_options(tensors):
    """Read the options of a request.

    Args:
        tensors: dict with all inputs that `option_inputs` describes.

    Returns:
        `GenerationOptions`.
    """
    return GenerationOptions(
        **{
            each.name: ops.cast(tensors[each.name], each.dtype)
            for each in option_inputs()
        }
    )


def stop_token_ids_of(model):
    """Return the tokens that end a text, as the model's tokenizer says.

    Args:
        model: task.

    Returns:
        List of ints; empty for a task without a preprocessor.
    """
    if model.preprocessor is None:
        return []
    from keras_moe.models.stop_token_ids import find_stop_token_ids

    return [*(find_stop_token_ids("auto", model.preprocessor) or ())]
