"""All benchmarks by name."""

from family_matches import families
from import_matches import imports
from language_model_matches import decoding
from language_model_matches import exported
from language_model_matches import training
from layer_matches import experts
from layer_matches import imbalance
from layer_matches import layer
from layer_matches import tokens

BACKENDS = ("jax", "torch", "tensorflow")

SUITE = {
    function.__name__: function
    for function in (
        layer,
        experts,
        tokens,
        imbalance,
        training,
        decoding,
        exported,
        families,
        imports,
    )
}
