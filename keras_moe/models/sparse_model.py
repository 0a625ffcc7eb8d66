"""What our backbones and tasks share as Keras models."""

import re
import warnings

import keras

from keras_moe.experts.grouped_dense import GroupedDense
from keras_moe.models.creation_order import CreationOrder
from keras_moe.models.traced_state import TracedState
from keras_moe.ops.all_layers import all_layers


class SparseModel(CreationOrder):
    """A functional model with experts.

    Stands before keras-hub's class. Layers, and with them weights, come in
    the order of their creation on every backend. Compiled functions are
    traced again after `enable_lora`, `quantize`, freezing or another dtype
    policy.
    """

    def make_train_function(self, force=False):
        return super().make_train_function(force or self._changed("train"))

    def make_test_function(self, force=False):
        return super().make_test_function(force or self._changed("test"))

    def make_predict_function(self, force=False):
        return super().make_predict_function(force or self._changed("predict"))

    def _changed(self, function):
        """Tell whether the model is another than when this was last asked."""
        name = f"_{function}_state"
        before, now = getattr(self, name, None), TracedState(self)
        setattr(self, name, now)
        return before is not None and before != now

    def quantize(self, mode=None, config=None, filters=None, **kwargs):
        """Quantize the embedding, the dense projections and the experts.

        Routers stay as they are. Experts know `"int8"` only: their kernels
        are kept as integers and computed with as floats. In another mode they
        stay as they are, and a warning says so.

        Args:
            mode: `"int8"`, `"int4"`, `"float8"` or `"gptq"`.
            config: optional `keras.quantizers.QuantizationConfig`.
            filters: optional regular expression of layers' names, list of
                them, or function of a layer that returns a bool.
            **kwargs: of `keras.Model.quantize`.
        """
        experts = [
            layer
            for layer in all_layers(self)
            if isinstance(layer, GroupedDense)
        ]
        if mode is None and config is not None:
            mode = config.mode
        stay = [] if mode == "int8" else experts
        can_be_quantized = {id(layer) for layer in self.quantizable_layers()}
        can_be_quantized -= {id(layer) for layer in stay}
        super().quantize(
            mode,
            config,
            lambda layer: (
                id(layer) in can_be_quantized and _matches(filters, layer)
            ),
            **kwargs,
        )
        if stay:
            warnings.warn(
                f"The experts stay {stay[0].variable_dtype}: they know "
                f"'int8' only, not {mode!r}.",
                stacklevel=2,
            )

    def export(
        self,
        filepath,
        format="tf_saved_model",
        verbose=None,
        input_signature=None,
        **kwargs,
    ):
        """Export the model from any backend: `keras_moe.export.export_model`.

        Args:
            filepath: string or `pathlib.Path`.
            format: `"tf_saved_model"`, `"onnx"`, `"openvino"`, `"litert"` or
                `"torch"`.
            verbose: bool, whether to show progress; `None` means `True`.
            input_signature: dict from input name to `keras.InputSpec`, to
                fix sizes that the model leaves open; or a list of one, as
                Keras takes it.
            **kwargs: of `keras_moe.export.export_model`.

        Returns:
            A `pathlib.Path`.
        """
        from keras_moe.export import export_model

        if isinstance(input_signature, (list, tuple)):
            (input_signature,) = input_signature
        return export_model(
            self,
            filepath,
            format,
            input_signature=input_signature,
            verbose=verbose is not False,
            **kwargs,
        )

    def quantizable_layers(self):
        """List the layers that `quantize` may change.

        Returns:
            list of `keras.layers.Layer`.
        """
        return [
            layer
            for layer in all_layers(self)
            if type(layer).quantize is not keras.layers.Layer.quantize
        ]

    def rematerialized_call(self, layer_call, *args, **kwargs):
        # The blocks rematerialize their parts; routing must not run twice.
        return layer_call


def _matches(filters, layer):
    if filters is None:
        return True
    if callable(filters):
        return filters(layer)
    patterns = [filters] if isinstance(filters, str) else filters
    return any(re.search(each, layer.name) for each in patterns)
