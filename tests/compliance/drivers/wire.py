"""What Python's pickle makes of values and exceptions, and how Fail2Ban's own server and client talk."""

import pickle
import random
import re
import socket
import tempfile
import threading
from pathlib import Path

from asking import serve
from fail2ban.client.csocket import CSocket
from fail2ban.exceptions import DuplicateJailException, UnknownJailException
from fail2ban.server.asyncserver import AsyncServer
from fail2ban.server.failregex import RegexException
from fail2ban.server.ipdns import IPAddr
from fail2ban.server.server import Server
from fail2ban.server.transmitter import Transmitter

END = b"<F2B_END_COMMAND>"
LETTERS = "abc '\"\\\n\r\t\0\x1a\x7f\xa0éßЖ€\u2028字😀"
PROTOCOLS = range(6)


def shown(value):
    """repr() with the members of sets in order."""
    if isinstance(value, (set, frozenset)):
        inner = ", ".join(sorted(map(shown, value)))
        return "{" + inner + "}" if inner else "set()"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{shown(k)}: {shown(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(shown, value)) + "]"
    if isinstance(value, tuple):
        return "(" + ", ".join(map(shown, value)) + (",)" if len(value) == 1 else ")")
    return repr(value)


def text(chance):
    length = chance.choice([0, 1, 3, 10, 300, 70000] if chance.random() < 0.02 else [0, 1, 3, 10])
    return "".join(chance.choice(LETTERS) for _ in range(length))


def leaf(chance):
    return chance.choice(
        [
            lambda: None,
            lambda: chance.random() < 0.5,
            lambda: chance.randint(-3, 300),
            lambda: chance.randint(-(2 ** chance.randint(1, 63)), 2 ** chance.randint(1, 63) - 1),
            lambda: chance.choice([0.0, -0.0, 1.5, 1e22, 1e-7, float("inf"), chance.random() * 1e9]),
            lambda: text(chance),
        ]
    )()


def value(chance, depth=4):
    if depth == 0 or chance.random() < 0.4:
        return leaf(chance)
    count = chance.choice([0, 1, 2, 3, 5])
    kind = chance.randrange(5)
    if kind == 0:
        return {leaf(chance): value(chance, depth - 1) for _ in range(count)}
    if kind == 1:
        return {leaf(chance) for _ in range(count)}
    items = [value(chance, depth - 1) for _ in range(count)]
    if kind == 2 and items:
        # The same object in two places.
        items.append(items[0])
    return tuple(items) if kind == 3 else items


def has_set(value):
    if isinstance(value, (list, tuple)):
        return any(map(has_set, value))
    if isinstance(value, dict):
        return any(map(has_set, value.values()))
    return isinstance(value, set)


def exception(chance):
    kind = chance.choice(
        [
            Exception,
            ValueError,
            KeyError,
            IndexError,
            AttributeError,
            RuntimeError,
            LookupError,
            TypeError,
            UnknownJailException,
            DuplicateJailException,
            RegexException,
            re.error,
        ]
    )
    if kind is re.error:
        return kind(text(chance))
    return kind(*(leaf(chance) for _ in range(chance.choice([0, 1, 1, 1, 2]))))


def described(error):
    kind = type(error)
    return [kind.__module__, kind.__name__, shown(error.args), str(error)]


def dumps(value):
    return [pickle.dumps(value, protocol).hex() for protocol in PROTOCOLS]


def made(seed, count):
    chance = random.Random(seed)
    for _ in range(count):
        one = value(chance)
        yield {"shown": shown(one), "set": has_set(one), "request": dumps(one), "reply": dumps((0, one))}


def failures(seed, count):
    chance = random.Random(seed)
    for _ in range(count):
        error = exception(chance)
        yield {"is": described(error), "reply": dumps((1, error))}


def system_errors():
    """Older protocols import them under names of Python 2."""
    for code, name in [(2, "/nowhere"), (13, None), (32, "ä'b")]:
        error = OSError(code, "Words", name) if name else OSError(code, "Words")
        read = ([*error.args, error.filename] if name else error.args) if error.args else ()
        # What a reply is made of has the file's name among its arguments.
        is_ = [type(error).__module__, type(error).__name__, shown(tuple(read)), str(error)]
        yield {"is": is_, "reply": [pickle.dumps((1, error), protocol).hex() for protocol in (3, 4, 5)]}


def shape(reply):
    """A reply as far as it is the same for every server."""
    if isinstance(reply, str):
        return ["text", reply.split(" ")[0]]
    code, content = reply
    return [code, *described(content)[:2]] if code else [code, shown(content)]


def exchange(path, messages):
    """Raw messages over one connection."""
    client = socket.socket(socket.AF_UNIX)
    client.connect(path)
    for message in messages:
        client.sendall(bytes.fromhex(message) + END)
        yield shape(CSocket.receive(client, timeout=20))
    client.close()


def theirs(messages):
    """The same, with a server of Fail2Ban's."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "socket")
        ready = threading.Event()
        server = AsyncServer(Transmitter(Server(False)))
        server.onstart = ready.set
        thread = threading.Thread(target=server.start, args=(path, False), daemon=True)
        thread.start()
        ready.wait(20)
        shapes = list(exchange(path, messages))
        server.stop()
        thread.join(20)
    return shapes


def addresses(texts):
    one = (0, [{"jail": [IPAddr(text) for text in texts]}, *(IPAddr(text) for text in texts)])
    return {"shown": shown(pickle.loads(pickle.dumps(one))[1]), "reply": dumps(one)}


def through_client(path, requests):
    client = CSocket(path, timeout=20)
    shapes = [shape(client.send(request)) for request in requests]
    client.close()
    return shapes


def loaded(text):
    reply = pickle.loads(bytes.fromhex(text))
    if isinstance(reply, tuple) and len(reply) == 2 and isinstance(reply[1], BaseException):
        return described(reply[1])
    return shown(reply)


def answer(request):
    kind, rest = request.pop("do"), request
    return {
        "values": lambda: list(made(**rest)),
        "exceptions": lambda: list(failures(**rest)),
        "system": lambda: list(system_errors()),
        "addresses": lambda: addresses(**rest),
        "load": lambda: [loaded(text) for text in rest["pickles"]],
        "theirs": lambda: theirs(**rest),
        "exchange": lambda: list(exchange(**rest)),
        "client": lambda: through_client(**rest),
        "pickled": lambda: pickle.dumps(rest["text"].encode().decode("ascii", "surrogateescape"), 4).hex(),
    }[kind]()


serve(answer)
