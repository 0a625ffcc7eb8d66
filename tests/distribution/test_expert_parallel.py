import keras
import numpy as np
import pytest

from keras_moe.distribution import ExpertParallel
from keras_moe.ops.unfilled_variables import build_unfilled
from keras_moe.routing import Capacity

DROPLESS = {}
# No expert can have more than the 6 tokens of a group.
ROOMY = {"capacity": Capacity(slots=6)}


def parts(variables):
    """Name the sizes of a variable's shards."""
    return {
        variable.path.partition("/")[2]: {
            shard.data.shape for shard in variable.value.addressable_shards
        }
        for variable in variables
    }


def assert_same_training(run, expected):
    # Sums of the same float32 numbers in another order.
    np.testing.assert_allclose(run.losses, expected.losses, rtol=1e-6)
    for actual, weight in zip(run.weights, expected.weights, strict=True):
        np.testing.assert_allclose(actual, weight, atol=1e-6)
    # What a monitor reads: of the whole batch, too.
    for name, number in expected.routing.items():
        np.testing.assert_allclose(run.routing[name], number, rtol=1e-6)
    assert expected.losses[1] < expected.losses[0]


@pytest.mark.multi_device
@pytest.mark.parametrize(
    ("data", "expert", "arguments"),
    [
        (2, 4, DROPLESS),
        (2, 4, ROOMY),
        pytest.param(1, 8, ROOMY, marks=pytest.mark.exhaustive),
        pytest.param(8, 1, DROPLESS, marks=pytest.mark.exhaustive),
        pytest.param(8, 1, ROOMY, marks=pytest.mark.exhaustive),
    ],
)
def test_training_is_that_of_one_device(
    data, expert, arguments, train, train_on_one_device
):
    run = train(ExpertParallel(data, expert), **arguments)
    assert_same_training(run, train_on_one_device(**arguments))


@pytest.mark.multi_device
def test_each_device_holds_its_experts_and_their_optimizer_slots(
    train, train_on_one_device
):
    distribution = ExpertParallel(1, 8)
    run = train(distribution)
    assert_same_training(run, train_on_one_device())
    model = run.model
    weights = parts(model.weights)
    assert weights["experts/gate_up/kernel"] == {(1, 8, 8)}
    assert weights["experts/down/kernel"] == {(1, 4, 8)}
    assert weights["top_k_router/kernel"] == {(8, 8)}
    slots = parts(model.optimizer.variables)
    for slot in ("momentum", "velocity"):
        assert slots[f"sparse_experts_gate_up_kernel_{slot}"] == {(1, 8, 8)}
        assert slots[f"sparse_experts_down_kernel_{slot}"] == {(1, 4, 8)}
    # float32 kernels (8, 8, 8) and (8, 4, 8), an eighth of each.
    experts = model.get_layer("sparse").experts.variables
    held = distribution.bytes_per_device(experts)
    assert held == 4 * (8 * 8 * 8 + 8 * 4 * 8) // 8


@pytest.mark.exhaustive
@pytest.mark.multi_device
def test_fully_sharded_weights_are_split_over_all_devices(
    train, train_on_one_device
):
    run = train(ExpertParallel(2, 4, shard="full"))
    weights = parts(run.model.weights)
    assert weights["experts/gate_up/kernel"] == {(2, 4, 8)}
    assert weights["experts/down/kernel"] == {(2, 4, 4)}
    assert weights["top_k_router/kernel"] == {(1, 8)}
    assert_same_training(run, train_on_one_device())


@pytest.mark.exhaustive
@pytest.mark.multi_device
def test_a_saved_model_goes_on_training_on_another_mesh(train, tmp_path):
    run = train(ExpertParallel(2, 4))
    batch = np.ones((8, 6, 8), "float32"), np.ones((8, 6, 3), "float32")
    run.model.save(tmp_path / "model.keras")
    run.model.train_on_batch(*batch)
    loss = run.model.test_on_batch(*batch)
    keras.distribution.set_distribution(ExpertParallel(1, 8))
    model = keras.models.load_model(tmp_path / "model.keras")
    # Of 8 experts, one on each device; so are the slots.
    assert parts(model.weights)["experts/down/kernel"] == {(1, 4, 8)}
    slots = parts(model.optimizer.variables)
    assert slots["sparse_experts_down_kernel_momentum"] == {(1, 4, 8)}
    for actual, weight in zip(model.weights, run.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(actual), weight)
    # The next step is the same on both meshes, momentum included.
    model.train_on_batch(*batch)
    np.testing.assert_allclose(model.test_on_batch(*batch), loss, rtol=1e-6)


