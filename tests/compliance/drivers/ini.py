"""One file of a configuration as Fail2Ban's reader has it before values are put together.

Asked for a list of texts (each character a byte), it answers with one entry a text: the sections with their options, or
the class of the exception and the line that it names.
"""

import configparser
import os
import tempfile

from asking import serve
from fail2ban.client.configparserinc import SafeConfigParserWithIncludes

path = os.path.join(tempfile.mkdtemp(), "file.conf")


def line_of(error):
    if isinstance(error, configparser.ParsingError) and error.args[0] and getattr(error, "errors", None):
        return error.errors[0][0]
    return getattr(error, "lineno", 0)


def read(text):
    with open(path, "wb") as file:
        file.write(text.encode("latin-1"))
    parser = SafeConfigParserWithIncludes()
    try:
        parser.read(path, get_includes=False)
    except (configparser.Error, UnicodeDecodeError) as error:
        return {"refused": [type(error).__name__, line_of(error)]}
    sections = {"DEFAULT": parser.get_defaults(), **parser.get_sections()}
    return {"sections": [[name, list(options.items())] for name, options in sections.items()]}


serve(lambda texts: [read(text) for text in texts])
