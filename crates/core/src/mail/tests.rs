use super::*;
use crate::address::Id;
use crate::ledger::Data;
use crate::time::Seconds;

fn mail(options: &[(&str, &str)]) -> Result<Mail, Error> {
    let options = options
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Mail::new(&options.collect())
}

fn ticket(ip: &str, matches: &[&str]) -> Ticket {
    Ticket {
        id: Id::parse(ip).unwrap_or_else(|_| Id::Raw(ip.to_owned())),
        time: Timestamp::from_seconds(1000),
        bantime: Seconds::new(60),
        bancount: 1,
        failures: 5,
        matches: matches.iter().map(|line| (*line).into()).collect(),
        data: Data::default(),
        restored: false,
    }
}

fn jail() -> JailFacts {
    JailFacts {
        name: "sshd".into(),
        bantime: Seconds::new(600),
        ..JailFacts::default()
    }
}

#[test]
fn a_letter_as_the_server_gets_it() {
    let mail = mail(&[("matches", "matches"), ("dest", "root, admin@example.com")]).unwrap();
    let letter = mail.about_ban(&ticket("192.0.2.7", &["one", ".two"]), &jail(), "mx1", None);
    let expect = "Content-Type: text/plain; charset=\"utf-8\"\r\nContent-Transfer-Encoding: 7bit\r\n\
        MIME-Version: 1.0\r\nSubject: [Fail2Ban] sshd: banned 192.0.2.7 from mx1\r\nFrom: Fail2Ban <fail2ban>\r\n\
        To: root, admin@example.com\r\nDate: Thu, 01 Jan 1970 00:16:40 -0000\r\n\r\nHi,\r\n\r\n\
        The IP 192.0.2.7 has just been banned for 600 seconds\r\nby Fail2Ban after 5 attempts against sshd.\r\n\r\n\
        Matches for this ban:\r\none\r\n.two\r\n\r\nRegards,\r\nFail2Ban\r\n";
    assert_eq!(
        mail.write(&letter, Timestamp::from_seconds(1000)).as_deref(),
        Ok(expect)
    );
}

#[test]
fn subjects() {
    let check = |ip: &str, expect: &str| {
        let mail = mail(&[]).unwrap();
        let letter = mail.about_ban(&ticket(ip, &[]), &jail(), "mx1", None);
        let text = mail
            .write(&letter, Timestamp::from_seconds(0))
            .unwrap_or_else(|error| error.to_string());
        let from = text.find("\r\nSubject: ").map_or(0, |at| at + 2);
        let to = text.find("\r\nFrom: ").unwrap_or(text.len());
        assert_eq!(text.get(from..to).unwrap(), expect);
    };
    check("192.0.2.7", "Subject: [Fail2Ban] sshd: banned 192.0.2.7 from mx1");
    check(
        "Jürgen",
        "Subject: [Fail2Ban] sshd: banned =?utf-8?q?J=C3=BCrgen?= from mx1",
    );
    check(
        "a name of so many words that no line has room for all of them",
        "Subject: [Fail2Ban] sshd: banned a name of so many words that no line has room\r\n for all of them from mx1",
    );
    check(
        "=?utf-8?q?=41?=",
        "Subject: [Fail2Ban] sshd: banned =?utf-8?b?PT91dGYtOD9xPz00MT89?= from mx1",
    );
    check(
        "x\r\nBcc: y",
        "Header values may not contain linefeed or carriage return characters",
    );
}

#[test]
fn how_much_of_the_lines_is_sent() {
    let mail = mail(&[("matches", "matches")]).unwrap();
    let long = "ü".repeat(MOST);
    let letter = mail.about_ban(&ticket("192.0.2.7", &[&long]), &jail(), "mx1", None);
    assert!(letter.text.len() < MOST + 1000);
    assert!(
        letter.text.contains("\n[4194304 more bytes are left out]\n"),
        "it says so"
    );
}

#[test]
fn what_is_no_address() {
    for dest in [
        "",
        "a b@example.com",
        "ü@example.com",
        "<a@example.com> SIZE=1\r\n",
        "a@example.com, ",
    ] {
        let refused = matches!(mail(&[("dest", dest)]), Err(Error::Address { .. }));
        assert_eq!(refused, dest != "<a@example.com> SIZE=1\r\n", "{dest:?}");
    }
    let mail = mail(&[("dest", "<a@example.com> SIZE=1\r\n")]).unwrap();
    assert_eq!(mail.recipients, ["a@example.com"]);
    let letter = mail.about_start("sshd", "mx1");
    assert_eq!(mail.write(&letter, Timestamp::default()), Err(Error::LineBreak));
}
