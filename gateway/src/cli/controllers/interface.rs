//! The IPv4 addresses of this machine, from what the kernel shows of its routes: no request, no root.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

const FIB_TRIE: &str = "/proc/net/fib_trie";

/// The addresses of its interfaces but the loopback's; none where the kernel does not say.
pub(super) fn addresses() -> BTreeSet<Ipv4Addr> {
    parse(&std::fs::read_to_string(FIB_TRIE).unwrap_or_default())
}

/// An address of this machine is a leaf, `|-- 192.0.2.2`, with a line `/32 host LOCAL` below it.
fn parse(text: &str) -> BTreeSet<Ipv4Addr> {
    let mut leaf = None;
    let mut found = BTreeSet::new();
    for line in text.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse().ok();
        } else if line == "/32 host LOCAL" {
            found.extend(leaf.filter(|address: &Ipv4Addr| !address.is_loopback()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_of_this_machine_are_told_from_networks_and_broadcasts() {
        let text = "Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     |-- 127.0.0.1
        /32 host LOCAL
        +-- 192.0.2.0/30 2 0 2
           |-- 192.0.2.0
              /24 link UNICAST
           |-- 192.0.2.2
              /32 host LOCAL
        |-- 192.0.2.255
           /32 link BROADCAST
     |-- 198.51.100.7
        /32 link UNICAST
        /32 host LOCAL
Local:
           |-- 192.0.2.2
              /32 host LOCAL
";
        let found: Vec<String> = parse(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["192.0.2.2", "198.51.100.7"]);
        assert!(parse("|-- nonsense\n/32 host LOCAL\n").is_empty());
    }
}
