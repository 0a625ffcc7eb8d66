"""Steps that run from notes give what the steps themselves give."""

import keras
import pytest

if keras.config.backend() != "torch":
    pytest.skip("needs KERAS_BACKEND=torch", allow_module_level=True)

import torch
from keras import ops

from keras_moe.ops.torch import recorder as module
from keras_moe.ops.torch import trace_operations
from keras_moe.ops.torch.recorder import Recorder

PLAIN_STEPS = 3


class Step:
    """Adds `weight * x` to slot `index` of a cache, and counts its calls."""

    def __init__(self, python=lambda tensor: tensor):
        self.weight = keras.Variable([2.0, 3.0])
        self.python = python
        self.calls = 0

    def __call__(self, x, cache, index):
        self.calls += 1
        new = self.python(self.weight * x)[None]
        return ops.sum(new), ops.slice_update(cache, (index, 0), new)


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", PLAIN_STEPS)


def run(step, steps, recorder=None):
    """Take steps with new numbers each time; return their sums and the end."""
    recorder = recorder or Recorder()
    recorded = recorder.recorded(step, [step.weight])
    cache, sums = ops.zeros((9, 2)), []
    with torch.no_grad():
        for index in range(steps):
            x = ops.convert_to_tensor([index, 1.0])
            total, cache = recorded(x, cache, ops.convert_to_tensor(index))
            sums.append(float(total))
    return sums, cache


def test_a_step_is_noted_checked_and_not_called_again():
    step = Step()
    sums, cache = run(step, 9)
    assert sums == [2.0 * index + 3.0 for index in range(9)]
    expected = [[2.0 * index, 3.0] for index in range(9)]
    assert cache.tolist() == expected
    # Once more to note it, once more to check it.
    assert step.calls == PLAIN_STEPS + 2


def test_few_steps_note_nothing():
    step = Step()
    run(step, PLAIN_STEPS - 1)
    assert step.calls == PLAIN_STEPS - 1


def test_a_recording_outlives_the_loop_and_sees_new_values_of_weights():
    step, recorder = Step(), Recorder()
    run(step, 9, recorder)
    calls = step.calls
    step.weight.assign([10.0, 20.0])
    assert run(step, 3, recorder)[0] == [20.0, 30.0, 40.0]
    assert step.calls == calls


def test_other_weights_are_noted_anew():
    step, recorder = Step(), Recorder()
    run(step, 9, recorder)
    step.weight = keras.Variable([10.0, 20.0])
    assert run(step, 3, recorder)[0] == [20.0, 30.0, 40.0]


def test_other_shapes_are_noted_by_themselves():
    step, recorder = Step(), Recorder()
    run(step, 9, recorder)
    recorded = recorder.recorded(step, [step.weight])
    with torch.no_grad():
        total, cache = recorded(
            ops.ones(2), ops.zeros((4, 2)), ops.convert_to_tensor(1)
        )
    assert float(total) == 5.0
    assert cache.shape == (4, 2)


def test_an_argument_that_is_only_copied_is_changed_in_place():
    step = Step()
    recorder = Recorder()
    run(step, 9, recorder)
    cache, x = ops.zeros((9, 2)), ops.ones(2)
    with torch.no_grad():
        recorded = recorder.recorded(step, [step.weight])
        _, after = recorded(x, cache, ops.convert_to_tensor(4))
    assert after.data_ptr() == cache.data_ptr()
    assert cache[4].tolist() == [2.0, 3.0]


def test_an_argument_that_is_read_later_is_not_changed():
    def step(cache):
        return ops.slice_update(cache, (0,), ops.ones(1)), 2 * cache

    recorded = Recorder().recorded(step, [])
    for _ in range(PLAIN_STEPS + 3):
        cache = ops.zeros(2)
        changed, doubled = recorded(cache)
        assert cache.tolist() == doubled.tolist() == [0.0, 0.0]
        assert changed.tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    "python",
    [
        # Makes a constant of a number that changes.
        lambda tensor: torch.from_numpy(tensor.detach().numpy().copy()),
        # Lets a number decide.
        lambda tensor: tensor if float(tensor.sum()) > -1.0 else -tensor,
    ],
    ids=["constant", "decision"],
)
def test_python_that_notes_cannot_hold_is_called_for_every_step(python):
    step = Step(python)
    with pytest.warns(UserWarning, match="by the same tensor operations"):
        sums, _ = run(step, 9)
    assert sums == [2.0 * index + 3.0 for index in range(9)]
    assert step.calls >= 9


def test_without_a_tracer_the_step_is_called(monkeypatch):
    monkeypatch.setattr(trace_operations, "make_fx", None)
    step = Step()
    assert run(step, 9)[0] == [2.0 * index + 3.0 for index in range(9)]
    assert step.calls == 9


def test_without_compilation_the_step_is_called():
    step = Step()
    run(step, 9, Recorder(jit_compile=False))
    assert step.calls == 9


def test_steps_with_plain_numbers_are_not_recorded():
    step = Step()
    recorded = Recorder().recorded(step, [step.weight])
    for _ in range(9):
        recorded(ops.ones(2), ops.zeros((9, 2)), 4)
    assert step.calls == 9


def test_operations_are_compiled_on_request_alone(monkeypatch):
    compiled = []
    monkeypatch.setattr(
        torch, "compile", lambda function: compiled.append(function) or function
    )
    for jit_compile, number in [("auto", 0), (True, 1)]:
        sums, _ = run(Step(), 9, Recorder(jit_compile))
        assert sums == [2.0 * index + 3.0 for index in range(9)]
        assert len(compiled) == number


# PyTorch's compiler imports what PyTorch warns about.
@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")
@pytest.mark.exhaustive  # It starts a C++ compiler.
def test_compiled_operations_give_the_same():
    step = Step()
    sums, cache = run(step, 9, Recorder(jit_compile=True))
    assert sums == [2.0 * index + 3.0 for index in range(9)]
    assert cache.tolist() == [[2.0 * index, 3.0] for index in range(9)]
    assert step.calls == PLAIN_STEPS + 2


def test_a_step_whose_experts_are_elsewhere_is_not_recorded():
    step = Step()
    step.weight.is_part = True
    recorder = Recorder()
    assert recorder.recorded(step, [step.weight]) is step
