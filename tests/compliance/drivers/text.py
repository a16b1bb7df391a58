"""What Python makes of text: {"repr": [texts]} as it prints them, {"int": [texts]} as numbers, {"word": text} which of
its characters belong to a word, {"space": text} which are blanks."""

import re

from asking import serve


def number(text):
    try:
        return int(text)
    except ValueError:
        return None


def answer(question):
    if "repr" in question:
        return [repr(text) for text in question["repr"]]
    if "int" in question:
        return [number(text) for text in question["int"]]
    if "word" in question:
        return "".join(re.findall(r"\w", question["word"]))
    return "".join(c for c in question["space"] if c.isspace())


serve(answer)
