"""Pictures of how the experts are used."""

from keras_moe.visualization.expert_load import plot_expert_load
from keras_moe.visualization.expert_load_image import expert_load_image

__all__ = ["expert_load_image", "plot_expert_load"]
