//! Commands by hand: each of Fail2Ban's, with good words and with bad ones.

use serde_json::Value;

/// A line as a command: words between blanks, `'…'` for one with blanks, `#…` for a value in JSON; `~5` lets five seconds
/// pass.
pub(super) fn command(line: &str) -> Value {
    if let Some(seconds) = line.strip_prefix('~') {
        return serde_json::json!({ "tick": seconds.parse::<i64>().unwrap() });
    }
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let (word, after) = if let Some(quoted) = rest.strip_prefix('\'') {
            let (word, after) = quoted.split_once('\'').unwrap();
            (Value::from(word.replace("\\n", "\n")), after)
        } else if let Some(json) = rest.strip_prefix('#') {
            value(json)
        } else {
            let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
            (Value::from(word), after)
        };
        words.push(word);
        rest = after.trim_start();
    }
    Value::Array(words)
}

/// One JSON value, and what stands behind it.
fn value(text: &str) -> (Value, &str) {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let value = values.next().unwrap().unwrap();
    let (json, rest) = text.split_at(values.byte_offset());
    let value = if value.is_f64() {
        serde_json::json!({ "float": json })
    } else {
        value
    };
    (value, rest)
}

/// Sessions, each with the database that the server begins with.
pub(super) fn sessions() -> Vec<(Option<&'static str>, Vec<&'static str>)> {
    let lines = |text: &'static str| text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    vec![
        (None, lines(BASIC)),
        (None, lines(SERVER)),
        (Some(":memory:"), lines(DATABASE)),
        (None, lines(JAILS)),
        (None, lines(FILTER)),
        (None, lines(IGNORING)),
        (None, lines(SOURCES)),
        (None, lines(NUMBERS)),
        (None, lines(GROWTH)),
        (None, lines(BANS)),
        (Some(":memory:"), lines(ATTEMPTS)),
        (None, lines(ACTIONS)),
        (None, lines(MAILS)),
        (None, lines(STATUS)),
        (None, lines(STREAMS)),
        (None, lines(RELOADS)),
    ]
}

const BASIC: &str = r#"
    ping
    ping 5
    version
    version x
    echo
    echo a 'b c' #5 #null #[1,2]
    server-status
    server-status x
    foo
    ''
    #5
    #null
    #[]
    help
    restart
    sleep
    sleep 0
    sleep #0
    sleep '0'
    sleep -1
    sleep #-1
    sleep x
    sleep #null
    sleep #[]
    sleep nan
    config-error
    config-error 'what is wrong'
    status
    stats
    statistic
    statistics
    banned
    banned 192.0.2.1
    unban
    unban --all
    unban 192.0.2.1
    get
    get x
    get x maxretry
    get x nothing
    set
    set x
    set x nothing
    set x maxretry
    set x maxretry 5
    set x maxretry y
    multi-set
    multi-set x
    multi-set x maxretry 5
    multi-set x addfailregex
    multi-set x addfailregex #[]
    multi-set x action
    multi-set x action y
    add
    start
    start x
    start #5
    start #[]
    stop x
    stop #null
    stop --all
    status x
    status x basic
    status x basic y
    status --all
    status --all stats
    status --all nothing
    get #5 maxretry
    get #[1] maxretry
    get x #5
    set x #5
    set x #null #5
    flushlogs
"#;

