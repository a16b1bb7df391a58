"""What Python and Fail2Ban make of expressions, lengths of time and printed lengths."""

import random
import struct
import sys
import warnings
from itertools import cycle

import fail2ban.server.jail as jail
from asking import serve
from fail2ban.server.mytime import MyTime
from fail2ban.server.observer import ObserverThread


sys.set_int_max_str_digits(0)
warnings.simplefilter("ignore")


def shown(compute):
    """A result as a kind and a text that is equal for equal values only."""
    try:
        value = compute()
    except Exception as error:
        return ["error", type(error).__name__]
    if isinstance(value, float):
        return ["float", "nan" if value != value else struct.pack(">d", value).hex()]
    if isinstance(value, (bool, int)):
        return [type(value).__name__, repr(value)]
    return ["error", type(value).__name__]


def formula(text, facts):
    draws = cycle(facts["draws"])
    random.random = lambda: next(draws)
    random.uniform = lambda a, b: a + (b - a) * random.random()
    names = {
        "ban": ObserverThread.BanTimeIncr(facts["time"], facts["count"]),
        "banFactor": facts["factor"],
    }
    return shown(lambda: eval(compile(text, "formula", "eval"), vars(jail), names))


def answer(request):
    match request["kind"]:
        case "formula":
            return [formula(text, request) for text in request["texts"]]
        case "length":
            return [shown(lambda: MyTime.str2seconds(text)) for text in request["texts"]]
        case "print":
            return [str(MyTime.seconds2str(number)) for number in request["numbers"]]


serve(answer)
