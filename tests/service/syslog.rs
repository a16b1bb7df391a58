//! A real rsyslog, listening at the site's own `/dev/log`, where syslog(3) of the site's mail servers finds it.

use std::fs;

use crate::site::Site;
use crate::wait;

/// rsyslog's two ways to begin a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stamps {
    /// `Nov 22 18:51:07 host`
    Traditional,
    /// `2025-11-22T18:51:07.123456+00:00 host`
    Iso,
}

/// Starts it and waits until it listens.
pub(crate) fn start(site: &Site, stamps: Stamps) {
    let template = match stamps {
        Stamps::Traditional => "RSYSLOG_TraditionalFileFormat",
        Stamps::Iso => "RSYSLOG_FileFormat",
    };
    let (socket, file) = (site.path("dev/log"), site.log("mail.log"));
    let configuration = format!(
        r#"global(workDirectory="{work}")
module(load="imuxsock" SysSock.Use="off")
input(type="imuxsock" Socket="{socket}")
mail.* action(type="omfile" file="{file}" template="{template}")
"#,
        work = site.path("").display(),
        socket = socket.display(),
        file = file.display(),
    );
    let path = site.path("rsyslog.conf");
    fs::write(&path, configuration).unwrap();
    let mut command = site.command("rsyslogd");
    command
        .arg("-n")
        .arg("-f")
        .arg(path)
        .arg("-i")
        .arg(site.path("rsyslog.pid"));
    site.start("rsyslog", &mut command);
    wait::until(
        "rsyslog's socket",
        || socket.exists().then_some(()),
        || site.read_log("rsyslog.out"),
    );
}
