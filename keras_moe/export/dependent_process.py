"""Run a Python program that ends when the process that started it ends.

Run as `python dependent_process.py -m module ...`, `-c code` or `file ...`.
The standard input must be a pipe whose other end nobody but the starting
process holds: however that process ends, the kernel closes the pipe.
"""

import os
import runpy
import sys
import threading


def end_with_standard_input():
    """End this process at once when its standard input ends."""

    def wait():
        # Not through `sys.stdin`, whose lock the interpreter wants at its end.
        while os.read(0, 1):
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def run(arguments):
    """Run what follows `python` on a command line.

    Args:
        arguments: list of str, beginning with `-m`, `-c` or a file.
    """
    first, *rest = arguments
    if first == "-c":
        code, *rest = rest
        sys.argv = ["-c", *rest]
        exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
    elif first == "-m":
        module, *rest = rest
        sys.argv = [module, *rest]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        sys.argv = [first, *rest]
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    end_with_standard_input()
    run(sys.argv[1:])
