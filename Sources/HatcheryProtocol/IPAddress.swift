import Glibc

/// An address of IPv4 (4 bytes) or IPv6 (16 bytes), in network order.
public struct IPAddress: Sendable, Hashable, CustomStringConvertible {
    public let bytes: [UInt8]

    /// - Returns: nil unless there are 4 or 16 bytes.
    public init?(bytes: [UInt8]) {
        guard bytes.count == 4 || bytes.count == 16 else { return nil }
        self.bytes = bytes
    }

    /// As inet_pton(3) reads it: no names, no port, no zone.
    public init?(_ text: String) {
        for (family, count) in [(AF_INET, 4), (AF_INET6, 16)] {
            var bytes = [UInt8](repeating: 0, count: count)
            if inet_pton(family, text, &bytes) == 1 {
                self.bytes = bytes
                return
            }
        }
        return nil
    }

    public var isVersion6: Bool { bytes.count == 16 }

    /// AF_INET or AF_INET6, as a byte of a netlink header.
    public var family: UInt8 { UInt8(isVersion6 ? AF_INET6 : AF_INET) }

    /// The length of the prefix that holds this address alone.
    public var bits: UInt8 { UInt8(bytes.count * 8) }

    /// The address `offset` places on; the caller keeps within its block.
    public func advanced(by offset: UInt32) -> IPAddress {
        var bytes = self.bytes
        var carry = UInt64(offset)
        for index in bytes.indices.reversed() where carry > 0 {
            carry += UInt64(bytes[index])
            bytes[index] = UInt8(truncatingIfNeeded: carry)
            carry >>= 8
        }
        return IPAddress(bytes: bytes)!
    }

    public var description: String {
        var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
        inet_ntop(Int32(family), bytes, &text, socklen_t(text.count))
        return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}

/// A block of addresses, such as `10.203.0.0/16`.
public struct IPBlock: Sendable, Hashable, CustomStringConvertible {
    public let base: IPAddress
    public let prefix: UInt8

    /// - Returns: nil unless it reads as an address, `/` and a length, with nothing set behind the prefix.
    public init?(_ text: String) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 2, let base = IPAddress(String(parts[0])), let prefix = UInt8(parts[1]), prefix <= base.bits
        else { return nil }
        self.base = base
        self.prefix = prefix
        guard IPBlock.masked(base, prefix) == base else { return nil }
    }

    /// The number of addresses, at most 2^31.
    public var count: UInt32 { 1 << min(31, UInt32(base.bits - prefix)) }

    public func contains(_ address: IPAddress) -> Bool {
        address.bytes.count == base.bytes.count && IPBlock.masked(address, prefix) == base
    }

    private static func masked(_ address: IPAddress, _ prefix: UInt8) -> IPAddress {
        var bytes = address.bytes
        for index in bytes.indices {
            let kept = max(0, min(8, Int(prefix) - index * 8))
            bytes[index] &= UInt8(truncatingIfNeeded: 0xFF00 >> kept)
        }
        return IPAddress(bytes: bytes)!
    }

    public var description: String { "\(base)/\(prefix)" }
}
