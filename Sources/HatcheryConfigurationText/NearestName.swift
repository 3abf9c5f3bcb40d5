/// The name of `names` that a person who wrote `text` most likely meant, or nil if none is near.
///
/// Near is at most a third of the longer of the two in single-character edits (an exchange of neighbours is one edit, as
/// typists make it), and at least one. Among equals the first of `names` wins, so that messages do not change between runs.
package func nearestName(to text: String, in names: some Sequence<String>) -> String? {
    // A name of a thousand characters is no misspelling, and the table below is quadratic.
    guard text.count <= 128 else { return nil }
    var nearest: (name: String, distance: Int)?
    for name in names {
        let distance = editDistance(Array(text.lowercased()), Array(name.lowercased()))
        let allowed = max(1, max(text.count, name.count) / 3)
        if distance <= allowed, distance < nearest?.distance ?? Int.max { nearest = (name, distance) }
    }
    return nearest?.name
}

/// Insertions, deletions, replacements and exchanges of neighbours that turn one text into the other (optimal string
/// alignment: no stretch is edited twice).
package func editDistance(_ first: [Character], _ second: [Character]) -> Int {
    var beforePrevious: [Int] = []
    var previous = Array(0...second.count)
    for row in 0..<first.count {
        var current = [row + 1]
        for column in 0..<second.count {
            let replaced = previous[column] + (first[row] == second[column] ? 0 : 1)
            var best = min(replaced, previous[column + 1] + 1, current[column] + 1)
            if row > 0, column > 0, first[row] == second[column - 1], first[row - 1] == second[column] {
                best = min(best, beforePrevious[column - 1] + 1)
            }
            current.append(best)
        }
        (beforePrevious, previous) = (previous, current)
    }
    return previous[second.count]
}
