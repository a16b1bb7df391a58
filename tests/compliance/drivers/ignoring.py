"""Fail2Ban's decision whom to ignore, step by step on a clock of the test.

Faked are the clock, the resolver and the running of commands: a command is part of the answer, and its exit
code follows from its text. All else is Fail2Ban's.
"""

import logging
import socket
import types
import zlib

from asking import serve
from fail2ban.server import utils
from fail2ban.server.action import CommandAction
from fail2ban.server.filter import Filter
from fail2ban.server.ipdns import DNSUtils, FileIPAddrSet, IPAddr, IPAddrSet
from fail2ban.server.mytime import MyTime
from fail2ban.server.ticket import FailTicket
from fail2ban.tests.dummyjail import DummyJail

state = types.SimpleNamespace(now=0.0, names={}, lines=[], commands=[], asked=[], filter=None)


class Lines(logging.Handler):
    def emit(self, record):
        state.lines.append(record.getMessage())


def getaddrinfo(name, port, family=0, *_):
    state.asked.append(name)
    want6 = family == socket.AF_INET6
    found = [address for address in state.names.get(name, []) if (":" in address) == want6]
    if not found:
        raise socket.gaierror(-2, "Name or service not known")
    return [(family, 1, 6, "", (address, 0)) for address in found]


def execute(command, success_codes=(0,), **_):
    parts = command if isinstance(command, list) else [command]
    state.commands.append(parts)
    code = zlib.crc32("\0".join(parts).encode()) % 3
    return code in success_codes, code


def add(entry):
    """Adds an entry; whether Fail2Ban refuses it only because it stands behind a file."""
    try:
        state.filter.addIgnoreIP(entry)
    except TypeError:
        address = IPAddr(entry)
        ips, rest = state.filter._Filter__ignoreIpSet, state.filter._Filter__ignoreIpList
        if address.isSingle:
            ips.add(address)
        elif not any(address == other for other in rest if not isinstance(other, FileIPAddrSet)):
            rest.append(address)
        return True
    return False


def begin(request):
    for cache in (DNSUtils.CACHE_nameToIp, DNSUtils.CACHE_ipToName, DNSUtils.CACHE_fileToIp):
        cache.clear()
    jail = DummyJail("j")
    state.filter = Filter(jail)
    state.filter.ignoreSelf = request["ignoreself"]
    state.filter.ignoreCommand = request["command"]
    state.filter.ignoreCache = request["cache"]
    own = IPAddrSet(request["own"])
    DNSUtils.getSelfIPs = staticmethod(lambda: own)
    return {"refused": [add(entry) for entry in request["ignoreip"]]}


def step(request):
    state.now = request["time"]
    state.names = request["names"]
    MyTime.setTime(state.now)
    state.lines, state.commands, state.asked = [], [], []
    id_ = IPAddr(request["id"]) if request["is_ip"] else IPAddr(request["id"], IPAddr.CIDR_RAW)
    ticket = FailTicket(id_, state.now, data=request["data"])
    try:
        ignored = bool(state.filter._inIgnoreIPList(id_, ticket))
    except TypeError as error:
        return {"failed": str(error)}
    lines = [line for line in state.lines if " Ignore " in line]
    return {"ignored": ignored, "lines": lines, "commands": state.commands}


def answer(request):
    return begin(request["begin"]) if "begin" in request else [step(one) for one in request["steps"]]


utils.time = types.SimpleNamespace(time=lambda: state.now, sleep=lambda _: None)
socket.getaddrinfo = getaddrinfo
CommandAction.executeCmd = staticmethod(execute)
DNSUtils.setIPv6IsAllowed(True)
for name in ("filter", "ipdns", "utils"):
    logger = logging.getLogger("fail2ban." + name)
    logger.setLevel(logging.INFO)
    logger.addHandler(Lines())
    logger.propagate = False

serve(answer)
