"""An independent NumPy oracle and contract tests, for your own parts too.

The oracle says what routing and a mixture of experts should compute, token by
token in float64, with nothing from the rest of the package. `run_layer_test`
checks what every Keras layer owes its users.
"""

from keras_moe.testing.balance_oracle import expert_bias_update
from keras_moe.testing.balance_oracle import load_balancing_loss
from keras_moe.testing.balance_oracle import max_violation
from keras_moe.testing.balance_oracle import router_entropy
from keras_moe.testing.balance_oracle import router_z_loss
from keras_moe.testing.balance_oracle import tokens_per_expert
from keras_moe.testing.capacity_oracle import capacity
from keras_moe.testing.capacity_oracle import drop
from keras_moe.testing.expert_oracle import expert
from keras_moe.testing.expert_oracle import expert_gradients
from keras_moe.testing.grouped_matmul_oracle import grouped_matmul
from keras_moe.testing.grouped_matmul_oracle import grouped_matmul_gradients
from keras_moe.testing.layer_contract import run_layer_test
from keras_moe.testing.moe_gradient_oracle import MoEGradients
from keras_moe.testing.moe_gradient_oracle import moe_gradients
from keras_moe.testing.moe_oracle import MoEResult
from keras_moe.testing.moe_oracle import moe
from keras_moe.testing.routing_oracle import Routing
from keras_moe.testing.routing_oracle import route

__all__ = [
    "MoEGradients",
    "MoEResult",
    "Routing",
    "capacity",
    "drop",
    "expert",
    "expert_bias_update",
    "expert_gradients",
    "grouped_matmul",
    "grouped_matmul_gradients",
    "load_balancing_loss",
    "max_violation",
    "moe",
    "moe_gradients",
    "route",
    "router_entropy",
    "router_z_loss",
    "run_layer_test",
    "tokens_per_expert",
]
