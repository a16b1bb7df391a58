"""The configuration of a folder as `fail2ban-client -d` prints it, many folders in one process.

Asked {"arguments": […]}, it answers as the command line would: {"out": what is printed, "ended": true, false or null,
"log": what is logged, from warnings on}. With {"root": a folder}, log files are looked for below that folder.
"""

import contextlib
import io
import logging
import os
import resource
import signal

from asking import serve
from fail2ban.client import fail2bancmdline, jailreader
from fail2ban.version import version

fail2bancmdline.PRODUCTION = False
logger = logging.getLogger("fail2ban")
logger.setLevel(logging.WARNING)
logger.propagate = False
found = jailreader.JailReader._glob

# Seconds for one folder, and bytes for all of them: thousands of times what an ordinary folder takes.
PATIENCE = 20
MEMORY = 1 << 30


class Notes(logging.Handler):
    """Keeps what is logged."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        self.lines.append(f"{record.levelname} {record.getMessage()}")


def below(root):
    """Looks for log files below a folder, by Fail2Ban's own way of looking."""
    prefix = len(root.rstrip("/"))
    return lambda path: [name[prefix:] for name in found(path and root + "/" + path.lstrip("/"))]


class Endless(Exception):
    """Tags that feed on each other would take all time and all memory."""


def give_up(signum, frame):
    raise Endless("no end in sight")


def run(arguments):
    notes, out = Notes(), io.StringIO()
    logger.addHandler(notes)
    signal.alarm(PATIENCE)
    try:
        with contextlib.redirect_stdout(out):
            ended = fail2bancmdline.Fail2banCmdLine().initCmdLine(["fail2ban-client", *arguments])
    finally:
        signal.alarm(0)
        logger.removeHandler(notes)
    return {"out": out.getvalue(), "ended": ended if ended is None else bool(ended), "log": notes.lines}


def answer(question):
    root = question.get("root")
    jailreader.JailReader._glob = staticmethod(below(root) if root else found)
    os.chdir(question.get("folder", "/"))
    return run(question["arguments"]) | {"version": version}


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGALRM, give_up)
    serve(answer)
