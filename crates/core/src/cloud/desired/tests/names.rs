//! The names of further rules.

use proptest::prelude::*;

use super::*;

#[test]
fn names_and_numbers() {
    let check = |base: &str, family: Family, number: usize, expect: &str| {
        assert_eq!(rule_name(base, family, number), expect);
        assert_eq!(rule_number(base, expect), Some((family, number)), "{base}");
    };
    let (four, six) = (Family::Inet4, Family::Inet6);
    check("block-ip", four, 1, "block-ip");
    check("block-ip", four, 2, "block-ip-2");
    check("block-ip", four, 100, "block-ip-100");
    check("block-ip", six, 1, "block-ip-v6");
    check("block-ip", six, 2, "block-ip-v6-2");
    let long = "a".repeat(56);
    check(&long, six, 100, &format!("{long}-v6-100"));
    let longer = "a".repeat(57);
    check(&longer, four, 1, &longer);
    check(&longer, four, 2, &format!("{}-36819478e9f52054-2", "a".repeat(39)));
    check(&longer, six, 1, &format!("{}-36819478e9f52054-v6", "a".repeat(39)));
}

#[test]
fn names_that_are_not_ours() {
    for name in [
        "block",
        "block-ip2",
        "block-ip-",
        "block-ip-1",
        "block-ip-01",
        "block-ip-02",
        "block-ip-101",
        "block-ip-+2",
        "block-ip-v6-1",
        "block-ip-v62",
        "block-ip-v6-",
        "block-ip-x",
        "block-ip-2-2",
        "",
        "block-ip-v6-v6",
    ] {
        assert_eq!(rule_number("block-ip", name), None, "{name}");
    }
}

#[test]
fn bases_that_begin_alike() {
    let (one, other) = (format!("{}a", "x".repeat(60)), format!("{}b", "x".repeat(60)));
    assert_ne!(rule_name(&one, Family::Inet4, 2), rule_name(&other, Family::Inet4, 2));
    assert_eq!(rule_number(&one, &rule_name(&other, Family::Inet4, 2)), None);
}

proptest! {
    #[test]
    fn every_name_is_a_label_and_found(base in "[a-z]([-a-z0-9]{0,61}[a-z0-9])?", number in 1_usize..=100, is_six: bool) {
        let family = if is_six { Family::Inet6 } else { Family::Inet4 };
        let name = rule_name(&base, family, number);
        prop_assert!(name.len() <= 63, "{}", name);
        prop_assert!(name.bytes().all(|byte| byte == b'-' || byte.is_ascii_lowercase() || byte.is_ascii_digit()));
        prop_assert!(!name.ends_with('-') && name.starts_with(listed_under(&base)));
        prop_assert_eq!(rule_number(&base, &name), Some((family, number)));
        prop_assert!(name_besides(&name).len() <= 63);
    }

    #[test]
    fn any_text_is_no_harm(base: String, name: String) {
        let _ = (rule_number(&base, &name), rule_name(&base, Family::Inet6, 7), listed_under(&base), name_besides(&base));
    }
}
