"""Which experts, with what weight: pure functions without weights."""

from keras_moe.routing.capacity import expert_capacity
from keras_moe.routing.routing_plan import RoutingPlan
from keras_moe.routing.score_functions import get_score_function
from keras_moe.routing.score_functions import sigmoid
from keras_moe.routing.score_functions import softmax
from keras_moe.routing.slot_assignment import SlotAssignment
from keras_moe.routing.slot_assignment import assign_slots
from keras_moe.routing.slot_assignment import keep_all
from keras_moe.routing.token_choice import choose_top_k

__all__ = [
    "RoutingPlan",
    "SlotAssignment",
    "assign_slots",
    "choose_top_k",
    "expert_capacity",
    "get_score_function",
    "keep_all",
    "sigmoid",
    "softmax",
]