const SERVER: &str = r#"
    get loglevel
    set loglevel
    set loglevel debug
    set loglevel NOTICE
    set loglevel Warning
    set loglevel foo
    set loglevel #5
    set loglevel 15
    set loglevel heavydebug
    set loglevel ''
    get loglevel
    set loglevel INFO
    get logtarget
    set logtarget
    set logtarget STDERR
    get logtarget
    flushlogs
    set logtarget 'STDOUT[format="%(message)s"]'
    get logtarget
    set logtarget 'STDERR[padding=on'
    set logtarget ''
    set logtarget #5
    set logtarget /nowhere/at/all.log
    get logtarget
    set logtarget FOLDER/f2b.log
    flushlogs
    get logtarget
    set logtarget STDOUT
    flushlogs
    get syslogsocket
    set syslogsocket /run/x
    get syslogsocket
    set syslogsocket auto
    set syslogsocket
    set allowipv6
    set allowipv6 auto
    set allowipv6 yes
    set allowipv6 no
    set allowipv6 #true
    set allowipv6 #5
    set allowipv6 #null
    get allowipv6
    get thread
    set thread
    set thread x
    set thread #5
    set thread #{"dict":[["stacksize",1]]}
    set thread #{"dict":[["stacksize","x"]]}
    set thread #{"dict":[["stacksize",null]]}
    set thread #{"dict":[["stacksize",-1]]}
    set thread #{"dict":[["size",1]]}
    set thread #{"dict":[[5,1]]}
    set thread #{"dict":[]}
    set thread #{"dict":[["stacksize",8192]]}
    get thread
    set thread #{"dict":[["stacksize","0"]]}
    get thread
    get dbfile
    get dbmaxmatches
    get dbpurgeage
    set dbfile
    set dbfile None
    set dbfile none
    set dbfile #5
    set dbmaxmatches
    set dbmaxmatches 5
    set dbpurgeage
    set dbpurgeage 1d
"#;

const DATABASE: &str = r#"
    get dbfile
    get dbmaxmatches
    get dbpurgeage
    set dbmaxmatches
    set dbmaxmatches 5
    set dbmaxmatches -1
    set dbmaxmatches x
    set dbmaxmatches #null
    set dbmaxmatches #2.5
    get dbmaxmatches
    set dbpurgeage
    set dbpurgeage 1d
    set dbpurgeage 1.5h
    set dbpurgeage #7.5
    set dbpurgeage never
    get dbpurgeage
    set dbfile :memory:
    add j polling
    set dbfile None
    set dbfile FOLDER/x.db
    set dbfile :memory:
    get dbfile
    stop j
    set dbfile FOLDER/x.db
    get dbmaxmatches
    get dbpurgeage
    set dbfile None
    get dbfile
    get dbmaxmatches
    set dbmaxmatches x
    set dbfile :memory:
    get dbfile
    set dbfile #null
"#;

const JAILS: &str = r#"
    add j polling
    add j polling
    add j
    add j nothing
    add k nothing
    add k 'polling['
    add k polling[a=b]
    add --all
    add --all polling
    add k POLLING
    add l auto
    add m
    add #5 polling
    add #[] polling
    add 'with blank' polling
    add a polling
    status
    status j
    status j short
    status j stats
    status j basic
    status j ''
    status j #5
    status m nothing
    status a cymru
    stats
    start j
    start j
    start k
    status --all short
    status --all stats
    set j idle on
    set j idle on
    start j
    set j idle off
    set j idle
    set j idle maybe
    set x idle maybe
    set x idle on
    set j idle #true
    get j idle
    stop j
    stop j
    start j
    status
    add j polling
    status
    stop --all
    status
    stop --all
"#;

