//! What can be wrong on the way from one host to another, as rules of the receiver's firewall.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

/// What becomes of what one host sends to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing arrives, and nobody says so.
    Cut,
    /// Connections are refused and broken off by a reset; the rest is lost.
    Refused,
    /// So many packets of a thousand are lost.
    Lossy(u16),
}

/// The firewall of a host to whom these send, for `nft -f -`: the earlier one is replaced in one step.
pub(super) fn rules(wrong: impl Iterator<Item = (Ipv4Addr, Fault)>) -> String {
    let mut text = String::from(
        "table inet postern\ndelete table inet postern\ntable inet postern {\n\
         chain input {\ntype filter hook input priority 0; policy accept;\n",
    );
    for (from, fault) in wrong {
        let _ = match fault {
            Fault::Lossy(0) => Ok(()),
            Fault::Cut | Fault::Lossy(1_000..) => writeln!(text, "ip saddr {from} drop"),
            Fault::Refused => writeln!(
                text,
                "ip saddr {from} meta l4proto tcp reject with tcp reset\nip saddr {from} drop"
            ),
            Fault::Lossy(thousandths) => {
                writeln!(text, "ip saddr {from} numgen random mod 1000 < {thousandths} drop")
            }
        };
    }
    text.push_str("}\n}\n");
    text
}
