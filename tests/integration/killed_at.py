"""Run a program that is killed at a chosen moment of its work with files.

Arguments: an event, a pattern of its path, how often it comes, and the program
as Python takes it: a file, or `-m` and a module, and its arguments. Python's
audit events show what Orbax does, whichever of its functions does it.
"""

import os
import re
import runpy
import signal
import sys

event, pattern, count, *program = sys.argv[1:]
left = int(count)


def kill(found, arguments):
    """Count down the moments that are meant, and die at the last one."""
    global left
    if found != event or not re.search(pattern, str(arguments[0])):
        return
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)


sys.addaudithook(kill)
if program[0] == "-m":
    sys.argv = program[1:]
    runpy.run_module(program[1], run_name="__main__", alter_sys=True)
else:
    sys.argv = program
    runpy.run_path(program[0], run_name="__main__")
