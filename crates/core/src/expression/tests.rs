use super::*;

fn facts() -> Facts {
    Facts {
        time: Amount::from(600),
        count: Amount::from(3),
        factor: Amount::from(1),
    }
}

fn compute(text: &str) -> Result<String, String> {
    let expression = Expression::parse(text, Scope::Formula).map_err(|error| error.to_string())?;
    let mut draws = [0.25, 0.5].into_iter().cycle();
    let value = expression.value(&facts(), &mut || draws.next().unwrap_or(0.0));
    value.map(|value| value.to_string()).map_err(|error| error.to_string())
}

#[track_caller]
fn check(text: &str, expect: &str) {
    assert_eq!(compute(text), Ok(expect.to_owned()), "{text}");
}

#[track_caller]
fn fails(text: &str, expect: &str) {
    assert_eq!(compute(text), Err(expect.to_owned()), "{text}");
}

#[test]
fn pythons_arithmetic() {
    check(
        "ban.Time * (1<<(ban.Count if ban.Count<20 else 20)) * banFactor",
        "4800",
    );
    check(
        "ban.Time * math.exp(float(ban.Count+1)*banFactor)/math.exp(1*banFactor)",
        "12051.3221539126",
    );
    check("-7 // 2", "-4");
    check("-7 % 3", "2");
    check("7.5 // -2", "-4.0");
    check("7.5 % -2", "-0.5");
    check("2 ** 3 ** 2", "512");
    check("-2 ** 2", "-4");
    check("2 ** -1", "0.5");
    check("10 ** 30", &format!("1{}", "0".repeat(30)));
    check("7 / 2", "3.5");
    check("(1 << 100) / 3", "4.2255020007607644e+29");
    check("1 < 2 < 3", "True");
    check("1 < 3 < 2 < math.sqrt(-1)", "False");
    check("0 or 2.5 and 7", "7");
    check("not 1 == 2", "True");
    check("True + True", "2");
    check("round(2.5)", "2");
    check("round(2.675, 2)", "2.67");
    check("max(1, 1.0)", "1");
    check("min(3, ban.Count, 2.5)", "2.5");
    check("random.random() + random.random()", "0.75");
    check("random.uniform(10, 20)", "12.5");
    check("1_000 + 0x1F + 1e3", "2031.0");
    check("600 # ten minutes", "600");
    check("(1 +\n 2)\n", "3");
    check("math.log(1 << 2000)", "1386.2943611198907");
}

#[test]
fn pythons_errors() {
    fails("1 / 0", "division by zero");
    fails("1 // 0", "integer division or modulo by zero");
    fails("1.0 % 0", "float modulo");
    fails("0 ** -1", "0.0 cannot be raised to a negative power");
    fails("1 << -1", "negative shift count");
    fails("math.sqrt(-1)", "math domain error");
    fails("math.exp(1000)", "math range error");
    fails("1e300 ** 2", "(34, 'Numerical result out of range')");
    fails("int(math.inf)", "cannot convert float infinity to integer");
    fails("(1 << 2000) * 1.0", "int too large to convert to float");
    fails("1 << 20000", "a whole number of more than 16384 bits");
    fails("9 ** 9 ** 9", "a whole number of more than 16384 bits");
}

#[test]
fn what_is_outside_is_refused_with_its_place() {
    fails("", "it ends too early (column 1)");
    fails("1 +", "it ends too early (column 4)");
    fails("__import__('os')", "'\\'' has no place in an expression (column 12)");
    fails("ban.Time.__class__", "'.' is not expected here (column 9)");
    fails("ban.IP", "'ban.IP' is not supported here (column 1)");
    fails("1 if 2", "it ends too early (column 7)");
    fails("[1][0]", "'[' has no place in an expression (column 1)");
    fails("math.gamma(3)", "'math.gamma' is not supported here (column 1)");
    fails("lambda: 1", "':' has no place in an expression (column 7)");
    fails("max(1)", "max does not take 1 arguments here (column 4)");
    fails("010", "this is no number (column 1)");
    fails("10x", "a letter follows the number (column 1)");
    fails("1\n2", "'\\n' has no place in an expression (column 2)");
    fails("é", "'é' has no place in an expression (column 1)");
    assert!(Expression::parse("ban.Time", Scope::Factor).is_err());
    assert!(Expression::parse("random.random()", Scope::Factor).is_err());
    assert!(Expression::parse("math.pi", Scope::Length).is_err());
}

#[test]
fn depth_and_length_are_capped() {
    for deep in ["(", "-", "not ", "2**", "max(1,", "1 if 1 else "] {
        let refused = Expression::parse(&deep.repeat(300), Scope::Formula).unwrap_err();
        assert_eq!(refused.why, "it nests deeper than 64", "{deep}");
    }
    let long = format!("1{}", "+1".repeat(2000));
    check(&long, "2001");
    assert!(compute(&format!("1{}", "+1".repeat(3000))).is_err());
}
