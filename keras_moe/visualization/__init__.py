"""Pictures of how the experts are used."""

from keras_moe.visualization.expert_load import plot_expert_load

__all__ = ["plot_expert_load"]
