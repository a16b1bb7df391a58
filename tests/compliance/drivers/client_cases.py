"""Fail2Ban's own end-to-end cases of its client and server, with other programs in the place of its entry points.

The cases are those of fail2ban.tests.fail2banclienttestcase, which come with the package. They call the entry points as
functions of their own process and look for texts in its log. Here each call runs a program of the folder PROGRAMS
instead; what it prints and logs is fed into the log that the cases look at, and so is the log of a server, which goes
to standard output in these cases (INHERITED).

Asked {"case": its name, "programs": folder, "configuration": folder}, it answers {"passed": true}, or with false and
"why". Asked {"cases": true}, it lists the cases that can be carried and, with the reason, those that cannot.
"""

import contextlib
import io
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import unittest

from asking import serve

# What no program can be put in the place of.
BEYOND = {
    "testConsistency": "looks for the programs' files, and runs none",
    "testVisualWait": "calls a class of Fail2Ban's that draws a progress bar, and runs no program",
    "testServerObserver": "moves the clock of its own process, which another process does not share",
}

# So many lines of a program are told with its end.
LAST = 50


def cases():
    """The module of the cases, made ready as Fail2Ban's own runner does, but with the true time."""
    from fail2ban.server.mytime import MyTime
    from fail2ban.tests import utils

    options, _ = utils.getOptParser().parse_args(["-v", "--verbosity", "0", "--no-network"])
    utils.initTests(utils.initProcess(options))
    from fail2ban.tests import fail2banclienttestcase as module

    for place in (utils, module):
        place.tearDownMyTime = lambda: MyTime.setAlternateNow(None)
    utils.setUpMyTime = lambda: None
    MyTime.setAlternateNow(None)
    # Nobody's thread but another process: it is given a moment instead.
    module._observer_wait_idle = lambda: time.sleep(0.24)
    return module


def feed(stream, log, lines):
    for line in io.TextIOWrapper(stream, encoding="utf-8", errors="replace"):
        lines.append(line)
        log.info("%s", line.rstrip("\n"))


def loud(arguments):
    """The cases look at what is logged down to DEBUG, whatever level their command lines name."""
    arguments = list(arguments)
    if "--loglevel" in arguments:
        arguments[arguments.index("--loglevel") + 1] = "DEBUG"
    return ["-vv", *arguments]


def entry(module, programs):
    """What stands in for an entry point: it runs the program and ends as the entry point would."""

    def run(argv):
        name, *arguments = argv
        typed = ""
        if "-i" in arguments:
            typed = "\n".join([*module.INTERACT, ""])
            module.INTERACT.clear()
        process = subprocess.Popen(
            [os.path.join(programs, name), *loud(arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        lines = []
        feeders = [
            threading.Thread(target=feed, args=(stream, module.logSys, lines), daemon=True)
            for stream in (process.stdout, process.stderr)
        ]
        for feeder in feeders:
            feeder.start()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(typed.encode())
            process.stdin.close()
        code = process.wait()
        for feeder in feeders:
            # A server in the background may keep a stream open.
            feeder.join(1)
        module.logSys.debug("Exit with code %s", code)
        # An end that the case does not await is told with what was said.
        raise (module.SUCCESS if code == 0 else module.FAILED)("".join(lines[-LAST:]))

    return run


def suspend(kill):
    """Signals that suspend a server and wake it go to its children too: ours is two processes, and both answer."""

    def run(pid, number):
        if number in (signal.SIGSTOP, signal.SIGCONT):
            with open(f"/proc/{pid}/task/{pid}/children") as children:
                for child in children.read().split():
                    kill(int(child), number)
        kill(pid, number)

    return run


class Programs:
    """Fail2Ban's helper for commands, which starts the program itself where a case starts Python with it."""

    def __init__(self, helper):
        self._helper = helper

    def __getattr__(self, name):
        return getattr(self._helper, name)

    def executeCmd(self, command, *arguments, **options):
        if isinstance(command, tuple) and command[0] == sys.executable:
            command = command[1:]
        return self._helper.executeCmd(command, *arguments, **options)


MODULE = cases()
HELPER = MODULE.Utils
KILL = os.kill


def classes():
    return (MODULE.Fail2banClientTest, MODULE.Fail2banServerTest)


def carried():
    names = []
    for of in classes():
        names += [f"{of.__name__}.{name}" for name in unittest.defaultTestLoader.getTestCaseNames(of)]
    return names


def run(question):
    of, name = question["case"].split(".")
    programs = question["programs"]
    MODULE.BIN = programs
    MODULE.Utils = Programs(HELPER)
    os.kill = suspend(KILL)
    for place, program in zip(classes(), (MODULE.CLIENT, MODULE.SERVER)):
        place.exec_command_line = (entry(MODULE, programs), program)
    result = unittest.TestResult()
    unittest.TestSuite([getattr(MODULE, of)(name)]).run(result)
    told = [text for _, text in result.failures + result.errors]
    told += [f"skipped: {reason}" for _, reason in result.skipped]
    return {"passed": not told, "why": "\n".join(told)}


def answer(question):
    if "cases" in question:
        names = carried()
        beyond = {name: BEYOND[name.split(".")[1]] for name in names if name.split(".")[1] in BEYOND}
        return {"carried": [name for name in names if name not in beyond], "beyond": beyond}
    return run(question)


logging.raiseExceptions = False
serve(answer)
