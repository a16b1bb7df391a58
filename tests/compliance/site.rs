//! A server under Fail2Ban's own names: Fail2Ban's, or ours. What is run against it need not know which.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use crate::house::{self, House, Jail, eventually};
use crate::oracle;

/// Whose server and whose client a program is run against.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Server {
    Fail2Ban,
    Portcullis,
}

/// A server with the jails `plain` and `other`, in a house of its own.
pub(crate) struct Site {
    server: Server,
    pub(crate) house: House,
    process: Child,
}

impl Site {
    /// Starts it; `options` are those of `plain`.
    pub(crate) fn start(server: Server, options: &str) -> Site {
        Site::start_in(House::empty(), server, options)
    }

    /// Starts it in a house in which something runs already.
    pub(crate) fn start_in(house: House, server: Server, options: &str) -> Site {
        let jails = ["plain", "other"].map(|name| Jail {
            name,
            maxretry: 3,
            options: if name == "plain" { options } else { "" },
        });
        house.jails(&jails);
        let at = |part: &str| house.path(part).display().to_string();
        house.write(
            "etc/fail2ban.conf",
            format!(
                "[DEFAULT]\nloglevel = INFO\nsyslogsocket = auto\nallowipv6 = auto\n\
                 [Definition]\nlogtarget = {}\nsocket = {}\npidfile = {}\n\
                 dbfile = {}\ndbpurgeage = 1d\ndbmaxmatches = 10\n[Thread]\nstacksize = 0\n",
                at("fail2ban.log"),
                at("socket"),
                at("pid"),
                at("db")
            ),
        );
        house.write("etc/jail.conf", "[DEFAULT]\nbackend = polling\n");
        fs::create_dir(house.path("bin")).unwrap();
        for name in ["fail2ban-client", "fail2ban-server"] {
            let program = match server {
                Server::Fail2Ban => oracle::root().join("usr/bin").join(name),
                Server::Portcullis => PathBuf::from(house::PROGRAM),
            };
            symlink(program, house.path("bin").join(name)).unwrap();
        }
        let mut site = Site {
            server,
            process: Command::new("true").spawn().unwrap(),
            house,
        };
        site.process.wait().unwrap();
        let mut command = site.inside(&site.program("fail2ban-server"));
        command.arg("-c").arg(site.house.path("etc")).arg("-f");
        site.process = command.stdout(Stdio::null()).spawn().unwrap();
        eventually("the server answers", || site.client(&["ping"]).status.success());
        // A command that is refused would be in the log.
        eventually("both jails run", || {
            let status = site.client(&["status"]);
            String::from_utf8_lossy(&status.stdout).contains("other, plain")
        });
        site
    }

    /// Bans these addresses in `plain`, and waits until they are.
    pub(crate) fn ban(&self, who: &[&str]) {
        let banned = self.client(&[&["set", "plain", "banip"], who].concat());
        assert!(banned.status.success(), "{banned:?}");
        eventually("they are banned", || {
            let banned = self.client(&["get", "plain", "banip"]);
            let banned = String::from_utf8_lossy(&banned.stdout).into_owned();
            who.iter().all(|who| banned.contains(who))
        });
    }

    /// One of Fail2Ban's programs, as this server has them.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.house.path("bin").join(name)
    }

    /// A program in the server's namespace, which finds the server's own programs first.
    pub(crate) fn inside(&self, program: &Path) -> Command {
        let mut command = self.house.inside(&program.display().to_string());
        if self.server == Server::Fail2Ban {
            for (name, value) in oracle::python().get_envs() {
                command.env(name, value.unwrap());
            }
        }
        // A second one of ours does not start where the first has its state.
        command.env("PORTCULLIS_STATE", self.house.path("state"));
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", self.house.path("bin").display()));
        command
    }

    /// What `fail2ban-client` answers.
    pub(crate) fn client(&self, words: &[&str]) -> Output {
        let mut command = self.inside(&self.program("fail2ban-client"));
        command
            .arg("-c")
            .arg(self.house.path("etc"))
            .args(words)
            .output()
            .unwrap()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.client(&["stop"]);
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
