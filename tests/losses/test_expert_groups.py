"""DeepSeek-V2's losses for experts that are spread over devices."""

import numpy as np
import pytest

from keras_moe.losses import communication_balancing_loss
from keras_moe.losses import device_balancing_loss
from keras_moe.routing import choose_top_k

LOSSES = [device_balancing_loss, communication_balancing_loss]


@pytest.mark.parametrize("loss", LOSSES)
def test_balanced_devices_cost_one_whatever_their_experts_are(loss):
    # Experts 0 and 2 get everything: one on each of two devices.
    plan = choose_top_k(9 * np.eye(4, dtype="float32")[[0, 2, 0, 2]], top_k=1)
    assert float(loss(plan, 2)) == pytest.approx(1.0, rel=1e-6)


def test_a_token_is_sent_to_a_device_once():
    # Token 0 needs two experts of device 0, token 1 one of each device:
    # f = 2 / 2 * (1, 1/2), P = (0.75, 0.25).
    probs = [[[0.5, 0.5 - 1e-6, 1e-6, 0], [0.5, 0, 0.5, 0]]]
    plan = choose_top_k(
        np.asarray(probs, "float32"), 2, score_function=lambda logits: logits
    )
    loss = communication_balancing_loss(plan, 2)
    assert float(loss) == pytest.approx(0.75 + 0.25 / 2, rel=1e-5)
    # f of the other loss counts both: 4 / 2 * (3/4, 1/4).
    loss = device_balancing_loss(plan, 2)
    assert float(loss) == pytest.approx(1.5 * 0.75 + 0.5 * 0.25, rel=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_groups_divide_the_experts(loss):
    plan = choose_top_k(np.zeros((1, 3, 4), "float32"), 1)
    with pytest.raises(ValueError, match="divide the number") as error:
        loss(plan, 3)
    assert "num_groups=3, num_experts=4" in str(error.value)
