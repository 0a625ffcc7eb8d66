"""One version of a model in memory."""

import pathlib

import tensorflow as tf

from keras_moe.serving.description import read_description
from keras_moe.serving.signature import read_signatures
from keras_moe.serving.tokenizer import read_tokenizer

WARMUP_FILE = "tf_serving_warmup_requests"


class LoadedModel:
    """A SavedModel and what its folder says about it.

    Args:
        folder: path of a version; the folder's name is its number.

    Attributes:
        version: int.
        description: `Description`.
        signatures: dict from name to `Signature`.
        tokenizer: tokenizer, or `None`.

    Raises:
        Exception: Whatever TensorFlow raises for a broken SavedModel.
    """

    def __init__(self, folder):
        folder = pathlib.Path(folder)
        self.version = int(folder.name)
        self.description = read_description(folder)
        self.signatures = read_signatures(folder)
        self.tokenizer = read_tokenizer(folder, self.description)
        # Its functions do not keep its variables alive: it must stay.
        self._saved_model = tf.saved_model.load(str(folder))
        self._warm_up(folder / "assets.extra" / WARMUP_FILE)

    def run(self, signature, arrays):
        """Call a signature.

        Args:
            signature: `Signature` of this model.
            arrays: dict from name to array, one for each input.

        Returns:
            dict from name to array.
        """
        outputs = self._saved_model.signatures[signature.name](
            **{
                name: tf.constant(arrays[name], info.dtype)
                for name, info in signature.inputs.items()
            }
        )
        return {name: tensor.numpy() for name, tensor in outputs.items()}

    def _warm_up(self, file):
        """Answer the recorded requests: what fails, fails before it serves."""
        if not file.is_file():
            return
        from tensorflow_serving.apis import prediction_log_pb2

        for record in tf.data.TFRecordDataset(str(file)):
            log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
            request = log.predict_log.request
            name = request.model_spec.signature_name or "serving_default"
            signature = self.signatures[name]
            self.run(
                signature,
                {
                    **signature.defaults,
                    **{
                        key: tf.make_ndarray(value)
                        for key, value in request.inputs.items()
                    },
                },
            )
