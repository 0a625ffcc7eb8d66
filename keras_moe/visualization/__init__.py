"""Pictures of how the experts are used, and of what training needs."""

from keras_moe.visualization.expert_load import plot_expert_load
from keras_moe.visualization.expert_load_image import expert_load_image
from keras_moe.visualization.training_plan import plot_training_plan

__all__ = ["expert_load_image", "plot_expert_load", "plot_training_plan"]
