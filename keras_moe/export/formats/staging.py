"""Files that appear complete or not at all."""

import contextlib
import os
import pathlib

from keras_moe.export.scratch_folder import temporary_files_in
from keras_moe.export.version_folder import clean_up
from keras_moe.export.version_folder import working_folder


@contextlib.contextmanager
def staged_file(path):
    """Open a working folder next to a file, which is put there at the end.

    Until the `with` block has ended well, the old file stays; after an error
    nothing else is left behind. What a killed process leaves is removed by
    the next export to that folder.

    Args:
        path: `pathlib.Path` of the file to appear.

    Yields:
        A pair of `pathlib.Path`: the file to write, and a scratch folder.
        Files that are written next to the first, as weights in a file of
        their own, appear next to `path`.

    Raises:
        ValueError: if the folder cannot be written.
    """
    clean_up(path.parent)
    with working_folder(path.parent) as staging:
        files = staging / "files"
        files.mkdir()
        with temporary_files_in(staging):
            yield files / path.name, staging
        # The file itself last: whoever finds it finds the others.
        written = sorted(files.iterdir(), key=lambda x: x.name == path.name)
        for file in written:
            os.replace(file, path.parent / file.name)


def check_path(path, suffix):
    """Check the name of a file to write.

    Args:
        path: string or `pathlib.Path`.
        suffix: string, such as `".onnx"`.

    Returns:
        A `pathlib.Path`.

    Raises:
        ValueError: if the name ends otherwise, or is that of a folder.
    """
    path = pathlib.Path(path)
    if path.suffix != suffix or path.is_dir():
        what = "a folder" if path.is_dir() else f"the suffix {path.suffix!r}"
        raise ValueError(
            f"Expected the path of a file whose name ends in {suffix!r}. "
            f"Received: path={str(path)!r}, {what}. "
            f"Write for example 'exported/model{suffix}'."
        )
    return path
