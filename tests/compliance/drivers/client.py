"""Fail2Ban's client and server programs, one process for each command line, forked from this one.

Asked {"program": its name, "arguments": […], "input": text, "folder": where it runs}, it answers {"code", "out", "err"}.
"""

import os
import signal
import sys
import tempfile
import traceback

from asking import serve
from fail2ban.client import fail2banclient, fail2banserver

PROGRAMS = {
    "fail2ban-client": fail2banclient.exec_command_line,
    "fail2ban-server": fail2banserver.exec_command_line,
}
# Where Fail2Ban looks for its server.
BIN = os.environ["FAIL2BAN_BIN"]


def become(question, streams):
    """The program, with files for its standard streams; a server that it starts must not hold a pipe open."""
    try:
        for number, stream in enumerate(streams):
            os.dup2(stream.fileno(), number)
        sys.stdin, sys.stdout, sys.stderr = (os.fdopen(n, mode) for n, mode in ((0, "r"), (1, "w"), (2, "w")))
        os.chdir(question.get("folder", "/"))
        sys.path[0] = BIN
        sys.argv = [os.path.join(BIN, question["program"]), *question["arguments"]]
        PROGRAMS[question["program"]](sys.argv)
    except SystemExit as end:
        sys.stdout.flush()
        os._exit(end.code or 0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def answer(question):
    streams = [tempfile.TemporaryFile() for _ in range(3)]
    streams[0].write(question.get("input", "").encode())
    streams[0].seek(0)
    child = os.fork()
    if child == 0:
        become(question, streams)
    _, status = os.waitpid(child, 0)
    texts = []
    for stream in streams[1:]:
        stream.seek(0)
        texts.append(stream.read().decode("utf-8", "replace"))
    return {"code": os.waitstatus_to_exitcode(status), "out": texts[0], "err": texts[1]}


# A server that this process's children start is not theirs to wait for.
signal.signal(signal.SIGHUP, signal.SIG_IGN)
serve(answer)
