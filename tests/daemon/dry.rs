//! A dry run decides and says so, and nothing takes it for more than that.

use crate::house::{House, Jail, PROGRAM, append, stamp};

#[test]
fn its_bans_do_not_read_like_bans() {
    let mut house = House::empty();
    house.words = vec!["--dry-run".into()];
    house.write(
        "etc/filter.d/again.conf",
        "[Definition]\nfailregex = \\bBan\\s+<HOST>\n",
    );
    let log = format!("filter = again\nlogpath = {}\n", house.path("fail2ban.log").display());
    let jails = [("plain", ""), ("recidive", log.as_str())];
    house.write("fail2ban.log", "");
    house.jails(&jails.map(|(name, options)| Jail {
        name,
        maxretry: 1,
        options,
    }));
    house.start();
    house.fail("plain", "192.0.2.1");
    house.until_said("[plain] would ban 192.0.2.1 (dry run)");
    assert!(house.ask(&["unban", "192.0.2.1"]).status.success());
    house.until_said("[plain] would unban 192.0.2.1 (dry run)");
    // What a real daemon writes into the same file counts.
    let line = format!("{},000 fail2ban.actions [1]: NOTICE  [x] Ban 192.0.2.2\n", stamp(0));
    append(&house.path("fail2ban.log"), line.as_bytes());
    house.until_banned("recidive 192.0.2.2");
    assert_eq!(house.banned(), ["recidive 192.0.2.2"]);
    assert!(house.acts().is_empty(), "{:?}", house.acts());
}

#[test]
fn a_folder_that_is_not_there_is_refused() {
    let house = House::empty();
    for folder in ["nowhere", "fail2ban.log"] {
        house.write("fail2ban.log", "");
        let mut command = house.inside(PROGRAM);
        let command = command.args(["run", "-c"]).arg(house.path(folder));
        let output = command.arg("--state").arg(house.path("state")).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("there is no configuration folder"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    // One without a jail stands on the built-in files.
    std::fs::create_dir(house.path("empty")).unwrap();
    let log = house.path("empty.log");
    house.write(
        "empty/fail2ban.local",
        format!("[Definition]\nlogtarget = {}\n", log.display()),
    );
    let mut command = house.inside("timeout");
    let command = command.args(["2", PROGRAM, "run", "-c"]).arg(house.path("empty"));
    let command = command.arg("--socket").arg(house.path("socket"));
    let output = command.arg("--state").arg(house.path("state")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("0 jails in force"), "{said}");
    assert!(said.contains("no jail is in force; enable one"), "{said}");
}
