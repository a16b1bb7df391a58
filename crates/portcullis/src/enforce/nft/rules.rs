//! The table, its chains and their rules.
//!
//! One base chain sees every packet before routing, connection tracking and address translation; so ports are
//! the ones that the client dialled, established connections are dropped like new ones, and what Docker forwards
//! is covered. For each scope it holds a jump, limited to the scope's protocols and ports, into the scope's own
//! chain, which looks the source address up in the scope's sets.

use netlink_packet_core::{DefaultNla, NLM_F_CREATE};
use netlink_packet_netfilter::nftables::{
    self, Bitwise, ChainAttribute, ChainMessage, Cmp, DataAttribute, ExpressionAttribute, Expressions, Immediate,
    InetHookNumber, ListAttribute, Lookup, Meta, MetaKey, NfTablesMessage, Operator, Payload, Register, RuleAttribute,
    RuleMessage, SetAttribute, SetElementAttribute, SetElementFlags, SetElementList, SetElementMessage, SetFlags,
    SetMessage, TableAttribute, TableFlags, TableMessage, Verdict, VerdictAttribute,
};
use portcullis_core::address::Family;

use super::attributes::{attributes, long_number, text};
use super::sets::{SetKey, comment, tagged};
use super::socket::{Message, Reply};
use super::survey::{Hook, Print};
use super::{Blocktype, Scope};
use crate::enforce::ports::{PortRange, Ports, Protocol};

/// The base chain.
pub(super) const BASE: &str = "prerouting";

/// nft's `raw`: before connection tracking (-200) and destination translation (-100), after defragmentation (-400).
const PRIORITY: i32 = -300;

/// The comment of a table of ours.
const MARK: &str = "bans of portcullis";

/// `NF_ACCEPT` as policy and `NF_DROP` as verdict.
const ACCEPT: u32 = 1;
const DROP: u32 = 0;

/// Payload bases of nf_tables: the network header and the transport header.
const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;

/// Numbers of `reject`: attributes, "ICMP of either family", "port unreachable".
const REJECT_TYPE: u16 = 1;
const REJECT_CODE: u16 = 2;
const REJECT_ICMPX: u32 = 2;
const REJECT_PORT_UNREACHABLE: u8 = 1;

/// nft's type numbers of the anonymous sets, by which `nft list` knows how to print.
const TYPE_PROTOCOL: u32 = 12;
const TYPE_SERVICE: u32 = 13;

/// Attributes of a rule's message.
const RULE_CHAIN: u16 = 2;
const RULE_HANDLE: u16 = 3;
const RULE_EXPRESSIONS: u16 = 4;

/// The kernel's pattern for the names of anonymous sets.
const ANONYMOUS: &str = "__set%d";

type Expression = ListAttribute<ExpressionAttribute>;

/// What a table of ours carries: a comment, because that outlives a ruleset which is saved and loaded again.
fn mark() -> Vec<u8> {
    let mut bytes = Vec::new();
    // Far shorter than the 255 bytes that fit.
    let _ = tagged(&mut bytes, 0, &comment(MARK));
    bytes
}

/// Whether this is that mark. The comment alone will do: of a ruleset that was listed and loaded again it is what is left.
pub(super) fn is_mark(bytes: &[u8]) -> bool {
    bytes.starts_with(&mark())
}

/// Where our base chain is hooked in.
pub(super) fn base_hook() -> Hook {
    Hook {
        number: u32::from(InetHookNumber::PreRouting),
        priority: PRIORITY.cast_unsigned(),
        policy: ACCEPT,
        kind: "filter".to_owned(),
    }
}

/// Creates the table and its base chain; content with those that exist, which get the right flags and policy.
pub(super) fn create_base(table: &str) -> [Message; 2] {
    let make = NfTablesMessage::NewTable(TableMessage {
        attributes: vec![
            TableAttribute::Name(table.to_owned()),
            TableAttribute::Flags(TableFlags::empty()),
            TableAttribute::UserData(mark()),
        ],
    });
    let chain = NfTablesMessage::NewChain(ChainMessage {
        attributes: vec![
            ChainAttribute::Table(table.to_owned()),
            ChainAttribute::Name(BASE.to_owned()),
            ChainAttribute::Hook(vec![
                nftables::Hook::Number(InetHookNumber::PreRouting.into()),
                nftables::Hook::Priority(PRIORITY.cast_unsigned()),
            ]),
            ChainAttribute::Policy(ACCEPT),
            ChainAttribute::Type("filter".to_owned()),
        ],
    });
    [Message::new(make, NLM_F_CREATE), Message::new(chain, NLM_F_CREATE)]
}

