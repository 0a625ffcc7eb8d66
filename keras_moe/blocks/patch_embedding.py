"""From images to the tokens of a Vision Transformer."""

import keras
from keras import ops

from keras_moe.ops.plain_numbers import plain_numbers
from keras_moe.routing.validation import check_positive


@keras.saving.register_keras_serializable(package="keras_moe")
class PatchEmbedding(keras.layers.Layer):
    """Cuts images into square patches and projects each to a token.

    The patches come row by row, behind a learned class token if there is one.
    A learned embedding of its position is added to every token.

    Args:
        patch_size: int p, height and width of a patch in pixels.
        hidden_dim: int H.
        use_class_token: bool.

    Call arguments:
        images: float tensor of shape (B, height, width, channels).

    Returns:
        Tensor of shape (B, L, H): L is the number of patches, and one more
        with a class token.

    Raises:
        ValueError: If the images' size is not known, or not divisible by that
            of the patches.

    Example:

    >>> import numpy as np
    >>> layer = PatchEmbedding(patch_size=2, hidden_dim=8)
    >>> tuple(layer(np.ones((1, 4, 6, 3), "float32")).shape)
    (1, 7, 8)

    References:
        Dosovitskiy et al., 2020, https://arxiv.org/abs/2010.11929, equation 1.
    """

    @plain_numbers
    def __init__(self, patch_size, hidden_dim, use_class_token=True, **kwargs):
        super().__init__(**kwargs)
        check_positive(patch_size=patch_size, hidden_dim=hidden_dim)
        self.patch_size = patch_size
        self.hidden_dim = hidden_dim
        self.use_class_token = use_class_token
        self.projection = keras.layers.Dense(
            hidden_dim, dtype=self.dtype_policy, name="projection"
        )

    def build(self, images_shape):
        rows, columns = self._grid(images_shape)
        self.image_shape = tuple(images_shape[1:])
        width = self.patch_size**2 * images_shape[-1]
        self.projection.build((None, rows * columns, width))
        self.class_token = None
        if self.use_class_token:
            self.class_token = self.add_weight(
                name="class_token",
                shape=(self.hidden_dim,),
                initializer="zeros",
            )
        self.position_embedding = self.add_weight(
            name="position_embedding",
            shape=(rows * columns + self.use_class_token, self.hidden_dim),
            initializer=keras.initializers.RandomNormal(stddev=0.02),
        )

    def call(self, images):
        if tuple(images.shape[1:]) != self.image_shape:
            raise ValueError(
                f"Expected images of shape {self.image_shape}, whose positions "
                f"were learned. Received: {tuple(images.shape[1:])}. Resize "
                "the images."
            )
        size, (rows, columns) = self.patch_size, self._grid(images.shape)
        x = ops.reshape(
            images, (-1, rows, size, columns, size, images.shape[-1])
        )
        x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
        # (B, rows, columns, p, p, channels) -> (B, L, p * p * channels)
        x = ops.reshape(x, (-1, rows * columns, size**2 * images.shape[-1]))
        x = self.projection(x)
        if self.class_token is not None:
            first = ops.zeros_like(x[:, :1]) + self.class_token
            x = ops.concatenate([first, x], axis=1)
        return x + self.position_embedding

    def _grid(self, images_shape):
        """Return how many patches an image has in height and width."""
        size = self.patch_size
        shape = tuple(images_shape[1:])
        if len(shape) != 3 or None in shape:
            raise ValueError(
                "Expected images of a fixed height, width and number of "
                f"channels. Received: shape {shape}. Resize them to one size, "
                "and give images without colours a last axis of 1."
            )
        if shape[0] % size or shape[1] % size:
            raise ValueError(
                "Expected a height and a width that are multiples of "
                f"patch_size={size}. Received: images of shape {shape}. Pad "
                "or resize the images, or choose another patch_size."
            )
        return shape[0] // size, shape[1] // size

    def compute_output_shape(self, images_shape):
        rows, columns = self._grid(images_shape)
        length = rows * columns + self.use_class_token
        return (images_shape[0], length, self.hidden_dim)

    def get_config(self):
        return {
            **super().get_config(),
            "patch_size": self.patch_size,
            "hidden_dim": self.hidden_dim,
            "use_class_token": self.use_class_token,
        }
