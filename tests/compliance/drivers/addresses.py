"""Texts as Fail2Ban reads them: addresses, networks, files of addresses."""

from asking import serve
from fail2ban.helpers import splitwords
from fail2ban.server.ipdns import FileIPAddrSet, IPAddr


def read(text):
    try:
        address = IPAddr(text)
    except ValueError as error:
        return {"error": str(error)}
    return {"family": address.familyStr, "text": str(address)}


def path(text):
    found = FileIPAddrSet.RE_FILE_IGN_IP.match(text)
    return [found.group(1), repr(FileIPAddrSet(found.group(1)))] if found else None


def inside(pair):
    inner, outer = map(IPAddr, pair)
    return bool(outer.isValid and inner.isValid and inner.isInNet(outer))


def answer(request):
    return {
        "read": [read(text) for text in request.get("texts", [])],
        "paths": [path(text) for text in request.get("paths", [])],
        "inside": [inside(pair) for pair in request.get("pairs", [])],
        "words": [splitwords(text, ignoreComments=True) for text in request.get("lists", [])],
    }


serve(answer)
