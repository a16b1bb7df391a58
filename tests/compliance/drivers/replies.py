"""Fail2Ban's client end of a socket: commands as they are sent, and the objects that come back, with their types.

Asked {"socket": path, "folder": of the configuration, "commands": […]}, it answers each command's reply as a text. A
command {"reload": jail, "options": […]} comes with the stream that Fail2Ban's client reads out of the folder.
"""

from asking import serve
from fail2ban.client.configurator import Configurator
from fail2ban.client.csocket import CSocket


def stream(folder, jail):
    configurator = Configurator()
    configurator.setBaseDir(folder)
    configurator.readAll()
    configurator.getOptions(None if jail == "--all" else jail)
    configurator.convertToProtocol()
    return configurator.getConfigStream()


def shown(value):
    """Like repr(), with sets in order and exceptions by what they are made of."""
    kind = type(value).__name__
    if isinstance(value, BaseException):
        return f"{type(value).__module__}.{kind}{shown(value.__reduce__()[1])} {value}"
    if isinstance(value, dict):
        return kind + "{" + ", ".join(f"{shown(key)}: {shown(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return kind + "(" + ", ".join(map(shown, value)) + ")"
    if isinstance(value, set | frozenset):
        return kind + "(" + ", ".join(sorted(map(shown, value))) + ")"
    return f"{kind} {value!r}"


def reply(request, socket, command):
    if isinstance(command, dict):
        jail = command["reload"]
        command = ["reload", jail, command["options"], stream(request["folder"], jail)]
    return shown(socket.send(command))


def answer(request):
    socket = CSocket(request["socket"], timeout=60)
    try:
        return [reply(request, socket, command) for command in request["commands"]]
    finally:
        socket.close()


serve(answer)
