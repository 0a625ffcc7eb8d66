"""The names of the outputs in a signature."""

from keras_moe.export.model_outputs import name_outputs


def test_a_dict_keeps_its_keys():
    assert name_outputs({"b": 1, "a": 2}) == {"b": 1, "a": 2}


def test_positions_are_numbered_as_keras_does():
    assert name_outputs(5) == {"output_0": 5}
    assert name_outputs([5, 6]) == {"output_0": 5, "output_1": 6}
    assert name_outputs((5,)) == {"output_0": 5}


def test_nested_outputs_join_their_steps():
    outputs = name_outputs({"a": {"x": 1, "y": [2, 3]}, "b": 4})
    assert outputs == {"a_x": 1, "a_y_0": 2, "a_y_1": 3, "b": 4}
    assert name_outputs([1, {"x": 2}]) == {"output_0": 1, "output_1_x": 2}
