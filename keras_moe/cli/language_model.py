"""The small Mixtral-like byte-level model that the commands train."""

from pathlib import Path
from typing import NamedTuple


class ModelSize(NamedTuple):
    """The shape of the model, in the words of `MixtralBackbone`.

    `router` and `balancing` are names, those of the rules joined by commas;
    `None` is the model's own.
    """

    hidden_dim: int = 128
    num_layers: int = 3
    num_query_heads: int = 4
    num_key_value_heads: int = 2
    num_experts: int = 8
    top_k: int = 2
    intermediate_dim: int = 256
    sliding_window: int | None = None
    capacity_factor: float | None = None
    router: str | None = None
    balancing: str | None = None


def make_model(size, dtype=None, *, backbone_class=None, **router_arguments):
    """Make the untrained model.

    Args:
        size: `ModelSize`.
        dtype: optional dtype policy name.
        backbone_class: optional subclass of `MixtralBackbone`.
        **router_arguments: arguments of the router that `size` has no name
            for.

    Returns:
        `MixtralCausalLM` over the 256 byte values.

    Example:

    >>> make_model(ModelSize(num_layers=1)).backbone.num_layers
    1
    """
    from keras_moe.cli.routing import make_router
    from keras_moe.cli.text import VOCABULARY_SIZE
    from keras_moe.models import MixtralBackbone
    from keras_moe.models import MixtralCausalLM

    sizes = size._asdict()
    for name in ("capacity_factor", "router", "balancing"):
        del sizes[name]
    backbone = (backbone_class or MixtralBackbone)(
        vocabulary_size=VOCABULARY_SIZE,
        rope_max_wavelength=10_000.0,
        router=make_router(size, VOCABULARY_SIZE, **router_arguments),
        dtype=dtype,
        **sizes,
    )
    return MixtralCausalLM(backbone)


def model_file(path):
    """Find the model that a path means: the file, or a run folder's.

    Args:
        path: a `.keras` file or the folder that `keras-moe train` wrote.

    Returns:
        `pathlib.Path` of the file.

    Raises:
        ValueError: If there is none.
    """
    path = Path(path)
    candidate = path / "model.keras" if path.is_dir() else path
    if candidate.suffix != ".keras" or not candidate.is_file():
        raise ValueError(
            "Expected a .keras file or a folder written by `keras-moe train`. "
            f"Received: {path}, where there is no model. Train one first."
        )
    return candidate


def load_model(path):
    """Load a model for inference.

    Args:
        path: as for `model_file`.

    Returns:
        The model, not compiled.

    Raises:
        ValueError: If there is no model at `path`.
    """
    import keras

    import keras_moe.models as keras_moe_models  # Registers the classes.

    del keras_moe_models
    return keras.saving.load_model(model_file(path), compile=False)
