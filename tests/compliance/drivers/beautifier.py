"""What Fail2Ban's client prints for a reply, and the reply as its server pickles it.

Asked {"command": [words], "reply": a value} or {"command": [words], "error": [class, [values]]}, it answers {"printed":
the text, "logged": [what is logged], "wire": the pickle in hexadecimal digits}. Values that JSON does not have are
{"tuple": […]}, {"set": […]}, {"dict": [[key, value], …]}, {"float": text}, {"address": text}.
"""

import builtins
import contextlib
import io
import json
import logging
import pickle

from asking import serve
from fail2ban import exceptions
from fail2ban.client.beautifier import Beautifier
from fail2ban.server import failregex
from fail2ban.server.ipdns import IPAddr

Beautifier.encUtf = 1
logger = logging.getLogger("fail2ban")
logger.setLevel(logging.WARNING)
logger.propagate = False


class Notes(logging.Handler):
    """Keeps what is logged."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        self.lines.append(f"{record.name} {record.levelname} {record.getMessage()}")


def value(spec):
    if isinstance(spec, list):
        return [value(item) for item in spec]
    if not isinstance(spec, dict):
        return spec
    ((kind, content),) = spec.items()
    made = {
        "tuple": lambda: tuple(map(value, content)),
        "set": lambda: set(map(value, content)),
        "dict": lambda: {value(key): value(item) for key, item in content},
        "float": lambda: float(content),
        "address": lambda: IPAddr(content),
    }
    return made[kind]()


def exception(name, arguments):
    places = (builtins, exceptions, failregex, json)
    found = next(getattr(place, name) for place in places if hasattr(place, name))
    return found(*map(value, arguments))


def beautified(question):
    """What the client makes of a reply: what it logs itself comes first."""
    beautifier = Beautifier()
    beautifier.setInputCmd(question["command"])
    if "error" in question:
        error = exception(*question["error"])
        logger.error("NOK: %r", error.args)
        try:
            return (1, error), str(beautifier.beautifyError(error)) + "\n"
        except Exception as failure:
            logger.error(failure)
            return (1, error), ""
    reply = (0, value(question["reply"]))
    # Addresses arrive as texts.
    _, arrived = pickle.loads(pickle.dumps(reply))
    return reply, str(beautifier.beautify(arrived)) + "\n"


def answer(question):
    notes = Notes()
    logger.addHandler(notes)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            reply, printed = beautified(question)
    finally:
        logger.removeHandler(notes)
    wire = pickle.dumps(reply, pickle.HIGHEST_PROTOCOL).hex()
    return {"printed": printed, "logged": notes.lines, "wire": wire}


serve(answer)
