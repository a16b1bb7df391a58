"""What Fail2Ban finds and reads as the date of each line, line after line with one detector.

One request is one detector: its options, and lines with the time at which each is read. The clocks that Fail2Ban looks
at are set to that time; the zone is that of this process.
"""

import datetime as calendar_types
import logging
import re
import time as system_time
from types import SimpleNamespace

from asking import serve
from fail2ban.server import datedetector, datetemplate, strptime
from fail2ban.server.filter import Filter
from fail2ban.server.mytime import MyTime

logging.getLogger("fail2ban").setLevel(logging.CRITICAL + 1)
DEFAULTS = list(datedetector.DateDetectorCache.DEFAULT_TEMPLATES)


def is_summer(month):
    return system_time.localtime(system_time.mktime((2024, month, 15, 12, 0, 0, 0, 0, -1))).tm_isdst


WINTER, SUMMER = (7, 1) if is_summer(1) else (1, 7)


class Clock:
    """The time of all that asks, and the month of the year that the C library read last."""

    now = 0.0
    month = SUMMER

    @classmethod
    def read_local(cls, parts):
        """Reads a local time after another one of the wanted month.

        The C library reads a time that comes twice by what it read before, so that must be known.
        """
        system_time.mktime((max(parts[0], 1971), cls.month, 15, 12, 0, 0, 0, 0, -1))
        return system_time.mktime(parts)


datedetector.time = SimpleNamespace(time=lambda: Clock.now)
strptime.time = SimpleNamespace(mktime=Clock.read_local)


def forget(now):
    """Brings back the state of a new process whose clock stands at this time; templates are kept from run to run."""
    Clock.now = now
    MyTime.setTime(now)
    datedetector.DD_patternCache = datedetector.Utils.Cache(maxCount=1000, maxTime=3600)
    datedetector.DateDetectorCache.DEFAULT_TEMPLATES = list(DEFAULTS)
    datedetector.DateDetector._defCache = datedetector.DateDetectorCache()

    class At(calendar_types.datetime):
        @classmethod
        def now(cls, tz=None):
            return calendar_types.datetime.fromtimestamp(now, tz)

    strptime.datetime = SimpleNamespace(datetime=At)
    strptime._updateTimeRE()
    strptime.datetime = calendar_types
    pattern, names = strptime.getTimePatternRE()
    datetemplate.DatePatternRegex._patternRE = re.compile(pattern)
    datetemplate.DatePatternRegex._patternName = names


def made(request):
    """A filter that takes every line, with the options of the request."""
    made = Filter(None)
    made.returnRawHost = True
    made.sleeptime = 0
    if request.get("logtimezone") is not None:
        made.setLogTimeZone(request["logtimezone"])
    if request.get("datepattern") is not None:
        made.setDatePattern(request["datepattern"])
    made.addFailRegex("^<F-ID>.*</F-ID>$")
    made.checkFindTime = request.get("age") is not None
    made.inOperation = request.get("age") == "operating"
    return made


def number(value):
    """A time in microseconds, and whether it is held as a whole number."""
    return value if value is None else [round(value * 1000000), isinstance(value, int)]


def reading(detector, text, match):
    """The times that the date stands for, after a winter's date and after a summer's."""
    times = []
    for Clock.month in (WINTER, SUMMER):
        try:
            read = detector.getTime(text, match)
        except Exception:
            return "raises"
        if read is None:
            return "unreadable"
        times.append(number(read[0]))
    return times[:1] if times[0] == times[1] else times


def row(detector, line):
    """Name of the template, first and last place of what is cut, and what it is read as."""
    try:
        match = detector.matchTime(line)
    except Exception:
        return "raises"
    if match[0] is None:
        return None
    start, end = match[0].span(1)
    text = line[start:end]
    return [match[1].name, max(start, 0), max(end, 0), reading(detector, text, match) if text else "empty"]


def failure(judge, line):
    """Whose failure the line is, when, and what is kept of it: the way of a line through the filter."""
    Clock.month = SUMMER
    try:
        found = judge.processLine(line)
    except Exception:
        return "raises"
    return [[str(one[1]), number(one[2]), ["".join(kept) for kept in one[3]["matches"]]] for one in found]


def broken(templates):
    """The first regex that does not compile, which Fail2Ban notices when it comes to use it."""
    for one in templates:
        try:
            re.compile(one.template.regex)
        except Exception:
            return one.template.regex
    return None


def answer(request):
    if "abbreviations" in request:
        return sorted(filter(None, strptime.TZ_ABBR_OFFS))
    forget(request["lines"][0][0])
    judge = made(request)
    name = judge.getDatePattern()
    rows = []
    for Clock.now, line in request["lines"]:
        MyTime.setTime(Clock.now)
        rows.append(failure(judge, line) if "age" in request else row(judge.dateDetector, line))
    templates = judge.dateDetector.templates
    ranking = [[one.name, one.hits, f"{one.weight:.6f}", one.template.regex] for one in templates]
    return {"name": name, "rows": rows, "ranking": ranking, "broken": broken(templates)}


serve(answer)
