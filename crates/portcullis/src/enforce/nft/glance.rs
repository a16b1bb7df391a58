//! A look at the whole of nftables, ours or not, that changes nothing: which tables there are, and which chains.

use super::attributes::{text, value};
use super::socket::{Reply, Socket};
use super::{Result, refusal, rules};

/// Attributes of a table's and of a chain's message.
const NAME: u16 = 1;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;

/// One table or one chain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Part {
    /// `ip`, `ip6`, `inet`, `arp`, `bridge` or `netdev`
    pub(crate) family: &'static str,
    pub(crate) table: String,
    /// The chain; `None` for the table itself
    pub(crate) chain: Option<String>,
}

/// Everything that is there.
///
/// # Errors
/// nftables cannot be reached, or may not be looked at.
pub(crate) fn glance() -> Result<Vec<Part>> {
    let mut socket = Socket::open()?;
    let mut list = |request, what: &str| {
        let listed = socket.dump_everything(&request);
        listed.map_err(|errno| refusal(what.to_owned(), errno))
    };
    let tables = list(rules::list_tables(), "list the tables")?;
    let chains = list(rules::list_chains(), "list the chains")?;
    let tables = tables.iter().filter_map(|reply| part(reply, NAME, None));
    let chains = chains
        .iter()
        .filter_map(|reply| part(reply, CHAIN_TABLE, Some(CHAIN_NAME)));
    Ok(tables.chain(chains).collect())
}

fn part(reply: &Reply, table: u16, chain: Option<u16>) -> Option<Part> {
    let named = |attribute| value(&reply.body, attribute).map(|name| text(name).to_owned());
    Some(Part {
        family: family(reply.family()),
        table: named(table)?,
        chain: match chain {
            Some(chain) => Some(named(chain)?),
            None => None,
        },
    })
}

fn family(number: u8) -> &'static str {
    match number {
        1 => "inet",
        2 => "ip",
        3 => "arp",
        5 => "netdev",
        7 => "bridge",
        10 => "ip6",
        _ => "unknown",
    }
}