const FILTER: &str = r#"
    add j polling
    get j prefregex
    get j failregex
    get j ignoreregex
    set j addfailregex
    set j addfailregex '^ from <HOST>$'
    set j addfailregex '^ <F-ID>[^ ]+</F-ID> <F-USER>\w+</F-USER>'
    set j addfailregex '^ <ADDR> <SUBNET> x'
    set j addfailregex '^ no id'
    set j addfailregex '(<HOST>'
    set j addfailregex '[<HOST>'
    set j addfailregex '*<HOST>'
    set j addfailregex ''
    set j addfailregex ' '
    set j addfailregex #5
    set j addfailregex #null
    set x addfailregex '^ <HOST>$'
    set x addfailregex
    get j failregex
    set j delfailregex
    set j delfailregex x
    set j delfailregex #null
    set j delfailregex 99
    set j delfailregex -99
    set j delfailregex -1
    set j delfailregex 0
    set j delfailregex 0
    set j delfailregex 0
    set x delfailregex 0
    set x delfailregex x
    set j prefregex '^ <F-CONTENT>.*</F-CONTENT>'
    get j prefregex
    set j prefregex '('
    set j prefregex ''
    get j prefregex
    set j prefregex #null
    set j prefregex '^ <HOST> <F-CONTENT>.*</F-CONTENT>'
    set j addfailregex '^ now without id'
    set j prefregex #5
    set j prefregex
    set x prefregex ''
    set j addignoreregex '^ not this'
    set j addignoreregex '('
    set j addignoreregex ''
    set j addignoreregex #null
    set j addignoreregex
    get j ignoreregex
    set j delignoreregex 5
    set j delignoreregex x
    set j delignoreregex 0
    get j ignoreregex
    multi-set j addfailregex #["a","<HOST>"]
    multi-set j addfailregex #["<HOST>","("]
    multi-set j addfailregex ab
    multi-set j addfailregex #5
    multi-set j addignoreregex #["a","b"]
    multi-set j addignoreregex #[5]
    multi-set j maxretry 7
    get j failregex
    get j ignoreregex
    get j usedns
    set j usedns yes
    set j usedns NO
    set j usedns raw
    set j usedns Warn
    set j usedns maybe
    set j usedns #true
    set j usedns #false
    set j usedns #5
    set j usedns #null
    set j usedns
    set x usedns yes
    get j usedns
    get j datepattern
    set j datepattern '%Y-%m-%d'
    set j datepattern '%Y-%m-%d\n%d.%m.%Y'
    set j datepattern '%Y\n%Y'
    get j datepattern
    set j datepattern ''
    set j datepattern '{^LN-BEG}'
    set j datepattern '{DATE}'
    set j datepattern '{NONE}'
    set j datepattern Epoch
    set j datepattern TAI64N
    set j datepattern #["%Y","%d"]
    set j datepattern #5
    set j datepattern
    set x datepattern '%Y'
    get j datepattern
    get j logtimezone
    set j logtimezone UTC
    set j logtimezone UTC+0300
    set j logtimezone +0200
    set j logtimezone CET
    set j logtimezone XYZ
    set j logtimezone 'no zone'
    set j logtimezone ''
    set j logtimezone #5
    set j logtimezone #null
    set j logtimezone
    get j logtimezone
    set x logtimezone UTC
"#;

const IGNORING: &str = r#"
    add j polling
    get j ignoreself
    set j ignoreself no
    set j ignoreself yes
    set j ignoreself maybe
    set j ignoreself #true
    set j ignoreself #5
    set j ignoreself #null
    set j ignoreself #[]
    set j ignoreself
    set x ignoreself yes
    get j ignoreip
    set j addignoreip
    set x addignoreip
    set j addignoreip 192.0.2.1
    set j addignoreip 192.0.2.1
    set j addignoreip 192.0.2.9 192.0.2.8
    set j addignoreip 198.51.100.77/24
    set j addignoreip 198.51.100.0/24
    set j addignoreip 2001:db8::1
    set j addignoreip ::ffff:192.0.2.77
    set j addignoreip [2001:db8::2]
    set j addignoreip 2001:db8:5::/48
    set j addignoreip host.example
    set j addignoreip ''
    set j addignoreip 192.0.2.3/255.0.255.0
    set j addignoreip 192.0.2.4 192.0.2.3/255.0.255.0 192.0.2.5
    set j addignoreip #5
    set j addignoreip #null
    set x addignoreip 192.0.2.1
    get j ignoreip
    set j delignoreip
    set j delignoreip 192.0.2.1
    set j delignoreip 192.0.2.1
    set j delignoreip nobody.example
    set j delignoreip host.example
    set j delignoreip 198.51.100.5/24
    set j delignoreip #5
    set j delignoreip #null
    set x delignoreip 192.0.2.1
    set j addignoreip file:/nowhere/list
    get j ignoreip
    set j delignoreip file:///nowhere/list
    get j ignoreip
    get j ignorecommand
    set j ignorecommand '/bin/true <ip>'
    get j ignorecommand
    set j attempt 203.0.113.1 x
    set j ignorecommand '/bin/false <ip>'
    set j attempt 203.0.113.1 x
    set j ignorecommand ''
    get j ignorecommand
    set j ignorecommand
    set x ignorecommand ''
    get j ignorecache
    set j ignorecache 'key="<ip>"'
    set j ignorecache 'key="<ip>", max-count=5, max-time=1.5h'
    set j ignorecache 'key="<ip>", max-count=x'
    set j ignorecache 'key="<ip>", max-time=never'
    set j ignorecache max-count=5
    set j ignorecache nothing
    set j ignorecache #5
    set j ignorecache #null
    set j ignorecache
    get j ignorecache
    set j ignorecache ''
    get j ignorecache
    set x ignorecache nothing
    set x ignorecache ''
