import pytest

from keras_moe.distribution.mesh_shape import mesh_shape

pytestmark = pytest.mark.once


@pytest.mark.parametrize(
    ("data", "expert", "expected"),
    [
        (2, 4, (2, 4)),
        (None, 4, (2, 4)),
        (4, None, (4, 2)),
        # All devices hold other experts.
        (None, None, (1, 8)),
    ],
)
def test_an_axis_that_is_left_out_takes_the_devices_that_are_left(
    data, expert, expected
):
    assert mesh_shape(data, expert, num_devices=8) == expected


@pytest.mark.parametrize(("data", "expert"), [(2, 2), (None, 3), (16, None)])
def test_axes_that_do_not_fit_the_devices_are_refused(data, expert):
    with pytest.raises(ValueError, match="to be the number of devices") as e:
        mesh_shape(data, expert, num_devices=8)
    assert "8 devices. Choose other sizes" in str(e.value)


@pytest.mark.parametrize(("data", "expert"), [(0, 8), (-1, None), (1, -8)])
def test_axes_of_no_device_are_refused(data, expert):
    with pytest.raises(ValueError, match="axes of at least 1 device"):
        mesh_shape(data, expert, num_devices=8)
