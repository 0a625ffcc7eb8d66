"""Layouts that may split one dimension over several axes of the mesh."""

import keras


class MeshLayout(keras.distribution.TensorLayout):
    """Says over which axes of a mesh each dimension of a tensor is split.

    `keras.distribution.TensorLayout` takes one axis name for a dimension.
    This one also takes a tuple of names, which splits the dimension over all
    of these axes: the batch over data and expert devices.

    Args:
        axes: tuple with one entry for each dimension: the name of an axis, a
            tuple of names, or `None` for a dimension that is not split.
        mesh: `keras.distribution.DeviceMesh`.

    Example:

    >>> mesh = keras.distribution.DeviceMesh(
    ...     (1, 1), ("data", "expert"), ["cpu:0"]
    ... )
    >>> MeshLayout((("data", "expert"), None), mesh).axes
    (('data', 'expert'), None)
    """

    def __init__(self, axes, mesh):
        # Without a mesh, Keras does not look the names up one by one.
        super().__init__(axes)
        self._mesh = mesh

    @property
    def device_mesh(self):
        return self._mesh
