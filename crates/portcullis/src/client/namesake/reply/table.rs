//! The table of `stats`: a row for each jail (contract §8.5).

use portcullis_core::value::Value;

use super::object::at;

/// The narrowest columns: jail, backend, failures now and in all, bans now and in all.
const NARROWEST: [usize; 6] = [8, 8, 3, 3, 3, 3];

/// What the lines are drawn with.
struct Pen {
    bar: char,
    rule: char,
    branch: char,
    crossing: char,
    double_crossing: char,
    foot: char,
    thin_bar: char,
    thin_rule: char,
}

const ASCII: Pen = Pen {
    bar: '|',
    rule: '-',
    branch: '|',
    crossing: 'x',
    double_crossing: 'x',
    foot: '-',
    thin_bar: '|',
    thin_rule: '-',
};

const BOXES: Pen = Pen {
    bar: '║',
    rule: '═',
    branch: '╟',
    crossing: '╫',
    double_crossing: '╬',
    foot: '╩',
    thin_bar: '│',
    thin_rule: '─',
};

/// The table; nothing if the reply is no dict of jails with six values each.
pub(super) fn stats(reply: &Value, boxes: bool) -> Option<String> {
    let Value::Dict(jails) = reply else { return None };
    let rows: Option<Vec<[String; 6]>> = jails.iter().map(|(name, values)| row(name, values)).collect();
    let rows = rows?;
    let mut widths = NARROWEST;
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    Some(draw(&rows, widths, if boxes { &BOXES } else { &ASCII }))
}

fn row(name: &Value, values: &Value) -> Option<[String; 6]> {
    let mut cells = vec![name.clone(), at(values, 0)?];
    cells.extend(at(values, 1)?.each()?);
    cells.extend(at(values, 2)?.each()?);
    let texts: Vec<String> = cells.iter().map(Value::to_string).collect();
    texts.try_into().ok()
}

fn draw(rows: &[[String; 6]], widths: [usize; 6], pen: &Pen) -> String {
    let [jail, backend, now, all, bans, all_bans] = widths;
    let (filter, actions) = (now + all + 3, bans + all_bans + 3);
    let bar = pen.bar;
    let line = |cells: [&str; 6]| {
        let [name, kind, a, b, c, d] = cells;
        let thin = pen.thin_bar;
        format!(
            " {name:<jail$} {bar} {kind:<backend$} {bar} {a:>now$} {thin} {b:>all$} {bar} {c:>bans$} {thin} {d:>all_bans$}"
        )
    };
    let rule = |knot: char| {
        let part = |width: usize| pen.rule.to_string().repeat(width);
        let parts = [jail, backend, filter, actions].map(part);
        format!(
            "{r}{}{r}",
            parts.join(&format!("{r}{knot}{r}", r = pen.rule)),
            r = pen.rule
        )
    };
    let thin = |width: usize| pen.thin_rule.to_string().repeat(width + 1);
    let mut lines = vec![
        format!(
            " {:<jail$} {bar} {:<backend$} {bar} {:<filter$} {bar} {:<actions$}",
            "", "", "Filter", "Actions"
        ),
        format!(
            " {:<jail$} {bar} {:<backend$} {}{}{}{}{}",
            "Jail",
            "Backend",
            pen.branch,
            thin(filter),
            pen.thin_rule,
            pen.crossing,
            thin(actions + 1)
        ),
        line(["", "", "cur", "tot", "cur", "tot"]),
        rule(pen.double_crossing),
    ];
    lines.extend(rows.iter().map(|row| line(row.each_ref().map(String::as_str))));
    lines.push(rule(pen.foot));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found by running Fail2Ban with an encoding that is not UTF-8.
    const PLAIN: &[&str] = &[
        "          |          | Filter    | Actions  ",
        " Jail     | Backend  |-----------x-----------",
        "          |          | cur | tot | cur | tot",
        "----------x----------x-----------x-----------",
        " sshd     | polling  |   1 |   4 |   1 |   1",
        "---------------------------------------------",
    ];

    #[test]
    fn both_pens() {
        let pair = |now: i64, all: i64| Value::Tuple(vec![now.into(), all.into()]);
        let row = Value::List(vec!["polling".into(), pair(1, 4), pair(1, 1)]);
        let reply = Value::Dict(vec![("sshd".into(), row)]);
        assert_eq!(stats(&reply, false), Some(PLAIN.join("\n")));
        let drawn = stats(&reply, true).unwrap();
        assert!(
            drawn.starts_with("          ║          ║ Filter    ║ Actions"),
            "{drawn}"
        );
    }
}
