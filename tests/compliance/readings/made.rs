//! Filters that nobody ships: each asks for what no stock filter does, or does in one way only.

use portcullis_core::config::plan::UseDns;
use serde_json::json;

use super::hostile::Dice;
use super::subject::{Options, Subject};
use super::{CATCHING_UP, FOLLOWING, Pair, TOOL, Way};
use crate::count::Count;

/// A filter's commands (`+` adds a failregex, `-` an ignoreregex), and lines to be read in many orders.
struct Made {
    name: &'static str,
    commands: &'static [(&'static str, &'static str)],
    lines: &'static [&'static str],
}

const MADE: &[Made] = &[
    Made {
        name: "a tuple as id",
        commands: &[
            ("datepattern", "{NONE}"),
            (
                "+",
                r"^a <F-ID>\w*</F-ID>@<F-TUPLE_ID>\S*</F-TUPLE_ID>(?: <F-TUPLE_ID_1>\w+</F-TUPLE_ID_1>)?(?: <HOST>)?$",
            ),
            (
                "+",
                r"^b <F-TUPLE_ID>\w+</F-TUPLE_ID> <F-ALT_ID>\w+</F-ALT_ID> <F-TUPLE_PORT>\d</F-TUPLE_PORT>(?: <ADDR>)?$",
            ),
        ],
        lines: &[
            "a bob@192.0.2.1",
            "a bob@x y 192.0.2.2",
            "a @ host.example",
            "a it's@\"q\" y",
            "a @ y ::1",
            "b one two 3",
            "b one two 3 192.0.2.3",
            "a é\u{301}@\u{85}\u{1f600}",
        ],
    },
    Made {
        name: "tuples where texts are wanted",
        commands: &[
            ("+", "^ ip <F-IP4>[^ ]+</F-IP4>(?: <F-TUPLE_IP4>x</F-TUPLE_IP4>)?$"),
            ("+", r"^ dns <F-DNS>\S+</F-DNS> <F-TUPLE_DNS>\w+</F-TUPLE_DNS>$"),
            ("+", "^ cidr <ADDR>/<CIDR> <F-TUPLE_CIDR>x</F-TUPLE_CIDR>$"),
        ],
        lines: &[
            "2005-08-14 11:59:30 ip 192.0.2.1 x",
            "2005-08-14 11:59:31 dns a b",
            "2005-08-14 11:59:32 cidr 192.0.2.1/8 x",
        ],
    },
    Made {
        name: "a tuple as content",
        commands: &[
            (
                "prefregex",
                "^ <F-CONTENT>.+</F-CONTENT> -<F-TUPLE_CONTENT>x</F-TUPLE_CONTENT>?$",
            ),
            ("+", "^a <HOST>"),
        ],
        lines: &[
            "2005-08-14 11:59:30 a 192.0.2.1 -x",
            "2005-08-14 11:59:30 a 192.0.2.1 -",
            "a 192.0.2.1",
        ],
    },
    Made {
        name: "alternatives",
        commands: &[
            (
                "+",
                r"^ u(?: u=<F-USER>\w*</F-USER>)?(?: a=<F-ALT_USER>\w*</F-ALT_USER>)?(?: b=<F-ALT_USER_1>\w+</F-ALT_USER_1>)? <HOST>(?::<F-PORT/>)?(?: p=<F-ALT_PORT>\d+</F-ALT_PORT>)?$",
            ),
            (
                "+",
                r"^ v (?P<alt_User_2>\w+) (?P<alt_>x)? (?P<alt__1>y)?<F-ALT_USER1>z</F-ALT_USER1> <ADDR>$",
            ),
            ("+", r"^ w <F-ALT_ID>\w+</F-ALT_ID>(?: <F-ID/>)?$"),
        ],
        lines: &[
            "2005-08-14 11:58:00 u u=a 192.0.2.1",
            "2005-08-14 11:58:00 u u= a=b 192.0.2.1:22",
            "2005-08-14 11:58:01 u a= b=c h.example p=3",
            "2005-08-14 11:58:01 u 192.0.2.1:http p=3",
            "2005-08-14 11:58:01 v n  yz 192.0.2.1",
            "2005-08-14 11:58:02 v n x z ::1",
            "2005-08-14 11:58:02 w one",
            "2005-08-14 11:58:02 w one two",
        ],
    },
    Made {
        name: "matches that name nobody",
        commands: &[
            ("+", "^ a(?: from <HOST>)?"),
            ("+", "^ a by <HOST>"),
            ("+", r"^(?P<fid>)$"),
            ("+", "<ADDR>"),
        ],
        lines: &[
            "2005-08-14 11:58:00 a from 192.0.2.1",
            "2005-08-14 11:58:00 a by 192.0.2.2",
            "2005-08-14 11:58:00 b 192.0.2.3",
            "",
        ],
    },
    Made {
        name: "networks",
        commands: &[
            ("+", r"^ s <SUBNET>$"),
            ("+", r"^ a <ADDR>/<F-CIDR>\S*</F-CIDR>$"),
            ("+", "^ i <F-ID>.+</F-ID>$"),
            ("+", "^ r <F-IP4>.+</F-IP4>$"),
            ("+", "^ q <F-IP6>.+</F-IP6>$"),
        ],
        lines: &[
            "2005-08-14 11:58:00 s 192.0.2.77/24",
            "2005-08-14 11:58:00 s [2001:db8::1/64]",
            "2005-08-14 11:58:00 s [2001:DB8::1]",
            "2005-08-14 11:58:00 s 192.0.2.7/0",
            "2005-08-14 11:58:00 s 192.0.2.7/32",
            "2005-08-14 11:58:00 s 999.0.2.7/8",
            "2005-08-14 11:58:00 a 192.0.2.7/",
            "2005-08-14 11:58:00 a 192.0.2.7/x",
            "2005-08-14 11:58:00 a 192.0.2.7/٨",
            "2005-08-14 11:58:00 a 192.0.2.7/-1",
            "2005-08-14 11:58:00 a 192.0.2.7/-2",
            "2005-08-14 11:58:00 a 192.0.2.7/-4",
            "2005-08-14 11:58:00 a 192.0.2.7/-12",
            "2005-08-14 11:58:00 a 192.0.2.7/-7",
            "2005-08-14 11:58:00 a 192.0.2.7/+1_6",
            "2005-08-14 11:58:00 a 192.0.2.7/1__6",
            "2005-08-14 11:58:00 a ::1/-4",
            "2005-08-14 11:58:00 a ::1/-12",
            "2005-08-14 11:58:00 a ::/0",
            "2005-08-14 11:58:00 i 192.0.2.77/24",
            "2005-08-14 11:58:00 i 192.0.2.77/255.255.0.0",
            "2005-08-14 11:58:00 i 192.0.2.77/255.0.255.0",
            "2005-08-14 11:58:00 i 192.0.2.77/999.0.0.0",
            "2005-08-14 11:58:00 i 999.0.2.77/24",
            "2005-08-14 11:58:00 i 192.0.2.77/ffff::",
            "2005-08-14 11:58:00 i [192.0.2.77]",
            "2005-08-14 11:58:00 i [bob]",
            "2005-08-14 11:58:00 i []",
            "2005-08-14 11:58:00 i [",
            "2005-08-14 11:58:00 i [2001:db8::]/32",
            "2005-08-14 11:58:00 i 2001:db8::1/32",
            "2005-08-14 11:58:00 i ::ffff:192.0.2.1",
            "2005-08-14 11:58:00 i ::ffff:c000:201",
            "2005-08-14 11:58:00 i ::192.0.2.1",
            "2005-08-14 11:58:00 i a/b/c",
            "2005-08-14 11:58:00 i 192.0.2.1/",
            "2005-08-14 11:58:00 i /",
            "2005-08-14 11:58:00 i 192.0.2.1/24/8",
            "2005-08-14 11:58:00 i bob\0by",
            "2005-08-14 11:58:00 i bob\0/8",
            "2005-08-14 11:58:00 i fe80::1%eth0",
            "2005-08-14 11:58:00 i 1.2.3",
            "2005-08-14 11:58:00 i 01.2.3.4",
            "2005-08-14 11:58:00 i １.2.3.4/8",
            "2005-08-14 11:58:00 r 2001:db8::1",
            "2005-08-14 11:58:00 r 192.0.2.1 ",
            "2005-08-14 11:58:00 q 192.0.2.1",
            "2005-08-14 11:58:00 q ::ffff:192.0.2.1",
            "2005-08-14 11:58:00 q \0",
        ],
    },
    Made {
        name: "an id and an address",
        commands: &[
            ("+", r"^ a <F-ID>\S+</F-ID> <HOST>$"),
            ("+", r"^ m <F-MLFID>\d+</F-MLFID>(?: <F-ID>\w+</F-ID>)?(?: <HOST>)?$"),
        ],
        lines: &[
            "2005-08-14 11:58:00 a bob 192.0.2.1",
            "2005-08-14 11:58:00 a 192.0.2.1 192.0.2.1",
            "2005-08-14 11:58:00 a ::ffff:192.0.2.1 192.0.2.1",
            "2005-08-14 11:58:00 a 2001:DB8::1 2001:db8::1",
            "2005-08-14 11:58:00 a bob host.example",
            "2005-08-14 11:58:00 a host.example host.example",
            "2005-08-14 11:58:00 m 1",
            "2005-08-14 11:58:00 m 1 bob",
            "2005-08-14 11:58:00 m 1 bob ::1",
            "2005-08-14 11:58:00 m 2 bob h.example",
            "2005-08-14 11:58:00 m 2",
        ],
    },
    Made {
        name: "names",
        commands: &[
            ("+", "^ d <DNS>$"),
            ("+", r"^ e <F-DNS>\S+</F-DNS>$"),
            ("+", "^ h <HOST>$"),
        ],
        lines: &[
            "2005-08-14 11:58:00 d host.example",
            "2005-08-14 11:58:00 d 192.0.2.1",
            "2005-08-14 11:58:00 d 999.0.2.1",
            "2005-08-14 11:58:00 e [2001:db8::1]",
            "2005-08-14 11:58:00 e [2001:db8::1",
            "2005-08-14 11:58:00 e 2001:db8::1]",
            "2005-08-14 11:58:00 e [192.0.2.1]",
            "2005-08-14 11:58:00 e 192.0.2.1/8",
            "2005-08-14 11:58:00 e 12:34:56",
            "2005-08-14 11:58:00 h 12:34:56",
            "2005-08-14 11:58:00 h host",
            "2005-08-14 11:58:00 h [host]",
            "2005-08-14 11:58:00 h ::ffff:192.0.2.1",
        ],
    },
    Made {
        name: "ignoreregexes, fewer than failregexes less two",
        commands: &[
            ("prefregex", "^ x <F-CONTENT>.*</F-CONTENT>$"),
            ("-", "x a"),
            ("+", "^a <HOST>"),
            ("+", "^b <HOST>"),
            ("+", "^c <HOST>"),
            ("+", "^[ab] <HOST>"),
        ],
        lines: &[
            "2005-08-14 11:58:00 x a 192.0.2.1",
            "2005-08-14 11:58:00 x b 192.0.2.1",
            "2005-08-14 11:58:00 y b 192.0.2.1",
            "2005-08-14 11:58:00 x c h.example",
        ],
    },
    Made {
        name: "as many ignoreregexes as that",
        commands: &[
            ("prefregex", "^ x <F-CONTENT>.*</F-CONTENT>$"),
            ("-", "x a"),
            ("-", "^b .*2$"),
            ("+", "^a <HOST>"),
            ("+", "^b <HOST>"),
            ("+", "^[ab] <HOST>"),
        ],
        lines: &[
            "2005-08-14 11:58:00 x a 192.0.2.1",
            "2005-08-14 11:58:00 x b 192.0.2.1",
            "2005-08-14 11:58:00 x b 192.0.2.2",
            "2005-08-14 11:58:00 x  192.0.2.2",
        ],
    },
    Made {
        name: "lines that belong together",
        commands: &[
            ("maxlines", "5"),
            ("+", r"^ (?P<__id>\w) bad$<SKIPLINES>^ (?P=__id) end <HOST>$"),
            (
                "+",
                r"^ (?P<__id>\w) bad$<SKIPLINES>^ (?P=__id) worse$<SKIPLINES>^ (?P=__id) end <HOST>$",
            ),
            ("+", "^ one <HOST>$"),
        ],
        lines: &[
            "2005-08-14 11:58:00 a bad",
            "2005-08-14 11:58:00 b bad",
            "2005-08-14 11:58:01 a worse",
            "2005-08-14 11:58:01 a end 192.0.2.1",
            "2005-08-14 11:58:01 b end 192.0.2.2",
            "2005-08-14 11:58:01 noise",
            "2005-08-14 11:58:02 one 192.0.2.3",
            "2005-08-14 11:58:02 no\u{85}ise\u{2028}x",
            "2005-08-14 11:58:02 a\r",
            "",
        ],
    },
    Made {
        name: "lines that belong together and are ignored",
        commands: &[
            ("maxlines", "4"),
            ("-", "ignored"),
            ("-", "^ a bad\n a ok"),
            (
                "+",
                r"^ (?P<__id>\w) (?:bad|ignored)$<SKIPLINES>^ (?P=__id) end <HOST>$",
            ),
            ("+", "^ <HOST> end$"),
        ],
        lines: &[
            "2005-08-14 11:58:00 a bad",
            "2005-08-14 11:58:00 a ignored",
            "2005-08-14 11:58:00 b bad",
            "2005-08-14 11:58:01 a end 192.0.2.1",
            "2005-08-14 11:58:01 b end 192.0.2.2",
            "2005-08-14 11:58:02 192.0.2.3 end",
            "2005-08-14 11:58:02 a ok",
        ],
    },
    Made {
        name: "lines that belong together, one ignoreregex, four failregexes",
        commands: &[
            ("maxlines", "3"),
            ("-", "quiet"),
            ("+", "^ a <HOST>$"),
            ("+", "^ b$<SKIPLINES>^ c <HOST>$"),
            ("+", "^ d <HOST>$"),
            ("+", "^ [abcd] <HOST>$"),
        ],
        lines: &[
            "2005-08-14 11:58:00 a 192.0.2.1",
            "2005-08-14 11:58:00 b",
            "2005-08-14 11:58:00 c 192.0.2.2",
            "2005-08-14 11:58:00 d 192.0.2.3",
            "2005-08-14 11:58:00 quiet",
        ],
    },
    Made {
        name: "content of lines that belong together",
        commands: &[
            ("maxlines", "3"),
            ("prefregex", r"^ \w <F-MLFID>\d</F-MLFID> <F-CONTENT>.+</F-CONTENT>$"),
            ("+", "^bad <HOST>"),
            ("+", "^bad(?: <HOST>)?"),
            ("+", "bad$<SKIPLINES>^ <ADDR>"),
        ],
        lines: &[
            "2005-08-14 11:58:00 x 1 bad 192.0.2.1",
            "2005-08-14 11:58:00 x 1 bad",
            "2005-08-14 11:58:00 y 2 ok",
            "2005-08-14 11:58:00 192.0.2.3",
            "2005-08-14 11:58:01 x 2 bad h.example",
        ],
    },
    Made {
        name: "sessions",
        commands: &[
            ("prefregex", r"^ <F-MLFID>\d+</F-MLFID> <F-CONTENT>.+</F-CONTENT>$"),
            ("+", "^<F-NOFAIL>open</F-NOFAIL> <HOST>$"),
            ("+", r"^bad <F-USER>\w+</F-USER>$"),
            ("+", r"^fail <F-USER>\w*</F-USER> <HOST>$"),
            (
                "+",
                r"^<F-NOFAIL>try</F-NOFAIL> <F-USER>\w+</F-USER>(?: <F-TUPLE_USER>\w+</F-TUPLE_USER>)? <HOST>$",
            ),
            ("+", r"^<F-NOFAIL>trial</F-NOFAIL> <F-USER>\w+</F-USER> <HOST>$"),
            ("+", r"^<F-MLFPENDING>wait</F-MLFPENDING> <HOST>$"),
            ("+", r"^<F-NOFAIL><F-MLFPENDING>later</F-MLFPENDING></F-NOFAIL> <HOST>$"),
            ("+", r"^<F-MLFGAINED>in</F-MLFGAINED> <F-USER>\w+</F-USER>$"),
            (
                "+",
                r"^<F-MLFFORGET><F-MLFGAINED>over</F-MLFGAINED></F-MLFFORGET>(?: <HOST>)?$",
            ),
            (
                "+",
                r"^<F-NOFAIL><F-MLFFORGET>close</F-MLFFORGET></F-NOFAIL>(?: <HOST>)?$",
            ),
            ("+", r"^<F-MLFFORGET>reset</F-MLFFORGET>(?: <HOST>)?$"),
            (
                "+",
                r"^\w+ <F-MLFFORGET></F-MLFFORGET><F-NOFAIL></F-NOFAIL><F-EXTRA>x</F-EXTRA>$",
            ),
        ],
        lines: &[
            "2005-08-14 11:58:00 1 open 192.0.2.1",
            "2005-08-14 11:58:00 1 bad bob",
            "2005-08-14 11:58:00 1 bad al",
            "2005-08-14 11:58:00 1 fail bob 192.0.2.1",
            "2005-08-14 11:58:00 1 fail  192.0.2.1",
            "2005-08-14 11:58:00 1 try bob 192.0.2.1",
            "2005-08-14 11:58:00 1 try bob al 192.0.2.1",
            "2005-08-14 11:58:00 1 wait 192.0.2.1",
            "2005-08-14 11:58:00 1 later 192.0.2.1",
            "2005-08-14 11:58:00 1 in bob",
            "2005-08-14 11:58:00 1 in al",
            "2005-08-14 11:58:00 1 over",
            "2005-08-14 11:58:00 1 over 192.0.2.1",
            "2005-08-14 11:58:00 1 close",
            "2005-08-14 11:58:00 1 close 192.0.2.1",
            "2005-08-14 11:58:00 1 reset",
            "2005-08-14 11:58:00 1 reset 192.0.2.1",
            "2005-08-14 11:58:00 1 a x",
            "2005-08-14 11:58:00 2 open h.example",
            "2005-08-14 11:58:00 2 bad bob",
            "2005-08-14 11:58:00 2 trial al 192.0.2.2",
            "2005-08-14 11:58:00 2 trial bob 192.0.2.2",
            "2005-08-14 11:58:00 2 in bob",
            "2005-08-14 11:58:00 2 over",
            "2005-08-14 11:58:00 2 close 192.0.2.2",
        ],
    },
    Made {
        name: "no session, and no fail",
        commands: &[
            ("+", r"^ <F-NOFAIL>a</F-NOFAIL> <HOST>$"),
            ("+", r"^ <F-MLFGAINED>b</F-MLFGAINED> <HOST>$"),
            ("+", r"^ <F-MLFPENDING>c</F-MLFPENDING> <HOST>$"),
        ],
        lines: &[
            "2005-08-14 11:58:00 a 192.0.2.1",
            "2005-08-14 11:58:00 b 192.0.2.1",
            "2005-08-14 11:58:00 c 192.0.2.1",
        ],
    },
    Made {
        name: "sessions by the pattern, not the prefix",
        commands: &[
            (
                "+",
                r"^ <F-TUPLE_MLFID>\d</F-TUPLE_MLFID>-<F-MLFID>\d</F-MLFID> a(?: <HOST>)?$",
            ),
            (
                "+",
                r"^ <F-MLFID>\d-\d</F-MLFID> (?:a|b <F-USER>\w+</F-USER>)(?: <HOST>)?$",
            ),
            ("+", r"^ \S+ \w <F-USER>\w+</F-USER> <HOST>$"),
        ],
        lines: &[
            "2005-08-14 11:58:00 1-2 a",
            "2005-08-14 11:58:00 1-2 a 192.0.2.1",
            "2005-08-14 11:58:00 1-2 b bob",
            "2005-08-14 11:58:00 1-2 b al 192.0.2.1",
        ],
    },
    Made {
        name: "no dates",
        commands: &[("datepattern", "{NONE}"), ("+", "from <HOST>$")],
        lines: &["a from 192.0.2.1", "2005-08-14 11:58:00 from 192.0.2.2", ""],
    },
    Made {
        name: "dates that may be empty",
        commands: &[("datepattern", r"^X:()**"), ("+", "from <HOST>$")],
        lines: &["X: from 192.0.2.1", "2005-08-14 11:58:00 from 192.0.2.2", "X:", ""],
    },
    Made {
        name: "half a date",
        commands: &[("datepattern", "^(%H:%M:%S) %Y-%m-%d"), ("+", "from <HOST>$")],
        lines: &[
            "11:59:30 2005-08-14 from 192.0.2.1",
            "11:59:30 2005-08-13 from 192.0.2.2",
            "11:59:30 2005-02-30 from 192.0.2.3",
            "from 192.0.2.4",
            "11:59:30 from 192.0.2.4",
        ],
    },
    Made {
        name: "dates that cannot be read",
        commands: &[
            ("datepattern", "%Y-%m-%d %H:%M:%S(?: %ExZ)?\n%d/%b %H:%M\nEPOCH"),
            ("+", "from <HOST>$"),
        ],
        lines: &[
            "2005-08-14 11:59:30 from 192.0.2.1",
            "2005-02-30 11:59:30 from 192.0.2.1",
            "2005-08-14 11:59:30 CEST from 192.0.2.1",
            "2005-08-14 11:59:30 XYQ from 192.0.2.1",
            "14/Aug 11:59 from 192.0.2.2",
            "29/Feb 11:59 from 192.0.2.2",
            "1124013590 from 192.0.2.3",
            "1124013590.75 from 192.0.2.3",
            "99999999999 from 192.0.2.3",
            "from 192.0.2.4",
            "14/Aug 12:30 from 192.0.2.2",
            "0000-01-01 00:00:00 from 192.0.2.5",
            "2005-08-14 11:58:59 cest from 192.0.2.1",
        ],
    },
];

