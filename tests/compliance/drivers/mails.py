"""What smtp.py makes of its options and of what happens: the letter, and to whom it goes.

What it would hand to a mail server is the answer; with "wire" it speaks to the one that the options name.
"""

import email
import email.header
import email.utils
import importlib.util
import socket
import smtplib
import types

from asking import serve
from fail2ban.server.actions import Actions


class Recorder:
    """In the place of smtplib.SMTP: takes down what it is given."""

    taken = None

    def __init__(self, **_):
        pass

    def connect(self, **_):
        return 220, b"ready"

    def quit(self):
        return 221, b"bye"

    def sendmail(self, sender, recipients, text):
        text = smtplib._fix_eols(text).encode("ascii").decode("ascii")
        Recorder.taken = {
            "sender": smtplib.quoteaddr(sender)[1:-1],
            "recipients": [smtplib.quoteaddr(one)[1:-1] for one in recipients],
            "text": text,
        }
        return {}


def load(path):
    """Python's module in that file."""
    spec = importlib.util.spec_from_file_location("smtp_action", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def subject_of(text):
    """The subject as a mail program shows it."""
    raw = email.message_from_string(text)["Subject"]
    return str(email.header.make_header(email.header.decode_header(raw.replace("\r\n", "").lstrip())))


def answer(request):
    module = load(request["file"])
    jail = types.SimpleNamespace(
        name=request["jail"], actions=types.SimpleNamespace(getBanTime=lambda: request["bantime"])
    )
    if "machine" in request:
        socket.gethostname = lambda: request["machine"]
        module.formatdate = lambda: email.utils.formatdate(request["time"])
    module.smtplib.SMTP = REAL if request.get("wire") else Recorder
    Recorder.taken = None
    action = module.Action(jail, "smtp", **request["options"])
    event = request["event"]
    if event == "ban":
        ticket = types.SimpleNamespace(restored=request.get("restored", False))
        values = {"restored": lambda self: 1 if ticket.restored else 0}
        values.update({name: (lambda self, value=value: value) for name, value in request["info"].items()})
        action.ban(Actions.ActionInfo(ticket, jail, data=values))
    else:
        getattr(action, event)()
    taken = Recorder.taken
    if taken and "Subject" in taken["text"]:
        taken["subject"] = subject_of(taken["text"])
    return taken


REAL = smtplib.SMTP
serve(answer)
