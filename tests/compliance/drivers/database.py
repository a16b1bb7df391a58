"""Fail2Ban's database class with a fixed clock: the operations of a run, and what it answers in between."""

import sqlite3

from asking import serve
from fail2ban.server.database import Fail2BanDb
from fail2ban.server.mytime import MyTime
from fail2ban.server.ticket import FailTicket


class Actions:
    def __init__(self, bantime):
        self.bantime = bantime

    def getBanTime(self):
        return self.bantime


class Jail:
    """As much of a jail as the database asks for."""

    def __init__(self, name, bantime, most):
        self.name, self.most, self.actions = name, most, Actions(bantime)

    def getMaxBanTime(self):
        return self.most


class Log:
    """As much of a log file as the database asks for."""

    def __init__(self, name, pos, md5):
        self.told = name, pos, md5

    def getFileName(self):
        return self.told[0]

    def getPos(self):
        return self.told[1]

    def getHash(self):
        return self.told[2]


def tell(ticket):
    if ticket is None:
        return None
    data = dict(ticket.getData())
    data.pop("matches", None)
    failures = data.pop("failures", None)
    return [ticket.getTime(), failures, ticket.getMatches(), data]


class Course:
    """One database from its opening on."""

    def __init__(self, path, jails):
        self.path = path
        self.jails = {name: Jail(name, *lengths) for name, lengths in jails.items()}
        self.db = Fail2BanDb(path)
        self.db.delAllJails()

    def clock(self, now):
        MyTime.setTime(now)

    def start(self, jail):
        self.db.addJail(self.jails[jail])

    def halt(self, jail):
        self.db.delJail(self.jails[jail])

    def limits(self, matches, age):
        self.db.maxMatches, self.db.purgeage = matches, age

    def ban(self, jail, ip, time, length, count, failures, matches, data):
        ticket = FailTicket(ip, time, matches, data=data)
        ticket.setAttempt(failures)
        ticket.setBanTime(length)
        ticket.setBanCount(count)
        self.db.addBan(self.jails[jail], ticket)

    def unban(self, jail, *ips):
        self.db.delBan(self.jails[jail], *ips)

    def log(self, jail, path, pos, md5):
        self.db.updateLog(self.jails[jail], Log(path, pos, md5))

    def purge(self):
        self.db.purge()

    def merged(self, ip, jail, fresh=True):
        if fresh:
            self.db._bansMergedCache = {}
        return tell(self.db.getBansMerged(ip=ip, jail=self.jails.get(jail)))

    def past(self, ip, jail):
        """The last ban in one jail, or of all jails together."""
        rows = self.db.getBan(ip, self.jails.get(jail), overalljails=jail is None)
        return list(rows[0]) if rows else None

    def current(self, jail):
        jail = self.jails[jail]
        grows = jail.actions.getBanTime() != jail.getMaxBanTime()
        tickets = self.db.getCurrentBans(jail=jail, forbantime=None if grows else jail.actions.getBanTime())
        return sorted([str(t.getID()), t.getBanTime(), t.getBanCount(), tell(t)] for t in tickets)

    def rows(self):
        db = sqlite3.connect(self.path)
        tables = {}
        for table in ("jails", "logs", "bans", "bips", "fail2banDb"):
            rows = db.execute("SELECT * FROM " + table).fetchall()
            tables[table] = [[c.decode("utf-8", "replace") if isinstance(c, bytes) else c for c in row] for row in rows]
        db.close()
        return tables


COURSE = {}


def answer(request):
    if "path" in request:
        MyTime.setTime(request["now"])
        COURSE["it"] = Course(request["path"], request["jails"])
    return [getattr(COURSE["it"], name)(*rest) for name, *rest in request["steps"]]


serve(answer)
