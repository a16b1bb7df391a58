"""A jail of Fail2Ban's on a journal: it is started, reads to the end, is stopped, and tells what it found."""

import logging
import time

from asking import serve
from fail2ban.server.database import Fail2BanDb
from fail2ban.server.jail import Jail

logging.getLogger("fail2ban").setLevel(logging.CRITICAL)


def answer(question):
    database = Fail2BanDb(question["database"])
    jail = Jail("plain", backend=f"systemd[journalpath={question['folder']}]", db=database)
    database.addJail(jail)
    reader = jail.filter
    reader.setFindTime(question["findtime"])
    reader.setMaxRetry(question["maxretry"])
    reader.setUseDns("no")
    reader.ignoreSelf = False
    for match in question["matches"]:
        reader.addJournalMatch(match)
    reader.addFailRegex(question["failregex"])
    reader.start()
    while not reader.inOperation:
        time.sleep(0.02)
    time.sleep(0.5)
    reader.stop()
    reader.join()
    banned = []
    while ticket := jail.getFailTicket():
        banned.append([str(ticket.getID()), ticket.getAttempt(), ticket.getMatches()])
    found = [[str(ticket.getID()), ticket.getAttempt()] for ticket in reader.failManager._FailManager__failList.values()]
    place = database._db.execute("SELECT path, firstlinemd5, lastfilepos FROM logs").fetchall()
    database.close()
    return {"banned": sorted(banned), "found": sorted(found), "place": place}


serve(answer)
