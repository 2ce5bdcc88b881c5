//! Which addresses a webhook may be delivered to: those that everyone on the Internet reaches, and no others.
//!
//! Whoever may create webhooks could otherwise have the server call what only it reaches. The address is judged that is
//! connected to, not the name, which may have another address by then.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address is one of the public Internet.
///
/// The ranges are those of IANA's special-purpose registries (RFC 6890 and what came after) that are not globally reachable, and
/// multicast. An IPv6 address that has an IPv4 address in it is judged by that: mapped (`::ffff:0:0/96`), compatible (`::/96`), NAT64
/// (`64:ff9b::/96`), 6to4 (`2002::/16`).
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_private = address.is_private() || address.is_loopback() || address.is_link_local();
    // 100.64.0.0/10: between a carrier and its customers.
    let is_carrier = a == 100 && (64..128).contains(&b);
    // 192.0.0.0/24: protocol assignments; 192.88.99.0/24: the relays of 6to4, given up.
    let is_assigned = (a, b, c) == (192, 0, 0) || (a, b, c) == (192, 88, 99);
    // 198.18.0.0/15: benchmarks of networks.
    let is_benchmark = a == 198 && (b == 18 || b == 19);
    // 0.0.0.0/8 is this host; 224.0.0.0/4 multicast; 240.0.0.0/4 reserved, with the broadcast address.
    let is_no_host = a == 0 || a >= 224;
    !(is_private || is_carrier || is_assigned || is_benchmark || is_no_host || address.is_documentation())
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    if let Some(inner) = inner_v4(segments) {
        return is_public_v4(inner);
    }
    // 2000::/3 is all that has been given out; within it, protocol assignments (2001::/23, Teredo among them), documentation
    // (2001:db8::/32, 3fff::/20).
    let is_given_out = segments[0] & 0xe000 == 0x2000;
    let is_assigned = segments[0] == 0x2001 && segments[1] < 0x0200;
    let is_documentation =
        (segments[0], segments[1]) == (0x2001, 0x0db8) || (segments[0] == 0x3fff && segments[1] < 0x1000);
    is_given_out && !is_assigned && !is_documentation
}

/// The IPv4 address that packets for this IPv6 address may end at.
fn inner_v4(segments: [u16; 8]) -> Option<Ipv4Addr> {
    let of = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match segments {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] => Some(of(high, low)),
        [0x0064, 0xff9b, 0, 0, 0, 0, high, low] => Some(of(high, low)),
        [0x2002, high, low, ..] => Some(of(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(address: &str, expected: bool) {
        let parsed: IpAddr = address.parse().unwrap();
        assert_eq!(is_public(parsed), expected, "{address}");
    }

    #[test]
    fn only_addresses_of_the_public_internet_are_delivered_to() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.1",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.1",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700:4700::1111",
            "2a00:1450:4001::1",
            "2001:200::1",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2002:808:808::1",
        ] {
            check(address, true);
        }
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.0",
            "10.255.255.255",
            "100.64.0.0",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.169.254",
            "172.16.0.0",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.0",
            "192.168.255.255",
            "198.18.0.0",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.0",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "2002:a00:1::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd12:3456:789a::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
        ] {
            check(address, false);
        }
    }
}
