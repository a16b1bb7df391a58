"""Timelines of failures, as Fail2Ban's own parts count and ban them with a fixed clock.

The filter, the list of failures, the list of bans, the database and the observer are Fail2Ban's. What it does in
threads is done here in line, at the same second: bans right after the failure, the observer right after that.
"""

import heapq
import logging
import math
import random

from asking import serve
from fail2ban.server.database import Fail2BanDb
from fail2ban.server.ipdns import IPAddr
from fail2ban.server.jail import Jail
from fail2ban.server.mytime import MyTime
from fail2ban.server.observer import Observers, ObserverThread

MASK = (1 << 64) - 1
TOLD = (" Found ", " Ban ", "] Ban ", " Unban ", "already banned", " is bad", "expired bantime")
EVERYBODY = 0x7FFFFFFF


def whole(time):
    """The second that a time is in; a float that missed the whole second by its last bits is in that one."""
    return math.floor(time + 1e-5)


class Dice:
    """SplitMix64, as the engine has it."""

    def __init__(self, seed):
        self.state = seed

    def draw(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        bits = self.state
        bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & MASK
        return ((bits ^ (bits >> 31)) >> 11) / (1 << 53)


class InLine(ObserverThread):
    """An observer whose events wait until the caller has them done."""

    def __init__(self):
        super().__init__()
        self.waiting = []
        self.later = []
        self.number = 0

    def add(self, *event):
        self.waiting.append(event)

    def add_timer(self, starttime, *event):
        self.number += 1
        heapq.heappush(self.later, (MyTime.time() + starttime, self.number, event))

    def work(self):
        while self.waiting:
            name, *rest = self.waiting.pop(0)
            (name if callable(name) else getattr(self, name))(*rest)

    def due(self):
        while self.later and self.later[0][0] <= MyTime.time():
            _, _, (method, *rest) = heapq.heappop(self.later)
            method(*rest)


class Living(Jail):
    """A jail whose threads are not started, and that lives all the same."""

    def isAlive(self):
        return True


class Recorder:
    """An action that notes what it is told."""

    _prolongable = True
    banEpoch = 0

    def __init__(self, jail, told):
        self.jail, self.told = jail, told

    def note(self, verb, info):
        told = [int(MyTime.time()), self.jail, verb, str(info["ip"]), info["bantime"]]
        if verb == "ban":
            told += [info["failures"], info["matches"]]
        self.told.append(told)

    def ban(self, info):
        self.note("ban", info)

    def unban(self, info):
        self.note("unban", info)

    def prolong(self, info):
        self.note("prolong", info)


class Ear(logging.Handler):
    """Keeps the lines about decisions."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        text = record.getMessage()
        if text.startswith("[") and any(word in text for word in TOLD):
            if record.levelno >= logging.INFO or "already banned" in text:
                self.lines.append([int(MyTime.time()), record.levelname, record.name, text])


EAR = Ear()
ROOT = logging.getLogger("fail2ban")
ROOT.setLevel(logging.DEBUG)
ROOT.addHandler(EAR)
ROOT.propagate = False


class Course:
    """One timeline."""

    def __init__(self, request):
        self.plans = request["jails"]
        self.told, self.looks = [], []
        EAR.lines = []
        Observers.Main = self.observer = InLine()
        self.seed = request["seed"]
        MyTime.setTime(request["start"])
        self.db = None
        if request.get("database", True):
            self.db = Fail2BanDb(":memory:")
            self.db._purgeAge = request["purgeage"]
        self.jails = {}
        self.build({})

    def build(self, counters):
        random.random = Dice(self.seed).draw
        for plan in self.plans:
            jail = Living(plan["name"], "polling", self.db)
            if self.db:
                self.db.addJail(jail)
            jail.filter.ignoreSelf = False
            if plan["name"] in counters:
                jail.filter.failManager = counters[plan["name"]]
                jail.filter.failManager.setFailTotal(0)
            jail.filter.setMaxRetry(plan["maxretry"])
            jail.filter.setFindTime(plan["findtime"])
            jail.filter.failManager.maxMatches = plan["maxmatches"]
            jail.actions.setBanTime(plan["bantime"])
            for option, value in plan["growth"]:
                jail.setBanTimeExtra(option, value)
            jail.actions._actions["note"] = Recorder(plan["name"], self.told)
            self.jails[plan["name"]] = jail

    def settle(self):
        """What was decided is done: bans, and what the observer makes of them."""
        self.observer.work()
        for jail in self.jails.values():
            while jail.hasFailTickets:
                jail.actions._Actions__checkBan()
                self.observer.work()

    def advance(self, until):
        """Second by second to a time, as far as there is anything to do."""
        while True:
            due = [jail.actions.banManager._nextUnbanTime + 0.001 for jail in self.jails.values()]
            due += [at for at, _, _ in self.observer.later[:1]]
            now = max(math.ceil(min(due)), math.floor(MyTime.time()) + 1)
            if now > until:
                break
            self.tick(now)
        self.tick(until)

    def tick(self, now):
        MyTime.setTime(now)
        lines, told = len(EAR.lines), len(self.told)
        for jail in self.jails.values():
            jail.actions._Actions__checkUnBan(EVERYBODY)
        self.observer.due()
        self.sort(lines, told)

    def sort(self, lines, told):
        """What happens at once to several has no order."""
        EAR.lines[lines:] = sorted(EAR.lines[lines:])
        self.told[told:] = sorted(self.told[told:])

    def fail(self, name, ip, time, lines):
        jail = self.jails[name]
        jail.filter.performSvc(True)
        jail.filter.processLine = lambda line, date: [(0, IPAddr(ip), time, {"matches": lines})]
        jail.filter.processLineAndAdd("")
        self.settle()

    def ban(self, name, ip):
        self.jails[name].actions.addBannedIP(IPAddr(ip))
        self.observer.work()

    def unban(self, name, ip):
        self.jails[name].actions.removeBannedIP(IPAddr(ip), ifexists=True)

    def unban_all(self, name):
        self.jails[name].actions.removeBannedIP(None)

    def restart(self, keeps):
        counters = {name: jail.filter.failManager for name, jail in self.jails.items()} if keeps else {}
        self.observer.later = []
        self.build(counters)
        for jail in self.jails.values():
            jail.restoreCurrentBans()
            self.settle()

    def set_bantime(self, name, length):
        self.jails[name].actions.setBanTime(length)

    def purge(self):
        self.db.purge()

    def look(self):
        for jail in self.jails.values():
            jail.filter.performSvc(True)
            failures, bans = jail.filter.failManager, jail.actions.banManager
            counts = [failures.size(), failures.getFailTotal(), bans.size(), bans.getBanTotal()]
            ends = sorted([str(ticket.getID()), self.end(ticket, bans.getBanTime())] for ticket in bans)
            self.looks.append([jail.name, *counts, ends])

    @staticmethod
    def end(ticket, bantime):
        return -1 if ticket.getBanTime(bantime) == -1 else whole(ticket.getEndOfBanTime(bantime))

    def records(self):
        if not self.db:
            return []
        query = "SELECT jail, ip, timeofban, bantime, bancount FROM bips ORDER BY jail, ip"
        rows = self.db._db.execute(query)
        return [[jail, ip, time, whole(bantime), count] for jail, ip, time, bantime, count in rows]


def answer(request):
    course = Course(request)
    for at, verb, *rest in request["steps"]:
        course.advance(at)
        lines, told = len(EAR.lines), len(course.told)
        getattr(course, verb)(*rest)
        if verb not in ("fail", "ban"):
            course.sort(lines, told)
    return {"log": EAR.lines, "told": course.told, "looks": course.looks, "records": course.records()}


serve(answer)
