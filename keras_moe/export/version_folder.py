"""Lay out versions of a SavedModel the way TensorFlow Serving reads them."""

import contextlib
import os
import pathlib

from keras_moe.export.exchange_folders import exchange_folders
from keras_moe.export.scratch_folder import remove_abandoned
from keras_moe.export.scratch_folder import scratch_folder
from keras_moe.export.scratch_folder import temporary_files_in

# TensorFlow Serving ignores sibling folders whose name is not a number.
STAGING_PREFIX = ".keras_moe-"
REPLACED = "replaced"


def plan_version_folder(path, version, overwrite):
    """Return the folder for a version, if it may be written.

    Args:
        path: string or `pathlib.Path`, the folder that holds the versions.
        version: int, 0 or more.
        overwrite: bool, whether an existing version may be replaced.

    Returns:
        A `pathlib.Path`, `path/<version>`.

    Raises:
        ValueError: if the path is a file, the version is not a number or
            exists already.
    """
    base = pathlib.Path(path)
    if isinstance(version, bool) or not isinstance(version, int) or version < 0:
        raise ValueError(
            "Expected version to be an integer of 0 or more. "
            f"Received: version={version!r}. TensorFlow Serving reads the "
            "highest number."
        )
    if base.exists() and not base.is_dir():
        raise ValueError(
            "Expected path to be a folder, or not to exist yet. "
            f"Received: path={str(path)!r}, which is a file. "
            "Choose another path."
        )
    target = base / str(version)
    _check_free(target, overwrite)
    return target


@contextlib.contextmanager
def staged_folder(target, overwrite):
    """Open a working folder next to `target`, moved into place at the end.

    Whoever looks at `target` sees the old content, or nothing, until the
    `with` block has ended well; after an error nothing is left behind. After
    a kill the working folder stays, until `clean_up` of another process.

    Args:
        target: `pathlib.Path` of the folder to appear.
        overwrite: bool, whether it may replace an existing one.

    Yields:
        A `pathlib.Path`. What the block writes into its subfolder
        `saved_model` becomes `target`; the rest is scratch space.

    Raises:
        ValueError: if the folder cannot be written, or somebody else has
            written it meanwhile.
    """
    created = [
        folder for folder in target.parents if not os.path.lexists(folder)
    ]
    with contextlib.ExitStack() as stack:
        stack.callback(_remove_empty, created)
        staging = stack.enter_context(working_folder(target.parent))
        with temporary_files_in(staging):
            yield staging
        _check_free(target, overwrite)
        aside = staging / REPLACED / target.name
        _move_into_place(staging / "saved_model", target, aside)


@contextlib.contextmanager
def working_folder(folder):
    """Open a hidden folder for work in another one, which is made if need be.

    Args:
        folder: `pathlib.Path` of the other folder.

    Yields:
        A `pathlib.Path`; the folder is removed in the end.

    Raises:
        ValueError: if the folder cannot be written.
    """
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            working = stack.enter_context(
                scratch_folder(folder, STAGING_PREFIX)
            )
        except OSError as error:
            raise ValueError(
                "Expected a path that can be written. "
                f"Received: path={str(folder)!r} ({error.strerror}). "
                "Choose a folder that you may write to."
            ) from error
        yield working


def clean_up(path):
    """Remove what exports that were killed have left next to the versions.

    A version that such an export had set aside, to replace it, comes back.

    Args:
        path: string or `pathlib.Path`, the folder that holds the versions.
    """
    remove_abandoned(path, STAGING_PREFIX, rescue=_bring_back)


def find_version_folder(path):
    """Return the SavedModel at a path: the path itself or its newest version.

    Args:
        path: string or `pathlib.Path`.

    Returns:
        A `pathlib.Path` of a folder that holds `saved_model.pb`.

    Raises:
        ValueError: if there is none.
    """
    base = pathlib.Path(path)
    versions = [str(number) for number in _versions(base)]
    for folder in [base, *(base / name for name in versions)]:
        if (folder / "saved_model.pb").is_file():
            return folder
    raise ValueError(
        "Expected path to hold a SavedModel, or numbered versions of one. "
        f"Received: path={str(path)!r}, where there is no saved_model.pb. "
        "Write one with keras_moe.export.export_saved_model."
    )


def _check_free(target, overwrite):
    """Refuse to write over an existing version unasked."""
    if overwrite or not target.exists():
        return
    free = max(_versions(target.parent), default=int(target.name)) + 1
    raise ValueError(
        f"Expected version {target.name} not to exist yet. "
        f"Received: path={str(target.parent)!r}, which holds it. "
        f"Pass version={free} to add one, or overwrite=True to replace it."
    )


def _move_into_place(source, target, aside):
    """Rename a folder onto another, which is kept if that fails."""
    if not target.exists():
        os.rename(source, target)
        return
    if exchange_folders(source, target):
        return
    # A folder cannot be renamed onto one that is not empty, so the old
    # version steps aside first.
    aside.parent.mkdir()
    os.rename(target, aside)
    try:
        os.rename(source, target)
    except OSError:
        os.rename(aside, target)
        raise


def _bring_back(staging):
    """Put a version back whose replacement did not take its place."""
    for aside in (staging / REPLACED).glob("*"):
        target = staging.parent / aside.name
        if not target.exists():
            os.rename(aside, target)


def _remove_empty(folders):
    for folder in folders:
        # Fails, as it should, for folders that are no longer empty.
        with contextlib.suppress(OSError):
            folder.rmdir()


def _versions(base):
    """List the version numbers in a folder, newest first."""
    if not base.is_dir():
        return []
    names = (entry.name for entry in base.iterdir() if entry.is_dir())
    return sorted((int(n) for n in names if n.isdecimal()), reverse=True)
