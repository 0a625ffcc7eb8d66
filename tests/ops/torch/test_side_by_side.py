"""Products on several threads: each group once, whatever the sizes."""

import os
import threading

import keras
import pytest

if keras.config.backend() != "torch":
    pytest.skip("needs KERAS_BACKEND=torch", allow_module_level=True)

import torch

from keras_moe.ops.torch import side_by_side as module
from keras_moe.ops.torch.side_by_side import side_by_side


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def groups_of(*sizes):
    groups, start = [], 0
    for group, size in enumerate(sizes):
        groups.append((group, slice(start, start + size)))
        start += size
    return groups


def threads_of(groups):
    """Return how often each group was called, and on which threads."""
    calls = []

    def product(group, rows):
        calls.append((group, rows, threading.get_ident()))

    side_by_side(product, groups)
    assert sorted(call[:2] for call in calls) == sorted(groups)
    return {group: thread for group, _, thread in calls}


def test_small_groups_leave_this_thread_and_large_ones_do_not(two_threads):
    large = module.LARGE
    threads = threads_of(groups_of(200, large, 100, 3 * large, large - 1))
    here = threading.get_ident()
    assert {group for group in threads if threads[group] == here} == {1, 3}


@pytest.mark.parametrize("sizes", [(), (1,), (3, 5), (module.FEW - 1,)])
def test_few_rows_stay_on_this_thread(sizes, two_threads):
    threads = threads_of(groups_of(*sizes))
    assert set(threads.values()) <= {threading.get_ident()}


def test_one_thread_does_all_by_itself():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        threads = threads_of(groups_of(200, 200, 200))
    finally:
        torch.set_num_threads(before)
    assert set(threads.values()) == {threading.get_ident()}


def test_an_error_in_a_thread_is_raised_here(two_threads):
    def product(group, rows):
        raise RuntimeError(f"group {group}")

    with pytest.raises(RuntimeError, match="group"):
        side_by_side(product, groups_of(200, 200))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a forking system")
# JAX says so wherever another test has imported it; the fork does not use it.
@pytest.mark.filterwarnings(r"ignore:os\.fork\(\) was called:RuntimeWarning")
def test_a_forked_process_makes_threads_of_its_own(two_threads):
    threads_of(groups_of(200, 200))
    child = os.fork()
    if child == 0:
        try:
            threads_of(groups_of(200, 200))
        finally:
            os._exit(0 if module._pools else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_results_are_written_under_every_mode(mode, two_threads):
    inputs, outputs = torch.ones(400, 2), torch.zeros(400, 2)
    kernels = torch.ones(2, 2, 2, requires_grad=True)
    with mode():
        side_by_side(
            lambda group, rows: torch.mm(
                inputs[rows], kernels[group], out=outputs[rows]
            ),
            groups_of(200, 200),
        )
    assert torch.all(outputs == 2)
