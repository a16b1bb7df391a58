"""Names, bytes and files, as Fail2Ban's filter and its reader of files take them."""

import codecs
import encodings
import encodings.aliases
import logging
import pkgutil
import tempfile

from asking import serve
from fail2ban.helpers import PREFER_ENC
from fail2ban.server.filter import FileContainer, Filter, logSys


class Warnings(logging.Handler):
    """Counts what is said while a line is decoded, at any level."""

    count = 0

    def emit(self, record):
        self.count += record.msg.startswith("Error decoding line")


SAID = Warnings()
logSys.addHandler(SAID)
logSys.propagate = False


def codec(name):
    """What the option `logencoding` makes of a name: the codec's own name, or None where it is refused."""
    try:
        return codecs.lookup(Filter(None).setLogEncoding(name)).name
    except (LookupError, ValueError):
        return None


def names():
    """All names of CPython's codecs."""
    aliases = encodings.aliases.aliases
    return sorted({*aliases, *aliases.values(), *(module.name for module in pkgutil.iter_modules(encodings.__path__))})


def decode(encoding, data):
    """The text of a line, and whether it was warned of."""
    before = SAID.count
    text = FileContainer.decode_line("x", encoding, data)
    return [text, SAID.count > before]


def lines(encoding, data):
    """The lines that are read from a file."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        log = FileContainer(file.name, encoding)
        log.open()
        return list(iter(log.readline, None))


def answer(question):
    match question["ask"]:
        case "names":
            return names()
        case "preferred":
            return PREFER_ENC
        case "codecs":
            return [codec(name) for name in question["names"]]
        case "decode":
            logSys.setLevel(1)
            return [decode(question["encoding"], bytes.fromhex(data)) for data in question["inputs"]]
        case "lines":
            logSys.setLevel(logging.CRITICAL)
            return [lines(question["encoding"], bytes.fromhex(data)) for data in question["inputs"]]


serve(answer)
