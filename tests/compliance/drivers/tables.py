"""Writes crates/core/src/pattern/tables.rs: what CPython knows of characters, from CPython itself.

/usr/bin/python3 tests/compliance/drivers/tables.py >crates/core/src/pattern/tables.rs
"""

import _sre
import sys
import unicodedata
from re._casefix import _EXTRA_CASES

EVERY = range(sys.maxunicode + 1)
WIDTH = 120
PIECE = 8

HEAD = f"""//! What CPython {sys.version_info[0]}.{sys.version_info[1]} knows of characters (Unicode {unicodedata.unidata_version}): \
written by `tests/compliance/drivers/tables.py`, and
//! compared with a running CPython by `tests/compliance`. Not to be edited.

use super::tree::Code;
"""


def runs(test):
    """The code points that pass the test, as (first, last)."""
    found = []
    for code in EVERY:
        if test(chr(code)):
            if found and found[-1][1] == code - 1:
                found[-1][1] = code
            else:
                found.append([code, code])
    return [f"(0x{first:x}, 0x{last:x})" for first, last in found]


def shifts(change):
    """The code points that a mapping changes, as (first, last, step, shift)."""
    found = []
    for code in EVERY:
        shift = change(code) - code
        if not shift:
            continue
        last = found[-1] if found else None
        if last and last[3] == shift and (code - last[1] == last[2] or (last[0] == last[1] and code - last[1] <= 2)):
            last[1:3] = code, code - last[1]
        else:
            found.append([code, code, 1, shift])
    return [f"(0x{first:x}, 0x{last:x}, {step}, {shift})" for first, last, step, shift in found]


def families():
    """Lower-case characters that have one upper case, as (one, other)."""
    return [f"(0x{one:x}, 0x{other:x})" for one, others in sorted(_EXTRA_CASES.items()) for other in others]


def lines(items):
    """The items, as many as fit on a line."""
    line = ""
    for item in items:
        if len(line) + len(item) + 2 > WIDTH - 4:
            yield "    " + line.rstrip()
            line = ""
        line += item + ", "
    yield "    " + line.rstrip()


def table(name, words, kind, items):
    """One constant."""
    skip = "#[rustfmt::skip]\n"
    return f"\n/// {words}\n{skip}pub(super) const {name}: &[{kind}] = &[\n" + "\n".join(lines(items)) + "\n];\n"


def source():
    """The whole file."""
    pair = "(Code, Code)"
    shift = "(Code, Code, Code, i32)"
    return HEAD + "".join(
        [
            table("WORD", "`\\w`: what is alphanumeric, and `_`.", pair,
                  runs(is_word)),
            table("DIGIT", "`\\d`: the decimal digits.", pair, runs(str.isdecimal)),
            table("SPACE", "`\\s`: white space.", pair, runs(str.isspace)),
            table("LOWER", "Lower case: first, last, step, and what is added.", shift, shifts(_sre.unicode_tolower)),
            table("UPPER", "Upper case: the same.", shift, shifts(upper)),
            table("KIN", "Lower-case characters with one upper case.", pair, families()),
            table("FIRST", "Where `\\w` and what may begin a name differ.", pair,
                  runs(lambda c: is_word(c) != c.isidentifier())),
            table("REST", "Where `\\w` and what may go on in a name differ.", pair,
                  runs(lambda c: is_word(c) != ("a" + c).isidentifier())),
        ]
    )


def is_word(char):
    """What `\\w` matches."""
    return char.isalnum() or char == "_"


def upper(code):
    """The first character of the upper case, which is what the matching uses."""
    changed = chr(code).upper()
    return ord(changed[0])


if __name__ == "__main__":
    sys.stdout.write(source())
