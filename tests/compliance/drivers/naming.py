"""Failures by name through Fail2Ban's filter, with the system's own resolver of the namespace that this runs in."""

import logging
import re
import time

from asking import serve
from fail2ban.server.filter import Filter
from fail2ban.server.ipdns import DNSUtils, IPAddr
from fail2ban.tests.dummyjail import DummyJail

lines = []


class Lines(logging.Handler):
    def emit(self, record):
        lines.append(record.getMessage())


def jail(name, options):
    dummy = DummyJail(name)
    filter_ = Filter(dummy, useDns=options["usedns"])
    filter_.setMaxRetry(1000000)
    filter_.ignoreSelf = options["ignoreself"]
    for entry in options["ignoreip"]:
        filter_.addIgnoreIP(entry)
    filter_.addFailRegex(options["failregex"])
    filter_.setFindTime(7200)
    begin = time.monotonic()
    for line in options["lines"]:
        filter_.processLineAndAdd(line)
    took = time.monotonic() - begin
    tickets = filter_.failManager._FailManager__failList
    return {"counts": {str(id_): ticket.getRetry() for id_, ticket in tickets.items()}, "seconds": took}


def answer(request):
    del lines[:]
    for cache in (DNSUtils.CACHE_nameToIp, DNSUtils.CACHE_ipToName):
        cache.clear()
    jails = {name: jail(name, options) for name, options in request["jails"].items()}
    said = [line for line in lines if re.search(r"Ignore |Determined IP|Unable to find a corr", line)]
    return {
        "jails": jails,
        "said": said,
        "ipv6": DNSUtils.IPv6IsAllowed(),
        "own": sorted(str(address) for address in DNSUtils.getSelfIPs()),
        "full": DNSUtils.getHostname(True),
        "hosts": {text: str(IPAddr(text).getHost()) for text in request["hosts"]},
    }


for name in ("filter", "ipdns"):
    logger = logging.getLogger("fail2ban." + name)
    logger.setLevel(logging.INFO)
    logger.addHandler(Lines())
    logger.propagate = False

serve(answer)