/// Deletes the table with all that is in it.
pub(super) fn delete_table(table: &str) -> Message {
    let attributes = vec![TableAttribute::Name(table.to_owned())];
    Message::new(NfTablesMessage::DeleteTable(TableMessage { attributes }), 0)
}

/// Asks for the tables.
pub(super) fn list_tables() -> Message {
    let attributes = Vec::new();
    Message::new(NfTablesMessage::GetTable(TableMessage { attributes }), 0)
}

/// Creates a scope's chain; content with one that exists.
pub(super) fn create_chain(table: &str, chain: &str) -> Message {
    Message::new(NfTablesMessage::NewChain(chain_message(table, chain)), NLM_F_CREATE)
}

/// Deletes all rules of a chain.
pub(super) fn empty_chain(table: &str, chain: &str) -> Message {
    let attributes = in_chain(table, chain);
    Message::new(NfTablesMessage::DeleteRule(RuleMessage { attributes }), 0)
}

/// Deletes a chain with its rules.
pub(super) fn delete_chain(table: &str, chain: &str) -> Message {
    Message::new(NfTablesMessage::DeleteChain(chain_message(table, chain)), 0)
}

fn chain_message(table: &str, chain: &str) -> ChainMessage {
    ChainMessage {
        attributes: vec![
            ChainAttribute::Table(table.to_owned()),
            ChainAttribute::Name(chain.to_owned()),
        ],
    }
}

fn in_chain(table: &str, chain: &str) -> Vec<RuleAttribute> {
    vec![
        RuleAttribute::Table(table.to_owned()),
        RuleAttribute::Chain(chain.to_owned()),
    ]
}

/// Asks for the chains of all tables.
pub(super) fn list_chains() -> Message {
    let attributes = Vec::new();
    Message::new(NfTablesMessage::GetChain(ChainMessage { attributes }), 0)
}

/// Asks for the rules of the table.
pub(super) fn list_rules(table: &str) -> Message {
    let attributes = vec![RuleAttribute::Table(table.to_owned())];
    Message::new(NfTablesMessage::GetRule(RuleMessage { attributes }), 0)
}

/// A rule as the kernel has it: what of it matters to us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct KnownRule {
    /// The chain it stands in
    pub chain: String,
    /// The kernel's number for it
    pub handle: u64,
    /// The chain it jumps to
    pub jump: Option<String>,
    /// The sets it looks into
    pub sets: Vec<String>,
    /// Its expressions as they came
    pub expressions: Box<[u8]>,
}

impl KnownRule {
    /// How to know it again.
    pub(super) fn print(&self) -> Print {
        Print {
            handle: self.handle,
            expressions: self.expressions.clone(),
        }
    }

    /// Whether it is this one, unchanged.
    pub(super) fn is(&self, print: &Print) -> bool {
        self.handle == print.handle && self.expressions == print.expressions
    }
}

/// Reads one rule of a list. What the codec does not understand of a foreign one is left out.
pub(super) fn known(reply: &Reply) -> KnownRule {
    let mut rule = KnownRule::default();
    for attribute in attributes(&reply.body) {
        match attribute.kind() {
            RULE_CHAIN => text(attribute.value()).clone_into(&mut rule.chain),
            RULE_HANDLE => rule.handle = long_number(attribute.value()),
            RULE_EXPRESSIONS => rule.expressions = attribute.value().into(),
            _ => {}
        }
    }
    if let Some(NfTablesMessage::NewRule(RuleMessage { attributes })) = reply.read() {
        for attribute in attributes {
            if let RuleAttribute::Expressions(list) = attribute {
                list.iter().for_each(|expression| note(expression, &mut rule));
            }
        }
    }
    rule
}

fn note(expression: &Expression, rule: &mut KnownRule) {
    let ListAttribute::Element(parts) = expression else {
        return;
    };
    for part in parts {
        match part {
            ExpressionAttribute::Data(Expressions::Lookup(lookup)) => {
                rule.sets.extend(lookup.iter().filter_map(|a| match a {
                    Lookup::Set(name) => Some(name.clone()),
                    _ => None,
                }));
            }
            ExpressionAttribute::Data(Expressions::Immediate(immediate)) => {
                rule.jump = rule.jump.take().or_else(|| immediate.iter().find_map(target));
            }
            _ => {}
        }
    }
}

fn target(immediate: &Immediate) -> Option<String> {
    let Immediate::Data(DataAttribute::Verdict(verdict)) = immediate else {
        return None;
    };
    verdict.iter().find_map(|a| match a {
        VerdictAttribute::Chain(name) => Some(name.clone()),
        _ => None,
    })
}