"#;

const SOURCES: &str = r#"
    add j polling
    get j logpath
    set j addlogpath
    set j addlogpath FOLDER/a.log
    set j addlogpath FOLDER/a.log
    set j addlogpath FOLDER/b.log tail
    set j addlogpath FOLDER/b.log HEAD
    set j addlogpath FOLDER/b.log middle
    set j addlogpath FOLDER/b.log #5
    set j addlogpath FOLDER/b.log tail more
    set j addlogpath FOLDER/missing.log
    set j addlogpath FOLDER/missing.log tail
    set j addlogpath FOLDER/sub
    set j addlogpath FOLDER/a.log/deeper
    set j addlogpath ''
    set j addlogpath #[]
    set j addlogpath #null
    set x addlogpath FOLDER/a.log
    set x addlogpath FOLDER/a.log middle
    get j logpath
    set j dellogpath
    set j dellogpath FOLDER/none.log
    set j dellogpath FOLDER/a.log
    set j dellogpath #5
    set j dellogpath #[]
    set x dellogpath FOLDER/a.log
    get j logpath
    get j logencoding
    set j logencoding latin1
    get j logencoding
    set j logencoding UTF-16
    set j logencoding nothing
    set j logencoding ''
    set j logencoding auto
    set j logencoding Auto
    set j logencoding #5
    set j logencoding
    set x logencoding utf-8
    get j journalmatch
    set j addjournalmatch
    set j addjournalmatch _SYSTEMD_UNIT=x
    set j deljournalmatch _SYSTEMD_UNIT=x
    set j deljournalmatch
    set x addjournalmatch
    get x journalmatch
"#;

const NUMBERS: &str = r#"
    add j polling
    get j maxretry
    set j maxretry 5
    set j maxretry #6
    set j maxretry ' 7 '
    set j maxretry 1_0
    set j maxretry -1
    set j maxretry 1.5
    set j maxretry #1.5
    set j maxretry #{"float":"nan"}
    set j maxretry #{"float":"inf"}
    set j maxretry #true
    set j maxretry #null
    set j maxretry #[]
    set j maxretry ''
    set j maxretry x
    set j maxretry
    get j maxretry
    get j maxmatches
    set j maxmatches 0
    set j maxmatches 12
    set j maxmatches -3
    set j maxmatches x
    set j maxmatches
    get j maxmatches
    get j maxlines
    set j maxlines 3
    set j maxlines 0
    set j maxlines -3
    set j maxlines x
    set j maxlines #2
    set j maxlines
    get j maxlines
    get j findtime
    set j findtime 600
    set j findtime 1h
    set j findtime '1h 30m'
    set j findtime 1.5h
    set j findtime 1d12h
    set j findtime #5
    set j findtime #5.5
    set j findtime #true
    set j findtime ''
    set j findtime never
    set j findtime '1 fortnight'
    set j findtime 5//0
    set j findtime #null
    set j findtime #[]
    set j findtime
    set x findtime 5
    get j findtime
    get j bantime
    set j bantime 600
    set j bantime 1.5h
    set j bantime 1.5
    set j bantime -1
    set j bantime #-1
    set j bantime #5.7
    set j bantime #true
    set j bantime never
    set j bantime ''
    set j bantime #null
    set j bantime
    set x bantime 5
    get j bantime
    set j bantime 1w
    get j bantime
"#;

const GROWTH: &str = r#"
    add j polling
    get j bantime.increment
    set j bantime.increment true
    get j bantime.increment
    set j bantime.increment no
    set j bantime.increment #true
    set j bantime.increment ''
    set j bantime.increment #null
    set j bantime.increment #5
    set j bantime.increment
    get j bantime.factor
    set j bantime.factor 2
    set j bantime.factor 1.5*2
    set j bantime.factor ''
    get j bantime.factor
    set j bantime.formula 'ban.Time * 2'
    get j bantime.formula
    set j bantime.formula ''
    set j bantime.multipliers '1 2 4'
    get j bantime.multipliers
    set j bantime.multipliers ''
    get j bantime.multipliers
    set j bantime.maxtime 1w
    set j bantime.maxtime #60
    set j bantime.maxtime 1.5h
    get j bantime.maxtime
    set j bantime.maxtime ''
    get j bantime.maxtime
    set j bantime.rndtime 5m
    get j bantime.rndtime
    set j bantime.rndtime #null
    set j bantime.overalljails yes
    get j bantime.overalljails
    set j bantime.overalljails ''
    get j bantime.overalljails
    set j bantime.wings 5
    get j bantime.wings
    set j bantime.wings #[1,"x"]
    set j bantime.wings ''
    get j bantime.wings
    set j bantime. 5
    get j bantime.
    get j bantime.nothing
    set j bantime.factor
    set x bantime.factor 2
    get x bantime.factor
