"""LiteRT (TensorFlow Lite): written and run by TensorFlow, from a SavedModel.

Child processes load this file by its path: it imports nothing of ours.
"""

import pathlib


def write(saved_model, path):
    """Convert a SavedModel to a `.tflite` file.

    Args:
        saved_model: string, folder of a SavedModel with `serving_default`.
        path: string, the file to write.
    """
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(
        saved_model, signature_keys=["serving_default"]
    )
    pathlib.Path(path).write_bytes(converter.convert())


def open_model(path):
    """Load a LiteRT model.

    Args:
        path: string.

    Returns:
        A function from a dict of arrays to a dict of arrays.
    """
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(model_path=path)
    runner = interpreter.get_signature_runner("serving_default")
    return lambda arrays: runner(**arrays)
