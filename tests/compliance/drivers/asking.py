"""One JSON value a line in, one a line out: how the tests talk to a driver."""

import io
import json
import sys


def serve(answer):
    """Answers every request until the input ends.

    An exception is an answer too: {"error": its class, "text": its message}. Whatever Fail2Ban prints goes to standard
    error, so that it does not come between the answers.
    """
    requests = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8", newline="\n")
    replies = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8", newline="\n", write_through=True)
    sys.stdout = sys.stderr
    for line in requests:
        try:
            reply = answer(json.loads(line))
        except Exception as error:
            reply = {"error": type(error).__name__, "text": str(error)}
        replies.write(json.dumps(reply) + "\n")