"#;

const BANS: &str = r#"
    add j polling
    add k polling
    start j
    get j banned
    get j banip
    set j banip
    set j banip 192.0.2.1
    set j banip 192.0.2.1
    set j banip 192.0.2.2 192.0.2.1 192.0.2.3 192.0.2.2
    set j banip 10.0.0.0/8 'some text' 2001:db8::1
    set j banip 198.51.100.77/24
    set j banip ::ffff:192.0.2.9
    set j banip [2001:db8::2]
    set j banip 192.0.2.1/255.0.255.0
    set x banip 192.0.2.1
    set k banip 192.0.2.1
    get j banned
    get j banned 192.0.2.1
    get j banned 192.0.2.200
    get j banned 192.0.2.1 192.0.2.200 'some text'
    get j banned ::ffff:192.0.2.1
    get k banned 192.0.2.1/255.0.255.0
    get x banned
    banned
    banned 192.0.2.1
    banned 192.0.2.1 192.0.2.2 192.0.2.200
    get j banip
    get j banip ,
    get j banip --with-time
    get x banip
    ~5
    set j banip 203.0.113.1
    get j banip --with-time
    set k unbanip 192.0.2.1
    set k bantime -1
    set k banip 203.0.113.5 203.0.113.6
    get k banip --with-time
    status j
    status k
    set j unbanip
    set j unbanip 192.0.2.1
    set j unbanip 192.0.2.1
    set j unbanip 192.0.2.2 192.0.2.3 192.0.2.200
    set j unbanip --report-absent
    set j unbanip --report-absent 192.0.2.1
    set j unbanip --report-absent 192.0.2.9 192.0.2.1 nobody.example 172.16.0.0/12
    set j unbanip 198.51.100.0/24
    set j unbanip 10.0.0.0/8
    set j unbanip 'some text'
    set j banip 192.0.2.50 198.51.100.9 192.0.2.51 2001:db8::50
    set j unbanip host.example
    set j unbanip nobody.example other.example
    set j unbanip 192.0.0.0/16
    set j unbanip 192.0.2.0/24
    set j unbanip 192.0.2.1/255.0.255.0
    set j unbanip --report-absent 192.0.2.1/255.0.255.0
    set x unbanip 192.0.2.1
    get j banned
    status j
    set j banip 192.0.2.60 192.0.2.61
    set k banip 192.0.2.60
    unban 192.0.2.60 192.0.2.99
    unban 192.0.2.60
    unban 192.0.2.0/24
    unban --all
    unban --all
    unban --all x
    status j
    status k
    set j bantime 60
    set j banip 192.0.2.7
    get j banip --with-time
    ~59
    get j banned
    ~1
    get j banned
    ~1
    get j banned
"#;

const ATTEMPTS: &str = r#"
    add j polling
    set j attempt
    set j attempt 192.0.2.1
    status j
    set j attempt 192.0.2.1 'a line' 'another'
    status j
    start j
    status j
    set j attempt 192.0.2.2 a b c
    status j
    set j attempt 192.0.2.3
    set j attempt 192.0.2.3
    status j short
    set j attempt 192.0.2.3
    status j short
    set j addignoreip 192.0.2.4 host.example
    set j attempt 192.0.2.4 a b c
    set j attempt 192.0.2.50 a
    set j attempt 192.0.2.51 a
    status j
    set j attempt 'no address' a b c
    status j
    set j attempt 192.0.2.1/255.0.255.0
    set j attempt #5
    set j attempt #null
    set x attempt 192.0.2.1
    set x attempt
    ~1000
    status j
    set j idle on
    set j attempt 192.0.2.8 a b c
    status j
    set j idle off
    status j
    set j maxretry 1
    set j attempt 192.0.2.9
    status j stats
    stats
