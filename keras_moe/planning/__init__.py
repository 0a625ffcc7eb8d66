"""What training would need of machines that are not there."""

from keras_moe.planning.plan_training import plan_training
from keras_moe.planning.training_plan import TrainingPlan

__all__ = ["TrainingPlan", "plan_training"]
