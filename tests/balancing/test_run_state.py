"""State of a training run that is no weight of the model."""

import keras
import numpy as np
from keras import ops

from keras_moe.balancing.run_state import RunState


class Counter(RunState):
    """Counts its calls."""

    def build(self, *shapes):
        self.calls = self.add_state("calls")
        self.marks = self.add_state("marks", (3,), "int32")

    def call(self, inputs):
        self.calls.assign_add(1.0)
        self.marks.assign_add(ops.ones((3,), "int32"))
        return inputs


def test_state_is_carried_along_and_no_weight(backend, tmp_path):
    counter = Counter(dtype="float16")
    inputs = np.ones((2, 3), "float32")
    counter(inputs)
    counter(inputs)
    assert [variable.name for variable in counter.state] == ["calls", "marks"]
    assert float(ops.convert_to_numpy(counter.calls)) == 2.0
    assert keras.backend.standardize_dtype(counter.calls.dtype) == "float32"
    assert counter.weights == []
    assert len(counter.variables) == (0 if backend == "torch" else 2)
    counter.reset()
    assert not np.any(ops.convert_to_numpy(counter.calls))
    assert not np.any(ops.convert_to_numpy(counter.marks))


def test_state_is_in_no_file(tmp_path):
    counter = Counter()
    model = keras.Sequential([keras.layers.Dense(3), counter])
    inputs = np.ones((2, 3), "float32")
    model(inputs)
    model.save_weights(tmp_path / "model.weights.h5")
    model(inputs)
    model.load_weights(tmp_path / "model.weights.h5")
    assert float(ops.convert_to_numpy(counter.calls)) == 2.0
    assert len(model.get_weights()) == 2