@pytest.mark.multi_device
def test_experts_that_cannot_be_divided_are_refused(train):
    devices = keras.distribution.list_devices()[:3]
    with pytest.raises(ValueError, match="with 8 experts, expert=3"):
        train(ExpertParallel(devices=devices))


@pytest.mark.multi_device
def test_a_batch_that_cannot_be_divided_is_refused(train):
    batch = np.zeros((6, 6, 8), "float32"), np.zeros((6, 6, 3), "float32")
    with pytest.raises(ValueError, match="divided among the 8 devices") as e:
        train(ExpertParallel(2, 4), batches=batch)
    assert "6 rows. Choose a `batch_size`" in str(e.value)


@pytest.mark.multi_device
@pytest.mark.parametrize("method", ["fit", "evaluate", "predict"])
def test_a_last_batch_that_cannot_be_divided_is_refused(method):
    keras.distribution.set_distribution(ExpertParallel(2, 4))
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    data = [np.zeros((12, 2), "float32"), np.zeros((12, 1), "float32")]
    if method == "predict":
        data = data[:1]
    # Keras does not ask for the layout of the last batch: 4 of 12 rows.
    with pytest.raises(ValueError, match="among the 8 devices") as error:
        getattr(model, method)(*data, batch_size=8, verbose=0)
    assert "Received: 4 rows. Choose a `batch_size`" in str(error.value)
    assert "(`drop_remainder=True`)" in str(error.value)


@pytest.mark.multi_device
def test_a_weight_that_is_not_split_is_found():
    distribution = ExpertParallel(1, 8)
    kernel = keras.Variable(np.zeros((8, 2, 2)), name="kernel")
    with pytest.raises(ValueError, match=r"hold \(1, 2, 2\) of kernel") as e:
        distribution.engine.check_is_split(
            kernel, ("expert", None, None), distribution.axis_sizes
        )
    assert "Received: [(8, 2, 2)] of (8, 2, 2). Make the" in str(e.value)


def test_axes_and_data_are_laid_out_on_one_device(one_device):
    assert one_device.axis_sizes == {"data": 1, "expert": 1}
    assert one_device.num_model_replicas == 1
    layout = one_device.get_data_layout((3, 2))
    assert layout.axes == (("data", "expert"), None)
    assert one_device.get_data_layout(()).axes == ()


def test_an_unknown_device_is_refused(one_device):
    with pytest.raises(ValueError, match="Received: 'cpu:99'. See `keras"):
        ExpertParallel(devices=["cpu:99"])


def test_processes_with_unequally_many_devices_are_refused(one_device):
    check = one_device.engine.check_processes
    check([0, 1, 0, 1])
    with pytest.raises(ValueError, match="as many devices of each process"):
        check([0, 0, 1])
    # A process without any: this one.
    with pytest.raises(ValueError, match="Leave `devices` out, or choose"):
        check([1])


def test_models_are_counted_without_memory_under_a_distribution(one_device):
    def make():
        layer = keras.layers.Dense(4)
        layer.build((None, 3))
        return layer

    with one_device.scope():
        build_unfilled(make)
        # At the end of the next scope Keras fills what it remembers.
        with keras.StatelessScope():
            pass


def test_tensorflow_says_what_it_can_instead(backend):
    if backend != "tensorflow":
        pytest.skip("JAX and PyTorch can")
    with pytest.raises(NotImplementedError, match="MirroredStrategy") as error:
        ExpertParallel(data=1, expert=1)
    assert f"KERAS_BACKEND={backend}" in str(error.value)


@pytest.mark.parametrize("shard", ["full", "tensor"])
def test_pytorch_shards_experts_alone(shard, backend):
    if backend != "torch":
        pytest.skip("JAX can shard all weights, TensorFlow none")
    with pytest.raises(NotImplementedError, match="Expected shard=None") as e:
        ExpertParallel(data=1, expert=1, shard=shard)
    assert f"Received: shard='{shard}'. Train on JAX" in str(e.value)
    with pytest.raises(ValueError, match="one device for each process") as e:
        ExpertParallel(devices=["cpu:0", "cpu:1"])
    assert "2 devices, 1 processes. Leave" in str(e.value)
