"""Work that Ctrl-C can end before it is done."""

import threading


def in_thread(function, *arguments, **keywords):
    """Call a function in a thread of its own, and wait for it.

    Python answers a signal between two of its own instructions, and a
    compiler may take minutes for one. The main thread only waits here, so it
    answers at once; the other thread ends with the process.

    Args:
        function: what to call.
        *arguments: its arguments.
        **keywords: its keyword arguments.

    Returns:
        What the function returns; what it raises is raised.

    Example:

    >>> in_thread(max, 2, 3)
    3
    """
    results, errors = [], []

    def run():
        try:
            results.append(function(*arguments, **keywords))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    # Not one endless wait: a signal just before it would not end it.
    while thread.is_alive():
        thread.join(0.1)
    if errors:
        raise errors[0]
    return results[0]
