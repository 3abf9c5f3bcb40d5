/// Columns of text, as wide as they must be.
enum Table {
    static func text(header: [String], rightAligned: Set<Int> = [], rows: [[String]]) -> String {
        let lines = [header] + rows
        let widths = header.indices.map { column in lines.map { $0[column].count }.max()! }
        return lines.map { line in
            var text = ""
            for (column, cell) in line.enumerated() {
                let padding = String(repeating: " ", count: widths[column] - cell.count)
                let isLast = column == line.count - 1
                text += rightAligned.contains(column) ? padding + cell : cell + (isLast ? "" : padding)
                if !isLast { text += "  " }
            }
            return text + "\n"
        }.joined()
    }

    /// Seconds to the tenth, or minutes and hours where there are many.
    static func seconds(_ nanoseconds: UInt64) -> String {
        let tenths = nanoseconds / 100_000_000
        let seconds = tenths / 10
        if seconds < 100 { return "\(seconds).\(tenths % 10)s" }
        if seconds < 6000 { return "\(seconds / 60)m\(seconds % 60)s" }
        return "\(seconds / 3600)h\(seconds / 60 % 60)m"
    }
}