/// Deletes one rule.
pub(super) fn delete_rule(table: &str, rule: &KnownRule) -> Message {
    let mut attributes = in_chain(table, &rule.chain);
    attributes.push(RuleAttribute::Handle(rule.handle));
    Message::new(NfTablesMessage::DeleteRule(RuleMessage { attributes }), 0)
}

fn new_rule(table: &str, chain: &str, expressions: Vec<Expression>, note: Option<&str>) -> Message {
    let mut attributes = in_chain(table, chain);
    attributes.push(RuleAttribute::Expressions(expressions));
    if let Some(text) = note.map(comment) {
        // User data of a rule: type 0 is the comment.
        let mut bytes = vec![0, u8::try_from(text.len()).unwrap_or(u8::MAX)];
        bytes.extend(text);
        attributes.push(RuleAttribute::UserData(bytes));
    }
    // Without the flag that appends it stands first: foreign rules come after ours.
    Message::new(NfTablesMessage::NewRule(RuleMessage { attributes }), NLM_F_CREATE)
}

/// `ip saddr @set drop`, or for networks `ip saddr & 255.255.255.0 @set drop`.
pub(super) fn lookup_rule(table: &str, chain: &str, key: SetKey, blocktype: Blocktype) -> Message {
    let (family, offset) = match key.family {
        Family::Inet4 => (2, 12),
        Family::Inet6 => (10, 8),
    };
    let mut expressions = vec![
        meta(MetaKey::Nfproto),
        compare(Operator::Equal, vec![family]),
        payload(NETWORK, offset, key.width()),
    ];
    if !key.is_addresses() {
        expressions.push(
            Expressions::Bitwise(vec![
                Bitwise::SourceRegister(Register::Reg1),
                Bitwise::DestinationRegister(Register::Reg1),
                Bitwise::Length(key.width()),
                Bitwise::Mask(DataAttribute::Value(key.mask())),
                Bitwise::Xor(DataAttribute::Value(key.mask().iter().map(|_| 0).collect())),
            ])
            .into(),
        );
    }
    expressions.push(
        Expressions::Lookup(vec![
            Lookup::Set(key.name(chain)),
            Lookup::SourceRegister(Register::Reg1),
        ])
        .into(),
    );
    expressions.push(match blocktype {
        Blocktype::Drop => verdict(vec![VerdictAttribute::Code(Verdict::Other(DROP))]),
        Blocktype::Reject => Expressions::Other {
            expression_type: "reject".to_owned(),
            attributes: vec![
                DefaultNla::new(REJECT_TYPE, REJECT_ICMPX.to_be_bytes().to_vec()),
                DefaultNla::new(REJECT_CODE, vec![REJECT_PORT_UNREACHABLE]),
            ],
        }
        .into(),
    });
    new_rule(table, chain, expressions, None)
}

/// Appends the jumps from the base chain into a scope's chain, with the anonymous sets they need. Protocols without
/// ports get a jump of their own.
pub(super) fn jumps(table: &str, (chain, scope): (&str, &Scope), note: &str, out: &mut Vec<Message>) {
    let jump = |mut expressions: Vec<Expression>| {
        expressions.push(verdict(vec![
            VerdictAttribute::Code(Verdict::Jump),
            VerdictAttribute::Chain(chain.to_owned()),
        ]));
        new_rule(table, BASE, expressions, Some(note))
    };
    match &scope.ports {
        Ports::All if scope.protocols.is_empty() => out.push(jump(Vec::new())),
        Ports::All => {
            let expressions = match_protocols(table, &scope.protocols, out);
            out.push(jump(expressions));
        }
        Ports::Some(ranges) => {
            let (ported, portless): (Vec<Protocol>, Vec<Protocol>) = if scope.protocols.is_empty() {
                (Protocol::PORTED.to_vec(), Vec::new())
            } else {
                scope.protocols.iter().partition(|protocol| protocol.has_ports())
            };
            if !ported.is_empty() {
                let mut expressions = match_protocols(table, &ported, out);
                expressions.extend(match_ports(table, ranges, out));
                out.push(jump(expressions));
            }
            if !portless.is_empty() {
                let expressions = match_protocols(table, &portless, out);
                out.push(jump(expressions));
            }
        }
    }
}