impl Made {
    fn subject(&self) -> Subject {
        let verb = |verb: &str| match verb {
            "+" => "addfailregex".to_owned(),
            "-" => "addignoreregex".to_owned(),
            other => other.to_owned(),
        };
        Subject {
            filter: self.name.to_owned(),
            options: Options::new(),
            commands: self
                .commands
                .iter()
                .map(|(name, value)| (verb(name), (*value).to_owned()))
                .collect(),
        }
    }

    /// Each line once, then all of them in any order.
    fn lines(&self) -> Vec<String> {
        let mut dice = Dice::new(7);
        let more = (0..200).map(|_| self.lines[dice.roll(self.lines.len())]);
        self.lines.iter().copied().chain(more).map(str::to_owned).collect()
    }
}

#[test]
fn filters_that_nobody_ships() {
    let mut count = Count::of("readings, filters that nobody ships");
    let mut pair = Pair::new(Vec::new());
    let mut failures = 0;
    for made in MADE {
        pair.take(made.lines());
        for usedns in [UseDns::Yes, UseDns::Warn, UseDns::No, UseDns::Raw] {
            for way in [CATCHING_UP, FOLLOWING, TOOL] {
                pair.compare(&made.subject(), Way { usedns, ..way }, &mut count, &mut failures);
            }
        }
    }
    println!("{} filters, {failures} readings", MADE.len());
    assert!(failures > 20_000, "{failures}");
    count.close(50_000);
}

