//! Which addresses requests of plugins may go to: those of the public internet, in whatever spelling they come.
//!
//! It owns the list of ranges that are somebody's inside, and knows no names and no sockets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address is of the public internet.
pub(crate) fn public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => public_v4(address),
        IpAddr::V6(address) => public_v6(address),
    }
}

/// Ranges of IPv4 that are not public, with the length of their prefix.
const CLOSED_V4: [([u8; 4], u32); 17] = [
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    // Link-local: where clouds tell their machines secrets.
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([192, 31, 196, 0], 24),
    ([192, 52, 193, 0], 24),
    ([192, 88, 99, 0], 24),
    ([192, 168, 0, 0], 16),
    ([192, 175, 48, 0], 24),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    // Multicast, reserved and broadcast.
    ([224, 0, 0, 0], 3),
];

fn public_v4(address: Ipv4Addr) -> bool {
    let bits = address.to_bits();
    // A cloud's helper for its machines, in the midst of public addresses.
    let helper = address == Ipv4Addr::new(168, 63, 129, 16);
    let closed = |&(range, length): &([u8; 4], u32)| {
        let mask = u32::MAX << (32 - length);
        bits & mask == u32::from_be_bytes(range) & mask
    };
    !helper && !CLOSED_V4.iter().any(closed)
}

fn public_v6(address: Ipv6Addr) -> bool {
    // Addresses in which one of IPv4 is meant are as public as that one.
    if let Some(inner) = meant_v4(address) {
        return public_v4(inner);
    }
    let [first, second, ..] = address.segments();
    // Only 2000::/3 is given out; of it, 2001::/23 is for protocols, 2001:db8::/32 and 3fff::/20 for documents.
    let given_out = first & 0xe000 == 0x2000;
    let special =
        matches!((first, second), (0x2001, ..0x0200 | 0x0db8) | (0x3fff, ..0x1000) | (0x2620, 0x004f));
    given_out && !special
}

/// The address of IPv4 that one of IPv6 leads to.
fn meant_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let of = |high: u16, low: u16| Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    match [a, b, c, d, e, f] {
        // Mapped, compatible, translated (also the local prefix), by SIIT.
        [0, 0, 0, 0, 0, 0xffff] | [0, 0, 0, 0, 0, 0] => of(g, h),
        [0x64, 0xff9b, 0, 0, 0, 0] => of(g, h),
        [0x64, 0xff9b, 1, ..] => of(0x7f00, 1),
        [0, 0, 0, 0, 0xffff, 0] => of(g, h),
        // 6to4: the router's address stands behind the prefix.
        [0x2002, high, low, ..] => of(high, low),
        // ISATAP: the address stands at the end.
        [_, _, _, _, 0 | 0x0200, 0x5efe] => of(g, h),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_addresses_are_open() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "93.184.216.34",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.167.255.255",
            "198.17.0.1",
            "223.255.255.255",
            "2606:4700:4700::1111",
            "2a00:1450::1",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2002:808:808::1",
        ] {
            assert!(public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn inner_addresses_are_closed_at_both_ends_of_their_ranges() {
        for address in [
            "0.0.0.0",
            "0.255.255.255",
            "10.0.0.0",
            "10.255.255.255",
            "100.64.0.0",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.0.0",
            "169.254.169.254",
            "172.16.0.0",
            "172.31.255.255",
            "192.0.0.8",
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
            "240.0.0.1",
            "255.255.255.255",
            "168.63.129.16",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:0:10.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "2001::1",
            "2001:10::1",
            "2001:20::1",
            "2001:db8::1",
            "3fff::1",
            "100::1",
            "fc00::1",
            "fd00::1",
            "fdff:ffff::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "2a00::5efe:a00:1",
            "2a00::200:5efe:7f00:1",
            "4000::1",
            "::ffff:192.168.1.1",
            "::ffff:169.254.169.254",
            "fd00:ec2::254",
        ] {
            assert!(!public(address.parse().unwrap()), "{address}");
        }
    }
}