fn match_protocols(table: &str, protocols: &[Protocol], out: &mut Vec<Message>) -> Vec<Expression> {
    let mut numbers: Vec<u8> = protocols.iter().map(|protocol| protocol.number()).collect();
    numbers.sort_unstable();
    let load = meta(MetaKey::L4Proto);
    if let [number] = numbers.as_slice() {
        return vec![load, compare(Operator::Equal, vec![*number])];
    }
    let elements = numbers.into_iter().map(|number| key(vec![number], false)).collect();
    vec![
        load,
        anonymous(table, (TYPE_PROTOCOL, 1, SetFlags::empty()), elements, out),
    ]
}

fn match_ports(table: &str, ranges: &[PortRange], out: &mut Vec<Message>) -> Vec<Expression> {
    let load = payload(TRANSPORT, 2, 2);
    let bytes = |port: u16| port.to_be_bytes().to_vec();
    if let [range] = ranges {
        return if range.first == range.last {
            vec![load, compare(Operator::Equal, bytes(range.first))]
        } else {
            let (first, last) = (bytes(range.first), bytes(range.last));
            vec![
                load,
                compare(Operator::GreatherThanEqual, first),
                compare(Operator::LessThanEqual, last),
            ]
        };
    }
    let is_interval = ranges.iter().any(|range| range.first != range.last);
    let mut elements = Vec::new();
    for range in ranges {
        elements.push(key(bytes(range.first), false));
        // An interval's end is the first port after it; one that ends with the last port has none.
        if let (true, Some(end)) = (is_interval, range.last.checked_add(1)) {
            elements.push(key(bytes(end), true));
        }
    }
    let flags = if is_interval {
        SetFlags::Interval
    } else {
        SetFlags::empty()
    };
    vec![load, anonymous(table, (TYPE_SERVICE, 2, flags), elements, out)]
}

/// Makes an anonymous set of type, width and flags in `out`; gives the look-up into it.
fn anonymous(
    table: &str,
    (kind, width, flags): (u32, u32, SetFlags),
    elements: Vec<ListAttribute<SetElementAttribute>>,
    out: &mut Vec<Message>,
) -> Expression {
    // Numbers of sets hold within one transaction; the named sets all use 1, which no rule refers to.
    let id = u32::try_from(out.len()).unwrap_or(u32::MAX).saturating_add(2);
    let make = NfTablesMessage::NewSet(SetMessage {
        attributes: vec![
            SetAttribute::Table(table.to_owned()),
            SetAttribute::Name(ANONYMOUS.to_owned()),
            SetAttribute::Flags(SetFlags::Anonymous | SetFlags::Constant | flags),
            SetAttribute::KeyType(kind),
            SetAttribute::KeyLen(width),
            SetAttribute::Id(id),
        ],
    });
    let fill = NfTablesMessage::NewSetElement(SetElementMessage {
        attributes: vec![
            SetElementList::Table(table.to_owned()),
            SetElementList::Set(ANONYMOUS.to_owned()),
            SetElementList::SetId(id),
            SetElementList::Elements(elements),
        ],
    });
    out.push(Message::new(make, NLM_F_CREATE));
    out.push(Message::new(fill, NLM_F_CREATE));
    Expressions::Lookup(vec![
        Lookup::Set(ANONYMOUS.to_owned()),
        Lookup::SetId(id),
        Lookup::SourceRegister(Register::Reg1),
    ])
    .into()
}

fn key(bytes: Vec<u8>, is_end: bool) -> ListAttribute<SetElementAttribute> {
    let mut attributes = vec![SetElementAttribute::Key(DataAttribute::Value(bytes))];
    if is_end {
        attributes.push(SetElementAttribute::Flags(SetElementFlags::IntervalEnd));
    }
    ListAttribute::Element(attributes)
}

fn meta(key: MetaKey) -> Expression {
    Expressions::Meta(vec![Meta::Key(key), Meta::DestinationRegister(Register::Reg1)]).into()
}

fn compare(operator: Operator, bytes: Vec<u8>) -> Expression {
    Expressions::Cmp(vec![
        Cmp::SourceRegister(Register::Reg1),
        Cmp::Op(operator),
        Cmp::Data(DataAttribute::Value(bytes)),
    ])
    .into()
}

fn payload(base: u32, offset: u32, length: u32) -> Expression {
    Expressions::Payload(vec![
        Payload::DestinationRegister(Register::Reg1),
        Payload::Base(base),
        Payload::Offset(offset),
        Payload::Len(length),
    ])
    .into()
}

fn verdict(attributes: Vec<VerdictAttribute>) -> Expression {
    Expressions::Immediate(vec![
        Immediate::DestinationRegister(Register::Verdict),
        Immediate::Data(DataAttribute::Verdict(attributes)),
    ])
    .into()
}
