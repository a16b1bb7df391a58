//! What other services write beside the one that a log is about.

use super::Kind::Plain;
use super::{Shape, row};

/// Messages that no filter matches.
#[rustfmt::skip]
pub(crate) const PEACEFUL: &[Shape] = &[
    row(Plain, 4, "systemd[1]", "Started session-{number:1-90000}.scope - Session {number:1-90000} of User {user}."),
    row(Plain, 3, "systemd[1]", "Starting logrotate.service - Rotate log files..."),
    row(Plain, 2, "systemd[1]", "apt-daily.service: Consumed {number:1-9}.{number:100-999}s CPU time, {number:10-99}.{number:1-9}M memory peak."),
    row(Plain, 3, "kernel", "[{number:1000-90000}.{number:100000-999999}] perf: interrupt took too long ({number:2500-9000} > {number:2000-2499}), lowering kernel.perf_event_max_sample_rate to {number:10000-79000}"),
    row(Plain, 3, "kernel", "[{number:1000-90000}.{number:100000-999999}] IN=eth0 OUT= MAC={hex:28} SRC={ip} DST={here} LEN={number:40-60} TOS=0x00 PREC=0x00 TTL={number:40-250} ID={number:1-65000} DF PROTO=TCP SPT={port} DPT={number:1-1024} WINDOW={number:1000-65000} RES=0x00 SYN URGP=0"),
    row(Plain, 2, "dhclient[#]", "DHCPREQUEST for {here} on eth0 to {ip} port 67"),
    row(Plain, 2, "dhclient[#]", "DHCPACK of {here} from {ip} (xid=0x{hex:8})"),
    row(Plain, 1, "chronyd[#]", "Selected source {ip} (time{number:1-4}.{domain})"),
    row(Plain, 1, "rsyslogd", "[origin software=\"rsyslogd\" swVersion=\"8.2302.0\" x-pid=\"{number:300-900}\" x-info=\"https://www.rsyslog.com\"] rsyslogd was HUPed"),
    row(Plain, 1, "dockerd[#]", "time=\"2026-01-15T11:5{number:0-9}:0{number:0-9}Z\" level=info msg=\"{words:80-1600}\" container={hex:64}"),
];
