"""Which classes of a saved model another process must import."""

import json
import sys
import types
import zipfile

import keras
import pytest

from keras_moe.export.custom_objects import CustomObject
from keras_moe.export.custom_objects import find_custom_objects
from keras_moe.export.custom_objects import import_custom_objects

MODULE = "keras_moe_custom_layers"


def save(model, tmp_path):
    """Save a model and return the file."""
    model.save(tmp_path / "model.keras")
    return tmp_path / "model.keras"


def one_layer(layer):
    """Sequential model of one layer."""
    return keras.Sequential([keras.Input((8,)), layer])


def test_finds_layers_registered_or_not(language_model, tmp_path):
    assert find_custom_objects(save(language_model, tmp_path)) == [
        CustomObject(
            MODULE, "ScaledResidual", "keras_moe_tests>ScaledResidual"
        ),
        CustomObject(MODULE, "Unregistered", "Unregistered"),
    ]


def test_finds_the_module_of_a_registered_function(custom_layers, tmp_path):
    model = one_layer(keras.layers.Dense(2, activation=custom_layers.doubled))
    assert find_custom_objects(save(model, tmp_path)) == [
        CustomObject(MODULE, "doubled", "keras_moe_tests>doubled")
    ]


def test_finds_nothing_in_a_model_of_keras_layers(tmp_path):
    model = one_layer(keras.layers.Dense(2, activation="relu"))
    model.compile("adam", "mse")
    assert find_custom_objects(save(model, tmp_path)) == []


def test_a_custom_loss_is_not_needed(tmp_path):
    class Loss(keras.losses.Loss):
        def call(self, targets, outputs):
            return targets - outputs

    model = one_layer(keras.layers.Dense(2))
    model.compile("adam", Loss())
    assert find_custom_objects(save(model, tmp_path)) == []


def test_refuses_a_class_of_the_running_script(monkeypatch, tmp_path):
    class Scripted(keras.layers.Layer):
        def call(self, inputs):
            return inputs

    monkeypatch.setattr(Scripted, "__module__", "__main__")
    model = one_layer(Scripted())
    with pytest.raises(ValueError, match="Scripted.*__main__.*Move it to a"):
        find_custom_objects(save(model, tmp_path))


def test_refuses_a_function_of_the_running_script(tmp_path):
    def scripted(inputs):
        return inputs

    scripted.__module__ = "__main__"
    keras.saving.register_keras_serializable("script")(scripted)
    model = one_layer(keras.layers.Dense(2, activation=scripted))
    with pytest.raises(ValueError, match="Received: scripted, defined in"):
        find_custom_objects(save(model, tmp_path))


def test_importing_returns_only_what_is_not_registered(custom_layers):
    objects = [
        CustomObject(
            MODULE, "ScaledResidual", "keras_moe_tests>ScaledResidual"
        ),
        CustomObject(MODULE, "Unregistered", "Unregistered"),
    ]
    assert import_custom_objects(objects) == {
        "Unregistered": custom_layers.Unregistered
    }


def test_importing_registers(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "keras_moe_late.py").write_text(
        "import keras\n"
        "@keras.saving.register_keras_serializable(package='late')\n"
        "class Late(keras.layers.Layer):\n"
        "    pass\n"
    )
    late = CustomObject("keras_moe_late", "Late", "late>Late")
    assert import_custom_objects([late]) == {}
    assert keras.saving.get_registered_object("late>Late").__name__ == "Late"


def test_refuses_a_class_that_is_not_at_the_top_of_its_module(monkeypatch):
    monkeypatch.setitem(
        sys.modules, "keras_moe_empty", types.ModuleType("keras_moe_empty")
    )
    hidden = CustomObject("keras_moe_empty", "Hidden", "Hidden")
    with pytest.raises(ValueError, match="Hidden at the top level.*Move the"):
        import_custom_objects([hidden])


def test_reads_nested_configs(tmp_path):
    record = {
        "module": "outer",
        "class_name": "Outer",
        "registered_name": None,
        "config": {
            "layers": [
                {
                    "module": "inner",
                    "class_name": "Inner",
                    "registered_name": "x>Inner",
                    "config": {},
                }
            ]
        },
    }
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        archive.writestr("config.json", json.dumps(record))
    assert find_custom_objects(tmp_path / "model.keras") == [
        CustomObject("inner", "Inner", "x>Inner"),
        CustomObject("outer", "Outer", "Outer"),
    ]