/// Two hundred sessions at once, which Fail2Ban's memory does not hold, with time passing.
#[test]
fn more_sessions_than_are_kept() {
    let mut count = Count::of("readings, more sessions than are kept");
    let sessions = Made {
        name: "many sessions",
        commands: &[
            ("prefregex", r"^ <F-MLFID>\d+</F-MLFID> <F-CONTENT>.+</F-CONTENT>$"),
            ("+", "^<F-NOFAIL>open</F-NOFAIL> <HOST>$"),
            ("+", r"^bad <F-USER>\w+</F-USER>$"),
            ("+", "^<F-NOFAIL><F-MLFFORGET>end</F-MLFFORGET></F-NOFAIL>"),
        ],
        lines: &[],
    };
    let mut dice = Dice::new(11);
    let words = ["open 192.0.2.1", "bad bob", "bad al", "open 192.0.2.2", "end"];
    let line = |_| {
        format!(
            "2005-08-14 11:58:00 {} {}",
            dice.roll(200),
            words[dice.roll(words.len())]
        )
    };
    let mut pair = Pair::new((0..4_000).map(line).collect());
    let mut failures = 0;
    for step in [0, 1, 3, 10] {
        pair.compare(
            &sessions.subject(),
            Way { step, ..FOLLOWING },
            &mut count,
            &mut failures,
        );
    }
    assert!(failures > 500, "{failures}");
    count.close(16_000);
}

