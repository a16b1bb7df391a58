"""What Fail2Ban makes of the quirks that docs/deviations.md rules upon, asked for one by one."""

import logging

from asking import serve
from fail2ban.client.configurator import Configurator
from fail2ban.server.datedetector import DateDetector
from fail2ban.server.filter import Filter
from fail2ban.server.ipdns import IPAddr
from fail2ban.server.mytime import MyTime
from fail2ban.server.utils import Utils

NOW = 1718445600


def address(text):
    ip = IPAddr(text)
    return {"text": str(ip), "valid": ip.isValid, "single": ip.isSingle}


def date(pattern, line):
    detector = DateDetector()
    detector.appendTemplate(pattern)
    match, template = detector.matchTime(line)
    if match is None:
        return None
    found = template.getDate(line, match)
    return {"cut": line[match.start(1) : match.end(1)], "time": found and found[0]}


def failures(failregex, lines):
    log_filter = Filter(None, useDns="no")
    log_filter.checkFindTime = False
    for regex in failregex:
        log_filter.addFailRegex(regex)
    found = []
    for line in lines:
        found += [str(failure[1]) for failure in log_filter.processLine(line)]
    return found


def ignored(entries, identity):
    log_filter = Filter(None, useDns="no")
    for entry in entries:
        log_filter.addIgnoreIP(entry)
    return bool(log_filter.inIgnoreIPList(IPAddr(identity, IPAddr.CIDR_RAW)))


def command(values):
    return Utils.buildShellCmd("x", {name: name for name in values})


def run(script, timeout):
    return Utils.executeCmd(script, timeout=timeout)


def dump(folder):
    configurator = Configurator()
    configurator.setBaseDir(folder)
    configurator.readEarly()
    configurator.getEarlyOptions()
    configurator.readAll()
    configurator.getOptions()
    configurator.convertToProtocol(allow_no_files=True)
    return [repr(command) for command in configurator.getConfigStream()]


QUESTIONS = {
    "address": address,
    "date": date,
    "failures": failures,
    "ignored": ignored,
    "command": command,
    "run": run,
    "dump": dump,
}


def answer(question):
    return QUESTIONS[question.pop("ask")](**question)


# The commands print more than anybody wants to see in a log.
logging.disable(logging.CRITICAL)
MyTime.setTime(NOW)
serve(answer)
