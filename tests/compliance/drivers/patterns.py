"""What CPython's re makes of regexes: those of Fail2Ban's filters on its sample lines, and any others."""

import os
import re
import re._compiler as compiler
import signal
import sys
import warnings

from asking import serve
from fail2ban.client.filterreader import FilterReader
from fail2ban.server.datedetector import DateDetector
from fail2ban.server.failregex import Regex, RegexException

REGEXES = ("prefregex", "addfailregex", "addignoreregex")
SECONDS = 0.25

warnings.simplefilter("ignore")


as_released = compiler._compile


def as_mended(code, pattern, flags):
    """Compiles a repetition that gives nothing back as CPython does since 3.11.5; before, it went on in a wrong place
    after a round that failed (D-060)."""

    def mended(item):
        possessive = item[0] is compiler.POSSESSIVE_REPEAT and not compiler._simple(item[1][2])
        return (compiler.ATOMIC_GROUP, [(compiler.MAX_REPEAT, item[1])]) if possessive else item

    as_released(code, [mended(item) for item in pattern], flags)


compiler._compile = as_mended


class Late(Exception):
    """A search took too long."""


def too_late(*_):
    """Ends the search in hand; re looks for signals while it searches."""
    raise Late


signal.signal(signal.SIGALRM, too_late)


def modes(base, name):
    """The modes of a filter: what stands behind the hyphen of its options, and none."""
    with open(os.path.join(base, "filter.d", name + ".conf"), encoding="utf-8") as conf:
        found = re.findall(r"^\w+-(\w+)\s*=", conf.read(), re.MULTILINE)
    return ["", *sorted(set(found))]


def stock(base):
    """Every regex of every filter in every mode: where from, as configured, as Fail2Ban expands it, MULTILINE."""
    for name in sorted(entry[:-5] for entry in os.listdir(os.path.join(base, "filter.d")) if entry.endswith(".conf")):
        if name.endswith("-common") or name == "common":
            continue
        for mode in modes(base, name):
            reader = FilterReader(name, "jail", {"mode": mode} if mode else {}, basedir=base)
            reader.read()
            reader.getOptions({})
            lines = False
            for command in reader.convert():
                what, values = command[2], command[3]
                if what == "maxlines":
                    lines = int(values) > 1
                if what in REGEXES:
                    for source in values if command[0] == "multi-set" else [values]:
                        multiline = lines and what == "addfailregex"
                        yield f"{name}[{mode}] {what}", source, Regex(source, multiline=multiline).getRegex(), multiline


def templates():
    """The regexes of the dates that are looked for by default."""
    detector = DateDetector()
    detector.addDefaultTemplate()
    for each in detector.templates:
        template = each.template
        if hasattr(template, "regex"):
            yield f"date {template.name}", template.regex, template.regex, False


def sample_lines(folder):
    """Every sample line, whole and with its date cut out."""
    for path, _, names in sorted(os.walk(folder)):
        for name in sorted(names):
            detector = DateDetector()
            detector.addDefaultTemplate()
            with open(os.path.join(path, name), encoding="utf-8", errors="replace", newline="\n") as log:
                for line in log:
                    line = line.rstrip("\r\n")
                    if line.startswith("#"):
                        continue
                    yield line + "\n"
                    found, _ = detector.matchTime(line)
                    if found:
                        yield line[: found.start(1)] + line[found.end(1) :] + "\n"


def texts(request, regexes):
    """What is searched: the lines, and what the prefregexes take out of them."""
    lines = list(dict.fromkeys(sample_lines(request["logs"])))
    contents = []
    for where, _, expanded, _ in regexes:
        if where.endswith("prefregex"):
            found = filter(None, map(re.compile(expanded).search, lines))
            contents += [match["content"] + "\n" for match in found if "content" in match.re.groupindex]
    return list(dict.fromkeys(lines + contents))


def plain(match):
    """Start, end and named groups of a match, in bytes of UTF-8."""
    if match is None:
        return None
    place = lambda at: len(match.string[:at].encode("utf-8", "surrogatepass"))
    groups = [match[name] for name, _ in sorted(match.re.groupindex.items(), key=lambda item: item[1])]
    return [place(match.start()), place(match.end()), groups]


def search(pattern, text):
    """One search, or that it took too long."""
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        found = pattern.search(text)
    except Late:
        return "late"
    except (RecursionError, MemoryError, SystemError) as error:
        return type(error).__name__
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return plain(found)


def case(source, multiline, searched):
    """A regex as Fail2Ban compiles it, and what it finds in some texts."""
    try:
        regex = Regex(source, multiline=multiline)
    except (RegexException, ValueError, OverflowError, RuntimeError) as error:
        return {"refused": str(error)}
    pattern = re.compile(regex.getRegex(), re.MULTILINE if multiline else 0)
    return {"expanded": regex.getRegex(), "found": [search(pattern, text) for text in searched]}


def characters():
    """The code points that a text can hold."""
    return (code for code in range(sys.maxunicode + 1) if not 0xD800 <= code <= 0xDFFF)


def letters(source, before, after):
    """The code points that a regex finds between two texts, as ranges."""
    pattern = re.compile(source)
    ranges = []
    for code in characters():
        if not pattern.search(before + chr(code) + after):
            continue
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return ranges


def is_cased(code):
    """Whether a code point has another case in any sense."""
    char = chr(code)
    return {char.lower(), char.upper(), char.casefold()} != {char}


def folds(request):
    """For every cased code point: what a caseless regex made of it finds among all of them, as their numbers."""
    universe = [code for code in characters() if is_cased(code)]
    if "template" not in request:
        return universe
    text = "".join(map(chr, universe))
    regexes = (regex_of(request["template"], code) for code in universe[:: request["step"]])
    return [[match.start() for match in re.finditer(regex, text)] for regex in regexes]


def regex_of(template, code):
    """A regex with one code point, and the one three further on."""
    return template.replace("@", f"\\U{code:08x}").replace("#", f"\\U{code + 3:08x}")


STOCK = []
TEXTS = []


def answer(request):
    """Answers one question."""
    if "stock" in request:
        STOCK[:] = [*stock(request["stock"]), *templates()]
        TEXTS[:] = texts(request, STOCK)
        return {"regexes": STOCK, "texts": TEXTS}
    if "regex" in request:
        pattern = re.compile(request["regex"], re.MULTILINE if request["multiline"] else 0)
        found = ((number, search(pattern, text)) for number, text in enumerate(TEXTS))
        return [[number, *match] for number, match in found if match]
    if "runs" in request:
        text = "".join(map(chr, characters()))
        return [match.span() for match in re.finditer(request["runs"], text)]
    if "released" in request:
        compiler._compile = as_released
        re.purge()
        found = [case(*one) for one in request["released"]]
        compiler._compile = as_mended
        re.purge()
        return found
    if "letters" in request:
        return letters(request["letters"], request["before"], request["after"])
    if "folds" in request:
        return folds(request["folds"])
    return [case(*one) for one in request["cases"]]


serve(answer)