/// D-052: a prefix longer than its address.
#[test]
fn prefixes_longer_than_an_address() {
    let made = Made {
        name: "long prefixes",
        commands: &[("+", "^ a <SUBNET>$")],
        lines: &[
            "2005-08-14 11:59:30 a 192.0.2.1/33",
            "2005-08-14 11:59:30 a 2001:db8::1/129",
        ],
    };
    let mut pair = Pair::new(made.lines.iter().map(|line| (*line).to_owned()).collect());
    let id = |readings: &super::Readings, line: usize| readings.found[&line]["hits"][0][1].clone();
    let (theirs, ours) = (pair.theirs(&made.subject(), TOOL), pair.ours(&made.subject(), TOOL));
    assert_eq!(id(&theirs, 0), json!(["network /33", "192.0.2.1"]));
    assert_eq!(id(&ours, 0), json!(["address", "192.0.2.1"]));
    assert_eq!(id(&theirs, 1), json!(["network /129", "2001:db8::1"]));
    assert_eq!(id(&ours, 1), json!(["address", "2001:db8::1"]));
}

/// D-051: a group under a name of Fail2Ban's own. There every match of it fails.
#[test]
fn groups_under_names_of_fail2bans_own() {
    let made = Made {
        name: "own names",
        commands: &[("+", "^ a <F-MATCHES>x</F-MATCHES> <HOST>$")],
        lines: &["2005-08-14 11:59:30 a x 192.0.2.1"],
    };
    let mut pair = Pair::new(vec![made.lines[0].to_owned()]);
    let theirs = pair.theirs(&made.subject(), CATCHING_UP);
    assert_eq!(
        theirs.found[&0],
        json!({"refused": true, "told": [], "hits": [], "tickets": []})
    );
    let plan = made.subject().plan("warn");
    let settings = portcullis_core::filter::Settings {
        zone: jiff::tz::TimeZone::UTC,
        check_all: false,
        check_age: true,
    };
    let ours = portcullis_core::filter::Filter::new(&plan, settings).err().unwrap();
    assert_eq!(ours.to_string(), "a group of the name matches is not supported yet");
}
