"""Hand a model to a process whose Keras runs on another backend."""

import importlib
import pathlib

import keras

from keras_moe.export.custom_objects import find_custom_objects
from keras_moe.export.custom_objects import import_custom_objects


def store_model(model, folder, modules=None):
    """Save a model so that `load_stored_model` can load it.

    Args:
        model: a built `keras.Model`.
        folder: path of a folder that exists; takes `model.keras`.
        modules: optional list of strings, further modules to import before
            the model is loaded.

    Returns:
        A dict that JSON can hold, for `load_stored_model`.

    Raises:
        ValueError: if a class of the model is defined in the running script.
    """
    file = pathlib.Path(folder) / "model.keras"
    model.save(file)
    policy = keras.config.dtype_policy()
    return {
        "model": str(file),
        "modules": list(modules or ()),
        "custom_objects": [list(x) for x in find_custom_objects(file)],
        # What layers read when they are built anew.
        "settings": {
            "floatx": keras.config.floatx(),
            "epsilon": keras.config.epsilon(),
            "image_data_format": keras.config.image_data_format(),
            "dtype_policy": keras.dtype_policies.serialize(policy),
        },
    }


def load_stored_model(stored):
    """Load a model that another process has stored, for inference.

    Takes over that process's global settings of Keras.

    Args:
        stored: dict from `store_model`.

    Returns:
        A `keras.Model`, not compiled.
    """
    for module in stored["modules"]:
        importlib.import_module(module)
    custom_objects = import_custom_objects(stored["custom_objects"])
    settings = stored["settings"]
    keras.config.set_floatx(settings["floatx"])
    keras.config.set_epsilon(settings["epsilon"])
    keras.config.set_image_data_format(settings["image_data_format"])
    keras.config.set_dtype_policy(
        keras.dtype_policies.deserialize(settings["dtype_policy"])
    )
    # The file comes from the parent process, so its lambdas are as
    # trustworthy as the parent. Training state is not needed.
    return keras.saving.load_model(
        stored["model"],
        custom_objects=custom_objects,
        compile=False,
        safe_mode=False,
    )
