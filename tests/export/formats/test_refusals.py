"""What cannot be had is said before work starts."""

import importlib.util

import keras
import pytest

from keras_moe.export.formats import refusals
from keras_moe.export.formats.refusals import find_format
from keras_moe.export.formats.refusals import refuse_models
from keras_moe.export.formats.table import FORMATS
from keras_moe.layers import SparseMoE
from keras_moe.layers import TopKRouter
from keras_moe.routing import Capacity

pytestmark = pytest.mark.once


@pytest.fixture
def installed(monkeypatch):
    """Let packages pass for installed, all but the named ones."""

    def install(*missing):
        monkeypatch.setattr(
            importlib.util,
            "find_spec",
            lambda name: None if name in missing else name,
        )

    return install


def test_an_unknown_format_lists_the_known_ones():
    with pytest.raises(ValueError, match="'tf_saved_model', 'onnx'.*'caffe'"):
        find_format("caffe", {})


@pytest.mark.parametrize("name", FORMATS)
def test_a_missing_package_says_how_to_install_it(installed, name):
    missing = FORMATS[name].packages[-1]
    installed(missing)
    with pytest.raises(ImportError) as error:
        find_format(name, {})
    assert f"Expected {missing} to be installed" in str(error.value)
    assert f'pip install "{FORMATS[name].install}"' in str(error.value)
    installed()
    assert find_format(name, {}) is FORMATS[name]


def test_an_option_of_another_format_is_refused(installed):
    installed()
    find_format("onnx", {"opset_version": 18})
    with pytest.raises(ValueError, match=r"among \[\]. Received: \['opset_"):
        find_format("litert", {"opset_version": 18})


def test_a_model_that_is_too_large_for_the_file_is_refused(monkeypatch):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4)])
    # 3 * 4 kernels and 4 biases of 4 bytes each.
    limited = FORMATS["onnx"]._replace(most_bytes=64)
    monkeypatch.setitem(refusals.FORMATS, "onnx", limited)
    refuse_models(model, "onnx")
    limited = limited._replace(most_bytes=63)
    monkeypatch.setitem(refusals.FORMATS, "onnx", limited)
    with pytest.raises(ValueError, match="at most 63 bytes.*Received: 64"):
        refuse_models(model, "onnx")


@pytest.mark.parametrize("format", ["litert", "torch"])
def test_a_capacity_in_inference_is_refused(format):
    def model(capacity):
        router = TopKRouter(2, capacity=capacity)
        layer = SparseMoE(2, 4, router=router)
        return keras.Sequential([keras.Input((3, 4)), layer])

    with pytest.raises(ValueError, match="drops no tokens.*eval_factor=2.0"):
        refuse_models(model(Capacity(eval_factor=2.0)), format)
    refuse_models(model(Capacity(eval_factor=2.0)), "onnx")
    refuse_models(model(Capacity(factor=2.0)), format)


def test_an_implementation_of_this_backend_is_refused():
    layer = SparseMoE(2, 4, implementation="loop")
    model = keras.Sequential([keras.Input((3, 4)), layer])
    with pytest.raises(ValueError, match="implementation='loop' of .*experts"):
        refuse_models(model, "onnx")
