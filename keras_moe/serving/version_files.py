"""Which versions a folder holds, and whether their files have changed."""


def list_versions(folder):
    """List the versions in a folder, newest first.

    Args:
        folder: `pathlib.Path`; it may be gone.

    Returns:
        list of ints.
    """
    if not folder.is_dir():
        return []
    return sorted(
        (
            int(entry.name)
            for entry in folder.iterdir()
            # Others are files, or folders that an export is writing.
            if entry.name.isdecimal()
            and entry.name == str(int(entry.name))
            and (entry / "saved_model.pb").is_file()
        ),
        reverse=True,
    )


def take_fingerprint(folder):
    """Return what changes when a file of a version does.

    Args:
        folder: `pathlib.Path` of a version.

    Returns:
        tuple, to be compared with another.

    Raises:
        OSError: If a file is removed meanwhile.
    """
    prints = []
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            stat = file.stat()
            name = str(file.relative_to(folder))
            prints.append((name, stat.st_size, stat.st_mtime_ns, stat.st_ino))
    return tuple(prints)
