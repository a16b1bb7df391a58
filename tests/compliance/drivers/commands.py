"""Commands as Fail2Ban's own server obeys them, with a fixed clock and without a socket.

Threads are not started: what they would do, bans after failures and the end of bans, is done here right after each
command. Names have fixed addresses, and no command is run. With `all_end`, bans end also in jails that are idle or were
not started.
"""

import logging

from asking import serve
from fail2ban.server.action import CommandAction
from fail2ban.server.ipdns import DNSUtils, FileIPAddrSet, IPAddr
from fail2ban.server.jail import Jail
from fail2ban.server.mytime import MyTime
from fail2ban.server.server import Server
from fail2ban.server.transmitter import Transmitter

EVERYBODY = 0x7FFFFFFF


def start(jail):
    jail.lives = True


def plain(value):
    """A typed value as JSON: what JSON does not have is an object with one key."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return {"float": repr(value)}
    if isinstance(value, IPAddr):
        return str(value)
    if isinstance(value, FileIPAddrSet):
        return repr(value)
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [plain(item) for item in value]}
    if isinstance(value, dict):
        return {"dict": [[plain(key), plain(item)] for key, item in value.items()]}
    return {"other": type(value).__name__}


def typed(value):
    if isinstance(value, list):
        return [typed(item) for item in value]
    if isinstance(value, dict):
        (kind, inner), *_ = value.items()
        if kind == "float":
            return float(inner)
        if kind == "tuple":
            return tuple(typed(item) for item in inner)
        return {typed(key): typed(item) for key, item in inner}
    return value


class Session:
    def __init__(self, now, database, all_end):
        MyTime.setTime(now)
        self.all_end = all_end
        self.server = Server()
        self.transmitter = Transmitter(self.server)
        for command in (["loglevel", "INFO"], ["logtarget", "STDOUT"], ["syslogsocket", "auto"]):
            self.transmitter.proceed(["set", *command])
        if database:
            self.transmitter.proceed(["set", "dbfile", database])

    def obey(self, command):
        if isinstance(command, dict) and "tick" in command:
            MyTime.setTime(MyTime.time() + command["tick"])
            self.settle()
            return None
        code, value = self.transmitter.proceed(typed(command))
        self.settle()
        if code:
            arguments = value.__reduce__()[1]
            return {"error": type(value).__name__, "arguments": plain(list(arguments)), "text": str(value)}
        return {"value": plain(value)}

    def settle(self):
        for jail in self.server._Server__jails.values():
            jail.filter.performSvc(True)
            if jail.isAlive() and not jail.idle:
                while jail.hasFailTickets:
                    jail.actions._Actions__checkBan()
                jail.actions._Actions__checkUnBan(EVERYBODY)
            elif self.all_end:
                jail.actions._Actions__checkUnBan(EVERYBODY)


def answer(request):
    session = Session(request["now"], request.get("database"), request.get("all_end", False))
    return [session.obey(command) for command in request["commands"]]


logging.disable(logging.CRITICAL)
ADDRESSES = {"host.example": ["192.0.2.50", "2001:db8::50"], "other.example": ["198.51.100.9"]}
DNSUtils.dnsToIp = staticmethod(lambda name: {IPAddr(address) for address in ADDRESSES.get(name, [])})
DNSUtils.getSelfIPs = staticmethod(set)
CommandAction.executeCmd = staticmethod(lambda command, **_: (True, 0 if command.startswith("/bin/true") else 1))
Jail.start = start
Jail.isAlive = lambda jail: getattr(jail, "lives", False)
serve(answer)
