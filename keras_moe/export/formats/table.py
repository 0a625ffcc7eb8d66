"""The table of file formats: what each needs, and what its files are called."""

import pathlib
from typing import NamedTuple

FOLDER = pathlib.Path(__file__).parent
GIGABYTES = 10**9
# What a server without training software does not have.
FRAMEWORKS = ("keras", "keras_hub", "keras_moe", "jax", "torch", "tensorflow")


class Format(NamedTuple):
    """One row of the table.

    Attributes:
        code: `pathlib.Path` of the file with `write` and `open_model`.
        suffix: string, of the file's name.
        backend: string, of the process that writes: `"tensorflow"` converts
            a SavedModel, `"torch"` traces the model.
        packages: tuple of strings, the modules that writing and running need.
        install: string, what pip installs them by.
        runtime: string, the one framework that running needs, or `""`.
        options: tuple of strings, further arguments of `write`.
        most_bytes: int, the largest model that a file can hold.
    """

    code: pathlib.Path
    suffix: str
    backend: str
    packages: tuple
    install: str
    runtime: str = ""
    options: tuple = ()
    most_bytes: int = 10**15

    @property
    def forbidden(self):
        """The packages that a file of this format must run without."""
        return [name for name in FRAMEWORKS if name != self.runtime]


FORMATS = {
    "onnx": Format(
        FOLDER / "onnx_file.py",
        ".onnx",
        "tensorflow",
        ("tensorflow", "tf2onnx", "onnxruntime"),
        "keras-moe[onnx]",
        options=("opset_version",),
        # Protocol buffers end at 2 GiB.
        most_bytes=2 * GIGABYTES,
    ),
    "openvino": Format(
        FOLDER / "openvino_files.py",
        ".xml",
        "tensorflow",
        ("tensorflow", "openvino"),
        "keras-moe[openvino]",
    ),
    "litert": Format(
        FOLDER / "litert_file.py",
        ".tflite",
        "tensorflow",
        ("tensorflow",),
        "keras-moe[export]",
        runtime="tensorflow",
        # So do FlatBuffers.
        most_bytes=2 * GIGABYTES,
    ),
    "torch": Format(
        FOLDER / "torch_program.py",
        ".pt2",
        "torch",
        ("torch",),
        "keras-moe[torch]",
        runtime="torch",
    ),
}
"""The formats that `export_model` writes besides the SavedModel."""