"#;

const ACTIONS: &str = r#"
    add j polling
    get j actions
    set j addaction
    set j addaction a
    set j addaction a
    set j addaction b
    set x addaction a
    set j addaction c /nowhere.py
    get j actions
    get x actions
    get j actionproperties
    get j actionproperties a
    get j actionproperties x
    get j actionmethods a
    get j actionmethods x
    get x actionmethods a
    get j action
    get j action a
    get j action x
    get j action x actionban
    get j action a actionban
    get j action a actionstart
    get j action a actionreban
    get j action a timeout
    get j action a banEpoch
    get j action a nothing
    get j action a #5
    get j action #[] timeout
    get j action #5 timeout
    set j action
    set j action a
    set j action x actionban
    set j action a actionban
    set j action a actionban 'ban <ip>'
    get j action a actionban
    set j action a actionban?family=inet6 'ban6 <ip>'
    get j action a actionban?family=inet6
    set j action a name value
    set j action a name #5
    get j action a name
    set j action a timeout 5m
    set j action a timeout #5
    set j action a timeout never
    set j action a timeout 1.5m
    get j action a timeout
    set j action a bantime 5
    set j action a #5 x
    get j actionproperties a
    set x action a name value
    set j action a start
    set j action a stop
    set j action a flush
    set j action a start '{"a": 1}'
    set j action a ban
    set j action a ban '{"x": 1}'
    set j action a ban '[1]'
    set j action a ban '5'
    multi-set j action a #[["actionban","other <ip>"],["port","ssh"],["timeout","2m"]]
    get j action a actionban
    get j action a port
    get j action a timeout
    multi-set j action a #[["x"]]
    multi-set j action a #[[]]
    multi-set j action a #5
    multi-set j action a #[5]
    multi-set j action a xy
    multi-set j action a #[[5,5]]
    multi-set j action x #[]
    multi-set j action a #[]
    set j action a clearAllParams
    get j action a actionban
    get j action a timeout
    get j action a port
    set j delaction
    set j delaction x
    set j delaction a
    set j delaction a
    set x delaction a
    get j actions
    get j action a timeout
"#;

const MAILS: &str = r#"
    add j polling
    set j addaction a FOLDER/smtp.py '{}'
    set j addaction b FOLDER/smtp.py '{"host": "mx:25", "ssl": "yes", "user": "me", "dest": "c@d", "matches": "matches"}'
    set j addaction c FOLDER/smtp.py '{"sender": "a@b", "sendername": "N", "password": "x", "ssl": true}'
    get j actions
    get j actionproperties a
    get j actionmethods a
    get j action a fromaddr
    get j action a fromname
    get j action a host
    get j action a matches
    get j action a norestored
    get j action a password
    get j action a ssl
    get j action a toaddr
    get j action a user
    get j action a timeout
    get j action a actionban
    get j action a banEpoch
    get j action a sendername
    get j action a nothing
    get j action b fromaddr
    get j action b fromname
    get j action b host
    get j action b matches
    get j action b password
    get j action b ssl
    get j action b toaddr
    get j action b user
    get j action c fromaddr
    get j action c fromname
    get j action c host
    get j action c matches
    get j action c password
    get j action c ssl
    get j action c toaddr
    get j action c user
    set j action a fromaddr y0
    get j action a fromaddr
    set j action a fromname y1
    get j action a fromname
    set j action a host y2
    get j action a host
    set j action a matches y3
    get j action a matches
    set j action a norestored y4
    get j action a norestored
    set j action a password y5
    get j action a password
    set j action a ssl y6
    get j action a ssl
    set j action a toaddr y7
    get j action a toaddr
    set j action a user y8
    get j action a user
    set j action a timeout y9
    get j action a timeout
    set j action a bantime y10
    get j action a bantime
    set j action a actionban y11
    get j action a actionban
    set j action a banEpoch y12
    get j action a banEpoch
    set j action a sendername y13
    get j action a sendername
    set j action a own y14
    get j action a own
    set j action a timeout never
    set j action a host #null
    set j action a ssl #false
    get j action a host
    get j action a ssl
    get j actionproperties a
    multi-set j action b #[["toaddr","e@f"],["actionban","x"],["own",5]]
    get j action b toaddr
    get j action b own
    get j action b host
    get j actionproperties b
    set j action c clearAllParams
    set j action c flush
    set j action c unban
    set j action c unban '{"aInfo": {"ip": "192.0.2.1"}}'
    set j action c unban '{"x": 1}'
    set j action c unban '[]'
    set j action c reban
    set j action c reban '{"x": 1}'
    set j action c reban '5'
    set j action c ban
    set j action c ban '{"x": 1}'
    set j action c ban '[]'
    set j action c start '{"a": 1}'
    set j action c stop '5'
    set j delaction c
    get j actions
