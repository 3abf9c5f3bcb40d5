import Foundation

/// A line chart as SVG.
struct Plot {
    struct Line {
        let name: String
        let points: [(x: Double, y: Double)]
    }

    let title: String
    let horizontal: String
    let vertical: String
    let lines: [Line]

    private static let (width, height) = (640.0, 400.0)
    private static let (left, right, top, bottom) = (70.0, 20.0, 40.0, 55.0)
    private static let colors = ["#1f6feb", "#d1242f", "#1a7f37", "#8250df"]

    func svg() -> String {
        let points = lines.flatMap(\.points)
        let greatestX = max(points.map(\.x).max() ?? 1, 1e-9)
        let stepY = Plot.step(for: points.map(\.y).max() ?? 1)
        let greatestY = ((points.map(\.y).max() ?? 1) / stepY).rounded(.up) * stepY
        func place(_ x: Double, _ y: Double) -> (String, String) {
            let spanX = Plot.width - Plot.left - Plot.right, spanY = Plot.height - Plot.top - Plot.bottom
            return (Plot.number(Plot.left + x / greatestX * spanX), Plot.number(Plot.height - Plot.bottom - y / greatestY * spanY))
        }
        var parts = [
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 640 400\" font-family=\"sans-serif\" font-size=\"12\">",
            "<rect width=\"640\" height=\"400\" fill=\"white\"/>",
            "<text x=\"320\" y=\"22\" text-anchor=\"middle\" font-size=\"15\">\(title)</text>",
            "<text x=\"355\" y=\"390\" text-anchor=\"middle\">\(horizontal)</text>",
            "<text transform=\"translate(18 195) rotate(-90)\" text-anchor=\"middle\">\(vertical)</text>",
        ]
        for index in 0...Int((greatestY / stepY).rounded()) {
            let value = Double(index) * stepY
            let (start, y) = place(0, value), (end, _) = place(greatestX, value)
            parts.append("<line x1=\"\(start)\" y1=\"\(y)\" x2=\"\(end)\" y2=\"\(y)\" stroke=\"#d0d7de\"/>")
            parts.append("<text x=\"\(Plot.number(Plot.left - 8))\" y=\"\(y)\" dy=\"4\" text-anchor=\"end\">\(short(value))</text>")
        }
        for value in Set(points.map(\.x)).sorted() {
            let (x, y) = place(value, 0)
            parts.append("<text x=\"\(x)\" y=\"\(y)\" dy=\"18\" text-anchor=\"middle\">\(Int(value))</text>")
        }
        for (index, line) in lines.enumerated() {
            let color = Plot.colors[index % Plot.colors.count]
            let path = line.points.map { let (x, y) = place($0.x, $0.y); return "\(x),\(y)" }
            parts.append("<polyline points=\"\(path.joined(separator: " "))\" fill=\"none\" stroke=\"\(color)\" stroke-width=\"2\"/>")
            for point in line.points {
                let (x, y) = place(point.x, point.y)
                parts.append("<circle cx=\"\(x)\" cy=\"\(y)\" r=\"3.5\" fill=\"\(color)\"/>")
            }
            let legend = Plot.top + 16 * Double(index) + 8
            parts.append("<rect x=\"90\" y=\"\(Plot.number(legend - 9))\" width=\"12\" height=\"10\" fill=\"\(color)\"/>")
            parts.append("<text x=\"108\" y=\"\(Plot.number(legend))\">\(line.name)</text>")
        }
        return (parts + ["</svg>"]).joined(separator: "\n") + "\n"
    }

    /// A round distance between grid lines: about five of them.
    private static func step(for greatest: Double) -> Double {
        let rough = max(greatest, 1e-9) / 5
        let power = pow(10, floor(log10(rough)))
        return [1, 2, 5, 10].map { $0 * power }.first { $0 >= rough } ?? 10 * power
    }

    private static func number(_ value: Double) -> String { String(format: "%.1f", value) }
}
