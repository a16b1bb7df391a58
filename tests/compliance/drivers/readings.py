"""What Fail2Ban's filters make of log lines, with the clock fixed and nobody asked for names."""

import logging
import time
from datetime import datetime

from asking import serve
from fail2ban.client.filterreader import FilterReader
from fail2ban.server.filter import Filter
from fail2ban.server.ipdns import DNSUtils, IPAddr
from fail2ban.server.mytime import MyTime
from fail2ban.server.utils import Utils

# How a session stands inside Fail2Ban, where these are no captured texts; only what comes of it is compared.
INNER = ("matches", "nofail-matches", "mlfpending", "failures")
SETTERS = {
    "usedns": "setUseDns",
    "addfailregex": "addFailRegex",
    "addignoreregex": "addIgnoreRegex",
    "maxlines": "setMaxLines",
    "datepattern": "setDatePattern",
}
# Lines are kept between questions: many filters read the same.
KEPT = {}


class Errors(logging.Handler):
    """Keeps what a filter logs as an error."""

    def __init__(self):
        super().__init__(logging.ERROR)
        self.said = []

    def emit(self, record):
        self.said.append(str(record.msg))


class Tickets:
    """Takes the tickets that a filter hands to its counter."""

    def __init__(self):
        self.list = []

    def addFailure(self, ticket):
        self.list.append([identity(ticket.getID()), stamp(ticket.getTime()), ticket.getMatches(), data(ticket)])
        return 0

    def getMaxRetry(self):
        return 1

    def cleanup(self, _):
        pass

    def setMaxTime(self, _):
        pass


class Reader(Filter):
    """A filter without a jail that tells what it found."""

    def __init__(self, usedns):
        super().__init__(None, useDns=usedns)
        self.ignoreSelf = False
        self.sleeptime = 0
        self.failManager = Tickets()
        self.found, self.warned, self.broken = [], [], False

    def processLine(self, line, date=None):
        self.found = []
        self.found = super().processLine(line, date)
        return self.found

    def commonError(self, reason="common", exc=None):
        self.broken = True

    def _logWarnOnce(self, kind, *_):
        self.warned.append(kind)


def identity(found):
    """An id with what Fail2Ban takes it for."""
    if found is None:
        return None
    if isinstance(found.raw, Name):
        return ["name", str(found.raw)]
    if not (found.isIPv4 or found.isIPv6):
        return ["text", str(found)]
    return ["address" if found.isSingle else f"network /{found.plen}", str(found)]


class Name(str):
    """A host name that would have been looked up."""


def stamp(at):
    return None if at is None else round(at * 1_000_000)


def value(field):
    if isinstance(field, set):
        return {"set": [value(item) for item in sorted(field, key=str)]}
    if isinstance(field, (tuple, list)):
        return {"tuple": [value(part) for part in field]}
    return str(field) if isinstance(field, IPAddr) else field


def captured(fields):
    return [[name, value(field)] for name, field in fields.items() if name not in INNER or isinstance(field, str)]


def data(ticket):
    return dict(captured(ticket.getData()))


def reader(question):
    made = Reader(question["usedns"])
    made.checkAllRegex = question["tool"]
    made.checkFindTime = not question["tool"]
    made.inOperation = question["operating"]
    made.setFindTime(question["findtime"])
    if "commands" in question:
        commands = question["commands"]
    else:
        conf = FilterReader(question["filter"], "jail", question["options"], basedir=question["configuration"])
        conf.read()
        conf.getOptions({})
        commands = conf.convert()
    for command in commands:
        values = command[3] if command[0] == "multi-set" else [command[3]]
        for text in values:
            if command[2] == "prefregex":
                made.prefRegex = text
            elif command[2] in SETTERS:
                getattr(made, SETTERS[command[2]])(text)
    return made


def read(made, line, question, errors):
    """One line; None where nothing came of it."""
    made.failManager.list, made.warned, made.broken, made.found = [], [], False, []
    errors.said.clear()
    if question["journal"]:
        entry, at = ("", datetime.utcfromtimestamp(MyTime.time()).isoformat(), line), MyTime.time()
    else:
        entry, at = line, None
    if question["tool"]:
        try:
            made.processLine(entry, at)
        except Exception:
            made.broken = True
    else:
        made.processLineAndAdd(entry, at)
    hits = [
        [
            number,
            identity(found),
            stamp(at),
            isinstance(at, int),
            captured(fail) if question["tool"] else [],
            ["".join(line) for line in fail.get("matches", ())] if question["tool"] else [],
        ]
        for number, found, at, fail in made.found
    ]
    told = made.warned + ["unreadable date" for said in errors.said if "failed to parse timeText" in said]
    if not (hits or told or made.broken or made.failManager.list):
        return None
    return {"refused": made.broken, "told": told, "hits": hits, "tickets": made.failManager.list}


def answer(question):
    if "lines" in question:
        KEPT["lines"] = question["lines"]
        return {"year": datetime.now().year}
    if "condition" in question:
        return {"holds": bool(eval(question["condition"], {}, question["names"]))}
    clock["now"] = float(question["now"])
    MyTime.setTime(clock["now"])
    made = reader(question)
    readings = []
    for number, line in enumerate(KEPT["lines"]):
        reading = read(made, line, question, errors)
        if reading is not None:
            readings.append([number, reading])
        clock["now"] += question["step"]
        MyTime.setTime(clock["now"])
    return {
        "regexes": len(made.getFailRegex()),
        "readings": readings,
        "sessions": [str(name) for name in made.mlfidCache._cache],
    }


clock = {"now": 0.0}
time.time = lambda: clock["now"]
DNSUtils.dnsToIp = staticmethod(lambda name: {IPAddr(Name(name), IPAddr.CIDR_RAW)})
Utils.DEFAULT_SLEEP_TIME = 0
errors = Errors()
logger = logging.getLogger("fail2ban")
logger.addHandler(errors)
logger.setLevel(logging.ERROR)
serve(answer)