"#;

const STATUS: &str = r#"
    add b polling
    add a polling
    add c polling
    start a
    start b
    set a addlogpath FOLDER/a.log
    set b banip 192.0.2.1 192.0.2.3 192.0.2.2
    set a banip 192.0.2.1
    set a attempt 192.0.2.7 x
    status
    status a
    status b
    status c
    status a basic
    status a short
    status a stats
    status a cymru
    status a nothing
    status a #null
    status a #[]
    status --all
    status --all basic
    status --all short
    status --all nothing
    status --all x y
    status #5
    status #[]
    stats
    statistics x
    banned
    banned 192.0.2.1
"#;

const STREAMS: &str = r#"
    server-stream
    server-stream #5
    server-stream #null
    server-stream #[]
    server-stream #[5]
    server-stream #[[]]
    server-stream #[["ping"]]
    server-stream ping
    server-stream #[["add","j","polling"],["set","j","maxretry",9],["set","j","addfailregex","^<HOST>"],["start","j"]]
    get j maxretry
    get j failregex
    status
    server-stream #[["set","j","maxretry",4],["set","j","maxretry","x"],["set","j","maxretry",2]]
    get j maxretry
    server-stream #[["add","j","polling"]]
    server-stream #[["nothing"]]
    server-stream #[["set","j","addignoreip","192.0.2.1","x.example"],["set","j","usedns","no"]]
    get j ignoreip
    get j usedns
    set j maxretry 5
    server-stream #[["set","j","addaction","a"],["multi-set","j","action","a",[["actionban","x"],["port","y"]]]]
    get j action a port
    server-stream #[["set","j","action","a","start"]]
    server-stream #[["config-error","what is wrong"],["set","j","maxlines",3]]
    get j maxlines
    server-stream #[["stop","j"]]
    status
"#;

const RELOADS: &str = r#"
    reload
    reload x
    reload x #[]
    reload x #[] #[]
    reload x #["--if-exists"] #[]
    reload --all #[] #[]
    reload --all #5 #[]
    reload --all #[] #[["add","j","polling"],["set","j","addfailregex","^<HOST>"],["set","j","addignoreip","192.0.2.1"],["set","j","addlogpath","FOLDER/a.log"],["set","j","addaction","a"],["start","j"],["add","k","polling"],["start","k"]]
    status --all
    get j failregex
    set j banip 192.0.2.7
    set k banip 192.0.2.7
    set j attempt 192.0.2.8
    reload --all #[] #[["add","j","polling"],["set","j","addfailregex","^other<HOST>"],["set","j","addlogpath","FOLDER/b.log"],["start","j"],["add","k","polling"],["start","k"]]
    status --all
    get j failregex
    get j ignoreip
    get j logpath
    get j actions
    banned
    reload j #[] #[["add","j","polling"],["set","j","addfailregex","^third<HOST>"],["start","j"]]
    get j failregex
    status --all
    reload j #["--unban"] #[["add","j","polling"],["start","j"]]
    banned
    set j banip 192.0.2.9
    reload j #["--restart"] #[["add","j","polling"],["start","j"]]
    banned
    status j
    reload --all #["--restart"] #[["add","k","polling"],["start","k"]]
    status --all
    reload k #[] #[["add","k","auto"],["start","k"]]
    status k
    reload --all #["--unban"] #[["add","l","polling"],["start","l"]]
    status
    reload l #[] #[]
    status
    reload --all #[] #[["add","n","polling"]]
    status
    reload --all #[] #[["add","n","polling"]]
    status
"#;
