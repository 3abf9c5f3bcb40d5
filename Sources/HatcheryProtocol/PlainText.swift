extension Unicode.Scalar {
    /// Whether a terminal or a log may take this for a command instead of text: C0, DEL and C1, the kind `Cc` of Unicode.
    var isControl: Bool { value < 0x20 || (0x7F...0x9F).contains(value) }
}

extension String {
    /// The text for the eyes of an operator: control characters but newline and tab as `\xNN`, and at most `limitBytes` bytes.
    ///
    /// SECURITY: whoever wrote the text would otherwise write on the terminal of the one who reads it, and a NUL ends what a
    /// C string or a field of this protocol can hold. Test: aReportedFailureHasNoControlCharacters.
    package func plain(limitBytes: Int) -> String {
        var plain = ""
        var room = limitBytes
        for scalar in unicodeScalars {
            let piece: String
            if scalar.isControl && scalar != "\n" && scalar != "\t" {
                let digits = String(scalar.value, radix: 16)
                piece = "\\x" + (digits.utf8.count == 1 ? "0" : "") + digits
            } else {
                piece = String(scalar)
            }
            room -= piece.utf8.count
            if room < 0 { break }
            plain += piece
        }
        return plain
    }

    /// The longest beginning that has at most `limit` bytes and ends with a whole character of Unicode.
    package func prefix(bytes limit: Int) -> String {
        guard utf8.count > limit else { return self }
        var end = utf8.index(utf8.startIndex, offsetBy: limit)
        while end > utf8.startIndex, utf8[end] & 0xC0 == 0x80 { end = utf8.index(before: end) }
        return String(self[..<end])
    }
}
