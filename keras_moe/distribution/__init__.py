"""Training on more than one device: where weights and tokens are."""

from keras_moe.distribution.expert_parallel import ExpertParallel
from keras_moe.distribution.expert_weights import expert_weights
from keras_moe.distribution.expert_weights import is_expert_weight
from keras_moe.distribution.mesh_layout import MeshLayout
from keras_moe.distribution.replicate import replicate
from keras_moe.distribution.rows_of_process import rows_of_process
from keras_moe.distribution.tensor_parallel import share_rows
from keras_moe.distribution.tensor_parallel import split_features
from keras_moe.distribution.tensor_parallel import split_rows
from keras_moe.distribution.tensor_parallel import split_weights

__all__ = [
    "ExpertParallel",
    "MeshLayout",
    "expert_weights",
    "is_expert_weight",
    "replicate",
    "rows_of_process",
    "share_rows",
    "split_features",
    "split_rows",
    "split_weights",
]
