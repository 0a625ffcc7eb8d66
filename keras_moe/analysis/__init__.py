"""What experts learn: tokens, domains, positions, checkpoints."""

from keras_moe.analysis.agreement import Agreement
from keras_moe.analysis.agreement import routing_agreement
from keras_moe.analysis.analyze import Analysis
from keras_moe.analysis.analyze import analyze
from keras_moe.analysis.expert_use import dead_experts
from keras_moe.analysis.expert_use import dropped_by_position
from keras_moe.analysis.expert_use import effective_experts
from keras_moe.analysis.expert_use import expert_load
from keras_moe.analysis.report import make_report
from keras_moe.analysis.report import render_page
from keras_moe.analysis.routing_history import RoutingHistory
from keras_moe.analysis.token_information import TokenInformation
from keras_moe.analysis.token_information import token_information
from keras_moe.analysis.token_table import count_choices
from keras_moe.analysis.token_table import top_tokens

__all__ = [
    "Agreement",
    "Analysis",
    "RoutingHistory",
    "TokenInformation",
    "analyze",
    "count_choices",
    "dead_experts",
    "dropped_by_position",
    "effective_experts",
    "expert_load",
    "make_report",
    "render_page",
    "routing_agreement",
    "token_information",
    "top_tokens",
]
