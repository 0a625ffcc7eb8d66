"""One clean start for every test, on whichever backend KERAS_BACKEND names."""

import os
from collections import Counter

# Before the first import of TensorFlow: no lines about CPU features.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

if os.environ.get("KERAS_BACKEND") == "torch":
    # Loaded after TensorFlow, torch 2.13 crashes the process.
    import torch

import hypothesis
import keras
import pytest

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


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not _device_counts()["gpu"]:
        pytest.skip("needs a GPU")
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
