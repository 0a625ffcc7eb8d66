"""keras-hub's own tests of backbones and tasks, from the installed wheel.

What does not pass, and why:

- The mixed-precision check asks that every layer has the model's dtype.
  Routers are float32 under every policy: see docs/conventions.md.
- The task test maps a preprocessor over a `tf.data` pipeline. Our tokenizers
  run in Python, so a tokenizer of bytes takes their place.
- A model quantized by GPTQ predicts and generates, but its `.keras` file does
  not load with Keras 3.15.
"""

import importlib.util
import sys
import types

import keras
import keras_hub
import numpy as np
import pytest
import tokenizers
from keras import ops

from keras_moe.models.json_tokenizer import JsonTokenizer
from keras_moe.models.special_token_ids import SpecialTokenIds
from tests.models import small_backbones

pytestmark = pytest.mark.exhaustive

LENGTH = 6


def families(names):
    """Parametrize; on backends that compile, two families stand for all."""
    everywhere = ("mixtral", "switch_classifier")
    return pytest.mark.parametrize(
        "family",
        [
            pytest.param(
                name, marks=[] if name in everywhere else pytest.mark.once
            )
            for name in names
        ],
    )


@keras.saving.register_keras_serializable(package="keras_moe_tests")
class ByteTokenizer(SpecialTokenIds, keras_hub.tokenizers.ByteTokenizer):
    """Bytes, which run in a `tf.data` pipeline."""


@pytest.fixture
def case(monkeypatch):
    # Private, but theirs: the tests come with the wheel. They import Grain at
    # the top, for tests of preprocessors that do not run here.
    if importlib.util.find_spec("grain") is None:
        grain = types.ModuleType("grain")
        monkeypatch.setitem(sys.modules, "grain", grain)
    from keras_hub.src.tests.test_case import TestCase

    case = TestCase()
    case.setUp()
    yield case
    case.tearDown()


def inputs_of(backbone_class, arguments):
    token_ids = np.random.default_rng(0).integers(1, 48, (2, LENGTH))
    mask = np.ones_like(token_ids)
    mask[1, 4:] = 0
    sequence = {"token_ids": token_ids, "padding_mask": mask}
    if backbone_class is not small_backbones.ALL["switch"][0]:
        return sequence
    if arguments.get("num_decoder_layers") == 0:
        return sequence
    return {
        f"{prefix}_{name}": each
        for prefix in ("encoder", "decoder")
        for name, each in sequence.items()
    }


@pytest.mark.filterwarnings("ignore")
@families(small_backbones.ALL)
def test_backbones_pass_keras_hubs_test(case, family):
    backbone_class, _, arguments = small_backbones.ALL[family]
    shape = (2, LENGTH, 16)
    if backbone_class.__name__ == "SwitchBackbone":
        names = ["encoder_sequence_output", "decoder_sequence_output"]
        if arguments.get("num_decoder_layers") == 0:
            names = names[:1]
        shape = dict.fromkeys(names, shape)
    case.run_backbone_test(
        backbone_class,
        init_kwargs=arguments,
        input_data=inputs_of(backbone_class, arguments),
        expected_output_shape=shape,
        run_mixed_precision_check=False,
    )


@pytest.mark.filterwarnings("ignore")
@families(small_backbones.ALL)
def test_backbones_pass_keras_hubs_saving_test(case, family):
    backbone_class, _, arguments = small_backbones.ALL[family]
    case.run_model_saving_test(
        backbone_class,
        init_kwargs=arguments,
        input_data=inputs_of(backbone_class, arguments),
    )


def byte_preprocessor():
    tokenizer = ByteTokenizer(end_token_id=1, pad_token_id=0, start_token_id=2)
    return keras_hub.models.CausalLMPreprocessor(
        tokenizer, sequence_length=LENGTH
    )


@pytest.mark.filterwarnings("ignore")
@families(small_backbones.DECODERS)
def test_tasks_pass_keras_hubs_test(case, family):
    backbone_class, task_class, arguments = small_backbones.DECODERS[family]
    arguments = {**arguments, "vocabulary_size": 256}
    case.run_task_test(
        task_class,
        init_kwargs={
            "backbone": backbone_class(**arguments),
            "preprocessor": byte_preprocessor(),
        },
        train_data=(["a quick fox", "an earth"],),
        expected_output_shape=(2, LENGTH, 256),
    )


@pytest.mark.filterwarnings("ignore")
@families(small_backbones.DECODERS)
def test_presets_of_tasks_pass_keras_hubs_test(case, family, tmp_path):
    backbone_class, task_class, arguments = small_backbones.DECODERS[family]
    model = tokenizers.models.WordLevel({"a": 0, "b": 1}, unk_token="a")
    contents = tokenizers.Tokenizer(model).to_str()
    preprocessor = keras_hub.models.CausalLMPreprocessor(
        JsonTokenizer(contents, end_token_id=1, pad_token_id=1)
    )
    task = task_class(backbone_class(**arguments), preprocessor)
    task.save_to_preset(str(tmp_path))
    inputs = {
        name: ops.convert_to_tensor(each)
        for name, each in inputs_of(backbone_class, arguments).items()
    }
    case.run_preset_test(
        task_class,
        preset=str(tmp_path),
        input_data=inputs,
        expected_output=task(inputs),
    )


@pytest.mark.filterwarnings(
    # Of Keras' `ReversibleEmbedding`, on PyTorch.
    "ignore:.*The use of `x.T` on tensors:UserWarning",
)
@pytest.mark.usefixtures("no_collections")
@families(small_backbones.ALL)
def test_a_quantized_task_comes_back_from_its_file(family, tmp_path):
    model = small_backbones.make_task(family)
    backbone_class, _, arguments = small_backbones.ALL[family]
    inputs = inputs_of(backbone_class, arguments)
    model.quantize("int8")
    expected = model.predict_on_batch(inputs)
    model.save(tmp_path / "int8.keras")
    loaded = keras.saving.load_model(tmp_path / "int8.keras", compile=False)
    np.testing.assert_allclose(
        loaded.predict_on_batch(inputs), expected, rtol=1e-5, atol=1e-5
    )
