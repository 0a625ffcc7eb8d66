"""ONNX: written by tf2onnx from a SavedModel, run by onnxruntime.

Child processes load this file by its path: it imports nothing of ours.
"""

import sys


def write(saved_model, path, opset_version=None):
    """Convert a SavedModel to an ONNX file.

    Args:
        saved_model: string, folder of a SavedModel with `serving_default`.
        path: string, the file to write.
        opset_version: optional int, of the ONNX operators.
    """
    import tf2onnx.convert

    arguments = {
        "saved-model": saved_model,
        "signature_def": "serving_default",
        "tag": "serve",
        "output": path,
    }
    if opset_version is not None:
        arguments["opset"] = str(opset_version)
    # Its command is the one way that keeps the names of the outputs.
    sys.argv = ["tf2onnx.convert"]
    for name, value in arguments.items():
        sys.argv += [f"--{name}", value]
    tf2onnx.convert.main()


def open_model(path):
    """Load an ONNX file.

    Args:
        path: string.

    Returns:
        A function from a dict of arrays to a dict of arrays.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(
        path, providers=["CPUExecutionProvider"]
    )
    names = [each.name for each in session.get_outputs()]

    def run(arrays):
        return dict(zip(names, session.run(names, arrays), strict=True))

    return run
