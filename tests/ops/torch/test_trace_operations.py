"""What a function comes to, without the function."""

import keras
import pytest

if keras.config.backend() != "torch":
    pytest.skip("needs KERAS_BACKEND=torch", allow_module_level=True)

import torch

from keras_moe.ops.torch import trace_operations as module
from keras_moe.ops.torch.trace_operations import trace_operations


def test_the_function_runs_once_its_operations_for_other_numbers():
    calls = []

    def function(x, pair):
        calls.append(x)
        return 2 * x, (pair[0] + pair[1],)

    traced = trace_operations(
        function, (torch.ones(2), (torch.ones(2), torch.zeros(2)))
    )
    x, first, second = torch.tensor([[3.0, 4.0], [5.0, 6.0], [7.0, 8.0]])
    doubled, (total,) = traced(x, (first, second))
    assert doubled.tolist() == [6.0, 8.0]
    assert total.tolist() == [12.0, 14.0]
    assert len(calls) == 1


def count(name, program):
    return [str(node.target) for node in program.graph.nodes].count(
        f"aten.{name}.default"
    )


def test_equal_operations_are_computed_once():
    def layer(x):
        return torch.sin(x * torch.tensor([1.0, 2.0]))

    program = trace_operations(
        lambda x: (layer(x) + layer(x),), (torch.ones(2),)
    )
    assert count("sin", program) == 1
    (outputs,) = program(torch.tensor([3.0, 4.0]))
    torch.testing.assert_close(outputs, 2 * torch.tensor([3.0, 8.0]).sin())


def test_what_differs_in_a_number_is_computed_by_itself():
    def function(x):
        one, other = torch.tensor(1.0), torch.tensor(2.0)
        return x.sin() * one + (x + x).sin() * other + x.sum(0) + x.sum(1)

    program = trace_operations(function, (torch.ones(2, 2),))
    assert count("sin", program) == 2
    x = torch.tensor([[3.0, 4.0], [5.0, 6.0]])
    torch.testing.assert_close(program(x), function(x))


def test_what_nobody_reads_is_not_computed():
    def function(x):
        torch.sin(x)
        return 2 * x

    assert count("sin", trace_operations(function, (torch.ones(2),))) == 0


@pytest.mark.parametrize("view", [lambda x: x, lambda x: x.view(-1)[:2]])
def test_memory_that_is_written_is_not_shared(view):
    def function(x):
        written, read = torch.neg(x), torch.neg(x)
        view(written).add_(10.0)
        return written + 100 * read, torch.neg(x)

    program = trace_operations(function, (torch.ones(2),))
    total, negative = program(torch.tensor([1.0, 2.0]))
    assert total.tolist() == [9.0 - 100.0, 8.0 - 200.0]
    assert negative.tolist() == [-1.0, -2.0]


def test_results_have_memory_of_their_own():
    # The next step may change one of them in place.
    def function(x):
        return (
            torch.neg(x),
            torch.neg(x).view(2, 1),
            torch.zeros(2),
            torch.zeros(2),
        )

    results = trace_operations(function, (torch.ones(2),))(torch.ones(2))
    assert len({each.data_ptr() for each in results}) == 4


def test_random_numbers_are_drawn_each_time():
    def function(x):
        return torch.rand_like(x), torch.rand_like(x)

    first, second = trace_operations(function, (torch.ones(9),))(torch.ones(9))
    assert not torch.equal(first, second)


def test_pytorch_still_has_the_tracer():
    """If this fails: PyTorch has moved or removed `make_fx`.

    Until then generation calls the layers for every token, which is right and
    takes twice the time. Look for a public tracer that sees the operations
    inside of Keras' layers, and change `ops/torch/trace_operations.py`; without
    one, remove it together with `recorder.py`.
    """
    assert module.can_trace()
    assert torch.ops.aten.clone.default is not None
