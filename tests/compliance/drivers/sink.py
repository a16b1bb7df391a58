"""A mail server that takes every letter and writes down what was said: one JSON object a line, one for each letter.

    sink.py PORT FILE [CERTIFICATE]

Each connection adds a letter to FILE.calls. Recipients that begin with "refused" are refused. With a certificate it has STARTTLS.
"""

import base64
import json
import socketserver
import ssl
import sys


class Talk(socketserver.StreamRequestHandler):
    timeout = 60

    def say(self, text):
        self.wfile.write(text.encode() + b"\r\n")

    def word(self):
        return self.rfile.readline().decode("utf-8", "replace").rstrip("\r\n")

    def handle(self):
        self.told = {"encrypted": False, "login": None, "from": None, "to": []}
        with open(sys.argv[2] + ".calls", "a") as file:
            file.write("x")
        self.say("220 sink ESMTP")
        while line := self.word():
            verb = line.split(" ")[0].upper()
            if verb == "QUIT":
                self.say("221 bye")
                return
            getattr(self, "on_" + verb.lower(), self.on_other)(line)

    def on_other(self, _):
        self.say("500 what?")

    def on_ehlo(self, line):
        self.told["hello"] = line.split(" ", 1)[1]
        self.say("250-sink")
        if len(sys.argv) > 3 and not self.told["encrypted"]:
            self.say("250-STARTTLS")
        self.say("250 AUTH PLAIN LOGIN")

    def on_starttls(self, _):
        self.say("220 go on")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[3])
        self.connection = context.wrap_socket(self.connection, server_side=True)
        self.setup()
        self.told["encrypted"] = True

    def setup(self):
        self.request = getattr(self, "connection", self.request)
        super().setup()

    def on_auth(self, line):
        self.told["login"] = base64.b64decode(line.split(" ")[2]).decode()
        self.say("235 in")

    def on_mail(self, line):
        self.told["from"] = line.split(":", 1)[1].split(" ")[0]
        self.say("250 fine")

    def on_rcpt(self, line):
        recipient = line.split(":", 1)[1]
        self.told["to"].append(recipient)
        self.say("550 no such user" if recipient.startswith("<refused") else "250 fine")

    def on_data(self, _):
        self.say("354 go on")
        letter = b""
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            letter += line
        self.told["letter"] = letter.decode("latin-1")
        with open(sys.argv[2], "a") as file:
            file.write(json.dumps(self.told) + "\n")
        self.say("250 taken")


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


with Server(("127.0.0.1", int(sys.argv[1])), Talk) as server:
    server.serve_forever()
