"""Writes tables.bin beside this file, from the codecs of CPython 3.11.

Of each single-byte encoding the upper half, then the 94 rows of KS X 1001: all as little-endian 16-bit numbers, with
U+FFFD where there is no character.
"""

import pathlib
import struct

NONE = 0xFFFD
SINGLE = (
    ["ascii", "latin_1"]
    + [f"iso8859_{part}" for part in range(2, 17) if part != 12]
    + [f"cp{page}" for page in range(1250, 1259)]
    + ["koi8_r", "koi8_t", "koi8_u"]
)


def character(encoded, codec):
    """The number of the only character, or NONE."""
    text = encoded.decode(codec, "replace")
    return ord(text) if len(text) == 1 else NONE


def main():
    numbers = []
    lower = bytes(range(0x80))
    for codec in SINGLE:
        assert lower.decode(codec) == lower.decode("ascii"), codec
        numbers += [character(bytes([byte]), codec) for byte in range(0x80, 0x100)]
    for row in range(0xA1, 0xFF):
        numbers += [character(bytes([row, cell]), "cp949") for cell in range(0xA1, 0xFF)]
    data = struct.pack(f"<{len(numbers)}H", *numbers)
    pathlib.Path(__file__).with_name("tables.bin").write_bytes(data)


main()
