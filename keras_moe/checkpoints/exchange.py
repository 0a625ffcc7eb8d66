"""New files in the place of older ones: all of them or none."""

import contextlib
import json
import os
import shutil
import tempfile
from pathlib import Path

UNFINISHED = ".unfinished-"
# Older files: while new ones take their places, and afterwards.
OLDER = ".older-"
REPLACED = ".replaced-"
MANIFEST = "manifest.json"


@contextlib.contextmanager
def exchange(path, owned, entry_points=()):
    """Write files to a hidden folder, then put them in place of older ones.

    Without the entry points, no reader takes the folder for whole. They are
    the first of the older files to go and the last of the new ones to come:
    a reader finds the older files, the new ones or an incomplete folder. If
    the process is killed in between, `restore` brings the older files back.

    Args:
        path: existing folder.
        owned: `owned(name)` tells whether a file belongs to what is replaced.
            If it is not written again, it is removed.
        entry_points: tuple of names; if several are there, readers take the
            last.

    Yields:
        `pathlib.Path` of the folder to write to.

    Example:

    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "words.txt").write_text("old")
    >>> with exchange(folder, owned=lambda name: False) as unfinished:
    ...     _ = (unfinished / "words.txt").write_text("new")
    >>> [(file.name, file.read_text()) for file in folder.iterdir()]
    [('words.txt', 'new')]
    """
    path = Path(path)
    with _locked(path):
        _restore(path)
        _tidy_up(path)
        unfinished = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=path))
        try:
            yield unfinished
            _take_place(unfinished, path, owned, entry_points)
        finally:
            _tidy_up(path)


def restore(path):
    """Bring back the older files that a killed `exchange` had moved away.

    Waits while another process exchanges files.

    Args:
        path: folder, or a path where there is none.

    Example:

    >>> restore(tempfile.mkdtemp())
    """
    path = Path(path)
    if path.is_dir() and any(path.glob(f"{OLDER}*")):
        with _locked(path):
            _restore(path)


def _take_place(unfinished, path, owned, entry_points):
    last = {name: i for i, name in enumerate(entry_points)}
    new = sorted(
        (each.name for each in unfinished.iterdir()),
        key=lambda name: (name in last, name),
    )
    replaced = [
        each.name
        for each in path.iterdir()
        if each.is_file() and (each.name in new or owned(each.name))
    ]
    old = sorted(replaced, key=lambda name: (last.get(name, len(last)), name))
    older = Path(tempfile.mkdtemp(prefix=OLDER, dir=path))
    try:
        # Whole or absent: as long as it is absent, nothing has moved.
        manifest = older / "unfinished"
        manifest.write_text(json.dumps({"old": old, "new": new}))
        os.replace(manifest, older / MANIFEST)
        for name in old:
            os.replace(path / name, older / name)
        for name in new:
            os.replace(unfinished / name, path / name)
        os.replace(older, _replaced(older))  # From here on, the new ones count.
    except BaseException:
        _restore(path)
        raise


def _restore(path):
    """Undo what `_take_place` did; killed in between, begin again."""
    for older in path.glob(f"{OLDER}*"):
        manifest = older / MANIFEST
        moves: dict[str, list] = {"old": [], "new": []}
        if manifest.is_file():
            moves = json.loads(manifest.read_text())
        for name in reversed(moves["new"]):
            # An older file that has not moved has the same name.
            if name not in moves["old"] or (older / name).is_file():
                (path / name).unlink(missing_ok=True)
        for name in reversed(moves["old"]):
            if (older / name).is_file():
                os.rename(older / name, path / name)
        os.rename(older, _replaced(older))
    _tidy_up(path, REPLACED)


def _replaced(older):
    return older.with_name(older.name.replace(OLDER, REPLACED))


def _tidy_up(path, *prefixes):
    """Remove what is unfinished or replaced, of killed processes too."""
    for prefix in prefixes or (UNFINISHED, REPLACED):
        for each in path.glob(f"{prefix}*"):
            shutil.rmtree(each, ignore_errors=True)


@contextlib.contextmanager
def _locked(path):
    """Keep other processes from exchanging files in the same folder."""
    folder = None
    # Where there are no locks, as on some network drives, nobody waits.
    with contextlib.suppress(ImportError, OSError):
        import fcntl

        folder = os.open(path, os.O_RDONLY)
        fcntl.flock(folder, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if folder is not None:
            os.close(folder)
