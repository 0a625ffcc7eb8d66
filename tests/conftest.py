"""One clean start for every test, on whichever backend KERAS_BACKEND names."""

import gc
import os
import zlib
from collections import Counter
from pathlib import Path

# Before the first import of TensorFlow: no lines about CPU features.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

if os.environ.get("KERAS_BACKEND") == "torch":
    # Loaded after TensorFlow, torch 2.13 crashes the process.
    import torch

    if torch.cuda.is_available():
        # Most tests compare arrays. JAX copies from the GPU by itself.
        _numpy, _array = torch.Tensor.numpy, torch.Tensor.__array__
        torch.Tensor.numpy = lambda self, *args, **kwargs: _numpy(
            self.cpu(), *args, **kwargs
        )
        torch.Tensor.__array__ = lambda self, *args, **kwargs: _array(
            self.detach().cpu(), *args, **kwargs
        )

import hypothesis
import keras
import numpy as np
import pytest
from keras import ops

if keras.config.backend() == "jax":
    import jax

    # A GPU would round the factors of float32 products to 10 bits.
    jax.config.update("jax_default_matmul_precision", "highest")

# Lets failures in the contracts show their values, as in the test files.
pytest.register_assert_rewrite(
    "tests.models.backbone_contract", "tests.models.contract"
)

# Compiling makes the first example slow and the others fast, which a deadline
# would call flaky. The same examples every time: a test that fails here also
# fails on the next machine.
hypothesis.settings.register_profile(
    "keras_moe",
    deadline=None,
    derandomize=True,
    max_examples=25,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("keras_moe")


@pytest.fixture(scope="session")
def backend() -> str:
    """Returns the running backend: "jax", "torch" or "tensorflow"."""
    return keras.backend.backend()


@pytest.fixture(scope="session")
def vjp():
    """Return `pull_back(function, arrays, cotangent)`.

    It gives the value of `function(*tensors)` and the gradients of
    `sum(value * cotangent)` for each array, as NumPy arrays. A gradient that
    the backend calls disconnected comes back as `None`.
    """
    return globals()[f"_pull_back_{keras.config.backend()}"]


@pytest.fixture(autouse=True)
def _clean_keras_state():
    """Seeds every generator, and afterwards undoes what Keras keeps globally.

    `clear_session` forgets the dtype policy, the distribution, the layer names
    and the global seed; the float type and the image format live elsewhere.
    """
    floatx = keras.config.floatx()
    image_data_format = keras.config.image_data_format()
    epsilon = keras.config.epsilon()
    keras.utils.set_random_seed(0)
    yield
    # Collecting garbage after every test would take longer than most tests.
    keras.utils.clear_session(free_memory=False)
    keras.config.set_floatx(floatx)
    keras.config.set_image_data_format(image_data_format)
    keras.config.set_epsilon(epsilon)


@pytest.fixture
def no_collections(monkeypatch):
    """Keeps Keras from collecting garbage for every layer that it quantizes.

    Late in a run each collection takes a second.
    """
    monkeypatch.setattr(gc, "collect", lambda *arguments: 0)


@pytest.fixture(scope="module", autouse=True)
def _forget_compiled_programs():
    """Keeps JAX from holding the programs of all tests until the end.

    Only when they have become many: the small ones are used again.
    """
    yield
    if keras.backend.backend() == "jax" and _resident_bytes() > 3 * 2**30:
        import jax

        jax.clear_caches()


def _resident_bytes() -> int:
    """Returns the memory of this process, or 0 where nobody says."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--turn",
        type=int,
        help="of the exhaustive tests run half, and the other half after the "
        "next number; on JAX the half that the others leave out",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Marks the later cases of a sweep as exhaustive, before `-m` chooses.

    PyTorch runs them all: it compiles nothing, so a case costs little. With
    `--turn`, those go that have another turn.
    """
    if keras.backend.backend() != "torch":
        _mark_sweeps(items)
    turn = config.getoption("--turn")
    if turn is not None:
        others = [item for item in items if not _has_turn(item, turn)]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if _has_turn(item, turn)]


def _has_turn(item: pytest.Item, turn: int) -> bool:
    if item.get_closest_marker("exhaustive") is None:
        return True
    turn += keras.backend.backend() == "jax"
    return (zlib.crc32(item.nodeid.encode()) + turn) % 2 == 0


def _mark_sweeps(items: list[pytest.Item]) -> None:
    """Mark what comes after the first cases."""
    cases: Counter[str] = Counter()
    for item in items:
        sweep = item.get_closest_marker("sweep")
        if sweep is None:
            continue
        test = item.nodeid.partition("[")[0]
        cases[test] += 1
        if cases[test] > sweep.kwargs.get("first", 0):
            item.add_marker(pytest.mark.exhaustive)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not _device_counts()["gpu"]:
        pytest.skip("needs a GPU")
    if item.get_closest_marker("once") and keras.backend.backend() != "torch":
        pytest.skip("does not depend on the backend: once, on PyTorch")
    if item.get_closest_marker("multi_device"):
        if max(_device_counts().values()) < 2:
            pytest.skip("needs at least two devices of one kind")


def _device_counts() -> Counter[str]:
    """Counts the backend's devices by kind, such as "cpu" and "gpu"."""
    if keras.backend.backend() == "torch":
        # `list_devices` does not work on torch.
        return Counter(cpu=1, gpu=torch.cuda.device_count())
    devices = keras.distribution.list_devices()
    return Counter(device.partition(":")[0] for device in devices)


def _pull_back_jax(function, arrays, cotangent):
    import jax

    tensors = [ops.convert_to_tensor(array) for array in arrays]
    value, pull_back = jax.vjp(function, *tensors)
    gradients = pull_back(ops.convert_to_tensor(cotangent, value.dtype))
    return _to_numpy(value), [_to_numpy(each) for each in gradients]


def _pull_back_torch(function, arrays, cotangent):
    import torch

    tensors = [
        ops.convert_to_tensor(array).detach().requires_grad_()
        for array in arrays
    ]
    value = function(*tensors)
    gradients = torch.autograd.grad(
        value,
        tensors,
        ops.convert_to_tensor(cotangent).to(value.dtype),
        allow_unused=True,
    )
    return _to_numpy(value), [_to_numpy(each) for each in gradients]


def _pull_back_tensorflow(function, arrays, cotangent):
    import tensorflow as tf

    tensors = [tf.convert_to_tensor(array) for array in arrays]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        value = function(*tensors)
    gradients = tape.gradient(value, tensors, tf.cast(cotangent, value.dtype))
    return _to_numpy(value), [_to_numpy(each) for each in gradients]


def _to_numpy(tensor):
    if tensor is None:
        return None
    return np.array(ops.convert_to_numpy(ops.cast(tensor, "float32")))
