"""Real servers: each question starts one, speaks to one over its socket, or asks whether one has ended.

A server is Fail2Ban's own program in a process of its own, forked from here so that its modules are loaded only once.
"""

import os
import signal
import sys

from asking import serve
from fail2ban.client.csocket import CSocket
from fail2ban.client.fail2banserver import exec_command_line
from fail2ban.server import asyncserver, database, filterpoll, jails, observer, server

LOADED = (asyncserver, database, filterpoll, jails, observer, server)


CHILDREN = set()


def start(arguments, environment, out):
    """Becomes fail2ban-server with these arguments, in a child; its number."""
    child = os.fork()
    if child:
        CHILDREN.add(child)
        return child
    code = 70
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        output = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout = sys.stderr = open(1, "w", closefd=False)
        os.environ.update(environment)
        exec_command_line(["fail2ban-server", *arguments])
        code = 0
    except SystemExit as end:
        code = end.code or 0
    finally:
        os._exit(code)


def send(path, command):
    """What the server answers to a command: its code, and its value as text."""
    socket = CSocket(path, timeout=60)
    try:
        code, value = socket.send(command)
        return [code, str(value)]
    finally:
        socket.close()


def ended(child):
    """The exit code of a server, if it has ended."""
    found, status = os.waitpid(child, os.WNOHANG)
    if not found:
        return None
    CHILDREN.discard(child)
    return os.waitstatus_to_exitcode(status)


def answer(question):
    verb, *rest = question
    return {"start": start, "send": send, "ended": ended}[verb](*rest)


serve(answer)
for left in CHILDREN:
    os.kill(left, signal.SIGKILL)
