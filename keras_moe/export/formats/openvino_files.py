"""OpenVINO: written and run by openvino, from a SavedModel.

Child processes load this file by its path: it imports nothing of ours.
"""


def write(saved_model, path):
    """Convert a SavedModel to an `.xml` file and a `.bin` file next to it.

    Args:
        saved_model: string, folder of a SavedModel with `serving_default`.
        path: string, the `.xml` file to write.
    """
    import openvino

    model = openvino.convert_model(saved_model)
    # Weights keep their precision: `save_model` halves them by default.
    openvino.save_model(model, path, compress_to_fp16=False)


def open_model(path):
    """Load an OpenVINO model, to compute in float32.

    Args:
        path: string, the `.xml` file.

    Returns:
        A function from a dict of arrays to a dict of arrays.
    """
    import openvino

    # Without the hint a processor with bfloat16 uses it.
    compiled = openvino.Core().compile_model(
        path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )

    def run(arrays):
        return {
            output.any_name: array for output, array in compiled(arrays).items()
        }

    return run
