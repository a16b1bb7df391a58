//! A mail server's machine and the machine of whoever attacks it, as far as a test needs them.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use tempfile::TempDir;

use crate::client::Client;
use crate::daemon::Daemon;
use crate::namespace::Namespace;
use crate::{dovecot, postfix, syslog};

/// The server's addresses.
pub(crate) const SERVER: &str = "192.0.2.1";
pub(crate) const SERVER6: &str = "2001:db8:1::1";
/// Clients somewhere else.
pub(crate) const FAR: &str = "198.51.100.10";
pub(crate) const FAR_TOO: &str = "198.51.100.11";
pub(crate) const FAR6: &str = "2001:db8:2::10";
pub(crate) const FAR6_TOO: &str = "2001:db8:2:1::11";
/// Clients on the server's own networks.
pub(crate) const NEAR: &str = "192.0.2.10";
pub(crate) const NEAR_TOO: &str = "192.0.2.11";
pub(crate) const NEAR6: &str = "2001:db8:1::10";
pub(crate) const NEAR6_TOO: &str = "2001:db8:1::11";

/// How the mail servers write their logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Logs {
    /// Each by itself: `maillog_file` to `/var/log/mail.log`, `log_path` to `/var/log/dovecot.log`
    Own,
    /// Through syslog(3) and rsyslog to `/var/log/mail.log`
    Rsyslog(syslog::Stamps),
}

/// The two machines. What is declared first is dropped first.
pub(crate) struct Site {
    client: Namespace,
    server: Namespace,
    logs: Logs,
    programs: Programs,
    folder: TempDir,
}

/// What was started, to be collected when the namespaces have ended it.
#[derive(Default)]
struct Programs(Mutex<Vec<Child>>);

impl Drop for Programs {
    fn drop(&mut self) {
        for mut child in self.0.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Site {
    /// Two machines with a cable between them, and nothing running yet.
    pub(crate) fn new(logs: Logs) -> Site {
        let (server, client) = (Namespace::new(), Namespace::new());
        server.connect(&client);
        for address in [SERVER, NEAR, NEAR_TOO, FAR, FAR_TOO] {
            let length = if address == SERVER { 24 } else { 32 };
            let machine = if address == SERVER { &server } else { &client };
            machine.address(&format!("{address}/{length}"));
        }
        for address in [SERVER6, NEAR6, NEAR6_TOO, FAR6, FAR6_TOO] {
            let length = if address == SERVER6 { 64 } else { 128 };
            let machine = if address == SERVER6 { &server } else { &client };
            machine.address(&format!("{address}/{length}"));
        }
        server.route("198.51.100.0/24");
        server.route("2001:db8:2::/48");
        client.route("192.0.2.0/24");
        client.route("2001:db8:1::/64");
        let folder = tempfile::tempdir().unwrap();
        // The servers' unprivileged processes have to get through.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let site = Site {
            client,
            server,
            logs,
            programs: Programs::default(),
            folder,
        };
        fs::create_dir(site.path("log")).unwrap();
        if logs != Logs::Own {
            site.make_devices();
        }
        site
    }

    /// With Postfix and Dovecot running.
    pub(crate) fn with_mail(logs: Logs) -> Site {
        let site = Site::new(logs);
        if let Logs::Rsyslog(stamps) = logs {
            syslog::start(&site, stamps);
        }
        dovecot::start(&site);
        postfix::start(&site);
        site
    }

    /// A `/dev` with what programs need, and room for a socket `log` that is not the machine's.
    fn make_devices(&self) {
        let dev = self.path("dev");
        fs::create_dir(&dev).unwrap();
        for device in ["null", "zero", "full", "random", "urandom", "tty"] {
            let output = Command::new("cp")
                .arg("-a")
                .arg(format!("/dev/{device}"))
                .arg(&dev)
                .output();
            assert!(output.unwrap().status.success(), "cannot make the device {device}");
        }
        for (name, target) in [("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")] {
            symlink(format!("/proc/self/{target}"), dev.join(name)).unwrap();
        }
        fs::create_dir(dev.join("shm")).unwrap();
    }

    /// A path in the site's own folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file that programs of this site know as `/var/log/NAME`.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.path("log").join(name)
    }

    /// What stands in such a file.
    pub(crate) fn read_log(&self, name: &str) -> String {
        fs::read_to_string(self.log(name)).unwrap_or_default()
    }

    /// All of them, to be shown when a test fails.
    pub(crate) fn all_logs(&self) -> String {
        let names = ["mail.log", "dovecot.log", "fail2ban.log", "portcullis.out"];
        names
            .iter()
            .map(|name| format!("--- {name}\n{}", self.read_log(name)))
            .collect()
    }

    /// A command on the server.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut places = vec![(self.path("log"), "/var/log")];
        if self.logs != Logs::Own {
            places.push((self.path("dev"), "/dev"));
        }
        self.server.command(&places, program.as_ref())
    }

    /// Starts a program on the server; it ends with the site. What it prints goes into a log of that name.
    pub(crate) fn start(&self, name: &str, command: &mut Command) {
        let out = fs::File::create(self.log(&format!("{name}.out"))).unwrap();
        let both = (out.try_clone().unwrap(), out);
        let command = command.stdin(Stdio::null()).stdout(both.0).stderr(both.1);
        self.programs.0.lock().unwrap().push(command.spawn().unwrap());
    }

    /// How the servers write their logs.
    pub(crate) fn logs(&self) -> Logs {
        self.logs
    }

    /// The client with this address.
    pub(crate) fn client<'s>(&'s self, address: &'s str) -> Client<'s> {
        Client::new(&self.client, address)
    }

    /// The attacker's machine.
    pub(crate) fn client_machine(&self) -> &Namespace {
        &self.client
    }

    /// The mail server's machine.
    pub(crate) fn server_machine(&self) -> &Namespace {
        &self.server
    }

    /// A configuration folder: file names and texts.
    pub(crate) fn configuration(&self, files: &[(&str, &str)]) -> PathBuf {
        let folder = self.path("etc");
        for (name, text) in files {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    /// Portcullis over a folder with this `jail.local`.
    pub(crate) fn guard(&self, jails: &str) -> Daemon<'_> {
        self.configuration(&[("jail.local", jails)]);
        Daemon::start(self)
    }
}
