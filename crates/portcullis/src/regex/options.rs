//! The command line of the verb, with Fail2Ban's option names (contract §9).

use clap::{ArgAction, Args};

/// What `regex` is told.
#[derive(Args, Debug, Clone, Default)]
#[command(
    disable_version_flag = true,
    infer_long_args = true,
    args_override_self = true,
    override_usage = "portcullis regex [OPTIONS] <LOG> <REGEX> [IGNOREREGEX]"
)]
pub(crate) struct Options {
    /// LOG: a file, or a line itself; REGEX: a failregex, a jail, a filter (sshd[mode=aggressive]) or a filter
    /// file; IGNOREREGEX: an ignoreregex in place of the filter's
    #[arg(value_name = "LOG REGEX IGNOREREGEX", num_args = 0..)]
    pub(crate) inputs: Vec<String>,
    /// Configuration folder
    #[arg(
        short = 'c',
        long,
        value_name = "DIR",
        default_value = "/etc/fail2ban",
        allow_hyphen_values = true
    )]
    pub(crate) config: String,
    /// Date pattern, in place of the filter's
    #[arg(short = 'd', long, value_name = "PATTERN", allow_hyphen_values = true)]
    pub(crate) datepattern: Option<String>,
    /// Zone of dates that name none
    #[arg(long, alias = "TZ", value_name = "ZONE", allow_hyphen_values = true)]
    pub(crate) timezone: Option<String>,
    /// Encoding of the file
    #[arg(short = 'e', long, value_name = "ENCODING", default_value_t = crate::matching::preferred())]
    pub(crate) encoding: String,
    /// Take host names as they are, look none up
    #[arg(short = 'r', long)]
    pub(crate) raw: bool,
    /// What <HOST> matches: `yes` names too, `no` addresses only
    #[arg(long, value_name = "USEDNS")]
    pub(crate) usedns: Option<String>,
    /// Lines that one match may span
    #[arg(
        short = 'L',
        long,
        value_name = "LINES",
        default_value_t = 0,
        allow_hyphen_values = true
    )]
    pub(crate) maxlines: i64,
    /// Journal match, in place of the filter's
    #[arg(short = 'm', long, value_name = "MATCH")]
    pub(crate) journalmatch: Option<String>,
    /// What to log of the lines: `error`, `warning`, `notice`; at `critical` nothing
    #[arg(short = 'l', long, value_name = "LEVEL", default_value = "critical")]
    pub(crate) log_level: String,
    /// List also what had no hits, and who was found; give it twice for more
    #[arg(short = 'v', long, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// The same as a number
    #[arg(long, value_name = "LEVEL")]
    pub(crate) verbosity: Option<u8>,
    /// Show the weights and regexes of date patterns
    #[arg(long, alias = "VD")]
    pub(crate) verbose_date: bool,
    /// Make debuggex.com addresses (not supported)
    #[arg(short = 'D', long)]
    pub(crate) debuggex: bool,
    /// Stop at the first regex that matches, as the daemon does
    #[arg(long)]
    pub(crate) no_check_all: bool,
    /// Print only this of each failure: id, ip, msg, row, a field's name, or a text with <tags>
    #[arg(short = 'o', long, value_name = "FORMAT", allow_hyphen_values = true)]
    pub(crate) out: Option<String>,
    /// With --out: print the lines that do not match
    #[arg(short = 'i', long)]
    pub(crate) invert: bool,
    /// Print no missed lines
    #[arg(long)]
    pub(crate) print_no_missed: bool,
    /// Print no ignored lines
    #[arg(long)]
    pub(crate) print_no_ignored: bool,
    /// Print all matched lines
    #[arg(long)]
    pub(crate) print_all_matched: bool,
    /// Print all missed lines, however many
    #[arg(long)]
    pub(crate) print_all_missed: bool,
    /// Print all ignored lines, however many
    #[arg(long)]
    pub(crate) print_all_ignored: bool,
    /// Taken for the sake of scripts; nothing is logged
    #[arg(short = 't', long)]
    pub(crate) log_traceback: bool,
    /// Taken for the sake of scripts; nothing is logged
    #[arg(long)]
    pub(crate) full_traceback: bool,
    /// Print the version in short form
    #[arg(short = 'V')]
    pub(crate) short_version: bool,
    /// Print the version
    #[arg(long)]
    pub(crate) version: bool,
    /// Whether the LOG `-` is standard input: to Fail2Ban it is a line
    #[arg(skip)]
    pub(crate) takes_input: bool,
}

impl Options {
    /// How much is listed: 0 only what had hits, 1 everything, 2 the filter's options too.
    pub(crate) fn verbosity(&self) -> u8 {
        self.verbosity.unwrap_or(self.verbose)
    }

    /// What is wrong with the combination, as Fail2Ban words it.
    pub(crate) fn contradictions(&self) -> Vec<&'static str> {
        let mut errors = Vec::new();
        if self.print_no_missed && self.print_all_missed {
            errors.push("ERROR: --print-no-missed and --print-all-missed are mutually exclusive.");
        }
        if self.print_no_ignored && self.print_all_ignored {
            errors.push("ERROR: --print-no-ignored and --print-all-ignored are mutually exclusive.");
        }
        if !(2..=3).contains(&self.inputs.len()) {
            errors.push("ERROR: provide both <LOG> and <REGEX>.");
        }
        errors
    }

    /// Options that are given and empty count as not given.
    pub(crate) fn settled(mut self) -> Self {
        for option in [
            &mut self.datepattern,
            &mut self.timezone,
            &mut self.usedns,
            &mut self.out,
        ] {
            option.take_if(|text| text.is_empty());
        }
        self
    }

    /// What is asked for and not supported yet, by name.
    pub(crate) fn unsupported(&self) -> Option<String> {
        if self.debuggex {
            return Some("--debuggex is not supported: it would hand log lines to a web site".to_owned());
        }
        if self.out.as_deref() == Some("matches") {
            return Some("--out matches is not supported yet (--out msg prints the lines)".to_owned());
        }
        None
    }
}
