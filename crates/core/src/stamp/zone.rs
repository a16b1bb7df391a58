//! Zone names and offsets in log lines and in `logtimezone` (contract §3.9).
//!
//! An abbreviation stands for one fixed offset; nobody can know from `CET` whether the machine meant summer time.
//! Names such as `Europe/Berlin` are not known here: the local zone is an argument of the detector.

use super::letter;

/// Why a zone text gives no offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoZone {
    /// It is not of the form `ABBR`, `ABBR+hhmm` or `+hhmm`.
    Form,
    /// It has the form, but the abbreviation is none that is known.
    Name,
}

/// Abbreviations by offset in minutes, as Fail2Ban 1.1 reads them.
const NAMES: &[(i32, &str)] = &[
    (-720, "Y"),
    (-660, "NUT SST X"),
    (-600, "CKT HAST HST TAHT TKT W"),
    (-570, "MART MIT"),
    (-540, "AKST GAMT GIT HADT HNY V"),
    (-480, "AKDT CIST HAY HNP PST PT U"),
    (-420, "HAP HNR MST PDT T"),
    (-360, "CST EAST GALT HAR HNC MDT S"),
    (-300, "CDT COT EASST ECT EST ET HAC HNE PET R"),
    (-270, "HLV VET"),
    (-240, "AST BOT CLT COST EDT FKT GYT HAE HNA PYT Q"),
    (-210, "HNT NST NT"),
    (-180, "ADT ART BRT CLST FKST GFT HAA P PMST PYST SRT UYT WGT"),
    (-150, "HAT NDT"),
    (-120, "BRST FNT O PMDT UYST WGST"),
    (-60, "AZOT CVT EGT N"),
    (0, "EGST GMT UTC WET WT Z"),
    (60, "A CET DFT WAT WEDT WEST"),
    (120, "B CAT CEDT CEST EET SAST WAST"),
    (180, "C EAT EEDT EEST IDT MSK"),
    (210, "IRST"),
    (240, "AMT AZT D GET GST KUYT MSD MUT RET SAMT SCT"),
    (270, "AFT IRDT"),
    (300, "AMST AQTT AZST E HMT MAWT MVT PKT TFT TJT TMT UZT YEKT"),
    (330, "SLT"),
    (345, "NPT"),
    (360, "ALMT BIOT BTT F IOT KGT NOVT OMST YEKST"),
    (390, "CCT MMT"),
    (420, "CXT DAVT G HOVT ICT KRAT NOVST OMSST THA WIB"),
    (480, "ACT AWST BDT BNT CAST H HKT IRKT KRAST MYT PHT SGT ULAT WITA WST"),
    (540, "AWDT I IRKST JST KST PWT TLT WDT WIT YAKT"),
    (570, "ACST"),
    (600, "AEST ChST K PGT VLAT YAKST YAPT"),
    (630, "ACDT LHST"),
    (660, "AEDT L LHDT MAGT NCT PONT SBT VLAST VUT"),
    (690, "NFT"),
    (720, "ANAST ANAT FJT GILT M MAGST MHT NZST PETST PETT TVT WFT"),
    (780, "FJST NZDT"),
];

/// The offset of `logtimezone`, where a line end behind it does no harm.
///
/// # Errors
/// Those of [`offset`].
pub(super) fn standing_offset(text: &str) -> Result<i32, NoZone> {
    offset(text.strip_suffix('\n').unwrap_or(text))
}

/// The offset from UTC in minutes of `ABBR`, `[+-]hh`, `[+-]hhmm`, `[+-]hh:mm` or both; empty text is UTC.
///
/// # Errors
/// [`NoZone`]: not of that form, or an unknown abbreviation.
pub(super) fn offset(text: &str) -> Result<i32, NoZone> {
    let signed = text.find(['+', '-']).unwrap_or(text.len());
    let (name, digits) = text.split_at(signed);
    if !is_abbreviation(name) {
        return Err(NoZone::Form);
    }
    let shift = if digits.is_empty() {
        0
    } else {
        shift(digits).ok_or(NoZone::Form)?
    };
    Ok(named(name).ok_or(NoZone::Name)? + shift)
}

/// None, one, or three to five capitals.
fn is_abbreviation(name: &str) -> bool {
    matches!(name.len(), 0 | 1 | 3..=5) && name.bytes().all(|b| b.is_ascii_uppercase())
}

fn named(name: &str) -> Option<i32> {
    if name.is_empty() {
        return Some(0);
    }
    let row = NAMES
        .iter()
        .find(|(_, names)| names.split(' ').any(|known| known == name))?;
    Some(row.0)
}

/// `[+-]hh`, `[+-]hhmm` or `[+-]hh:mm` in minutes; hours go to 19, minutes are not checked, as in Fail2Ban.
fn shift(text: &str) -> Option<i32> {
    let mut characters = text.chars();
    let sign = if characters.next()? == '-' { -1 } else { 1 };
    let mut digits = Vec::with_capacity(4);
    for (index, c) in characters.enumerate() {
        match letter::digit(c) {
            _ if index == 2 && c == ':' => {}
            Some(value) if index != 0 || matches!(c, '0' | '1') => digits.push(i32::try_from(value).ok()?),
            _ => return None,
        }
    }
    match (digits.as_slice(), text.ends_with(':')) {
        ([tens, ones], false) => Some(sign * (tens * 10 + ones) * 60),
        ([tens, ones, ten_minutes, minutes], _) => Some(sign * ((tens * 10 + ones) * 60 + ten_minutes * 10 + minutes)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Result<i32, NoZone>) {
        assert_eq!(offset(text), expect, "{text}");
    }

    #[test]
    fn names_and_offsets() {
        check("UTC", Ok(0));
        check("", Ok(0));
        check("CEST", Ok(120));
        check("CET+0130", Ok(150));
        check("CEST-01", Ok(60));
        check("-10:45", Ok(-645));
        check("+0945", Ok(585));
        check("UTC-0430", Ok(-270));
        check("NPT", Ok(345));
        check("GMT+12", Ok(720));
        check("+1", Err(NoZone::Form));
        check("+25", Err(NoZone::Form));
        check("+01:", Err(NoZone::Form));
        check("+013", Err(NoZone::Form));
        check("cet", Err(NoZone::Form));
        check("CE", Err(NoZone::Form));
        check("WRONG-TZ", Err(NoZone::Form));
        check("XYZ", Err(NoZone::Name));
        check("BST", Err(NoZone::Name));
        check("Europe/Berlin", Err(NoZone::Form));
    }
}
