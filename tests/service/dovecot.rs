//! A real Dovecot with one user, that logs IMAP users in and answers Postfix's questions about passwords.

use std::fs;
use std::os::unix::fs::chown;

use crate::site::{Logs, NEAR_TOO, SERVER, Site};
use crate::wait;

/// The one who may log in.
pub(crate) const USER: &str = "bob";
pub(crate) const PASSWORD: &str = "open sesame";

/// Whose the mail is: Dovecot opens none for users of the system.
const NOBODY: u32 = 65534;

/// Starts it and waits until it answers.
pub(crate) fn start(site: &Site) {
    fs::create_dir(site.path("dovecot")).unwrap();
    fs::create_dir(site.path("mail")).unwrap();
    chown(site.path("mail"), Some(NOBODY), Some(NOBODY)).unwrap();
    fs::write(
        site.path("dovecot/users"),
        format!("{USER}:{{PLAIN}}{PASSWORD}::::::nodelay=y\n"),
    )
    .unwrap();
    let path = site.path("dovecot/dovecot.conf");
    fs::write(&path, configuration(site)).unwrap();
    let mut command = site.command("dovecot");
    site.start("dovecot", command.arg("-F").arg("-c").arg(path));
    wait::until(
        "Dovecot's greeting",
        || site.client(NEAR_TOO).knock(SERVER, 143).is_open().then_some(()),
        || site.read_log("dovecot.out") + &site.all_logs(),
    );
}

/// Without its delays after a failure ("nodelay" above, "auth_failure_delay", the penalty kept by anvil) the tests
/// need no patience.
fn configuration(site: &Site) -> String {
    let log = match site.logs() {
        Logs::Own => "log_path = /var/log/dovecot.log",
        Logs::Rsyslog(_) => "log_path = syslog",
    };
    format!(
        r"base_dir = {folder}/run
state_dir = {folder}/state
{log}
protocols = imap
listen = *, ::
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_failure_delay = 0
default_internal_user = dovecot
default_login_user = dovenull
mail_location = maildir:{mail}
passdb {{
  driver = passwd-file
  args = {folder}/users
}}
userdb {{
  driver = static
  args = uid={NOBODY} gid={NOBODY} home={mail}
}}
service auth {{
  unix_listener {folder}/sasl {{
    mode = 0666
  }}
}}
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service imap-login {{
  inet_listener imaps {{
    port = 0
  }}
}}
",
        folder = site.path("dovecot").display(),
        mail = site.path("mail").display(),
    )
}
