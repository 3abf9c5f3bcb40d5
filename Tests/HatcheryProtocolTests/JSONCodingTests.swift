import Foundation
import HatcheryProtocol
import Testing

/// Our coder against Foundation's: what one writes the other reads.
@Suite struct JSONCodingTests {
    struct Everything: Codable, Equatable {
        enum Colour: String, Codable { case red, green }
        enum Shape: Codable, Equatable {
            case circle(radius: Double)
            case none
        }

        var text = "a \"b\" \\ / \n \u{1} é \u{1F600}"
        var empty = ""
        var integer = Int64.min
        var small: Int8 = -128
        var large = UInt32.max
        var fraction = 0.1
        var float: Float = -2.5
        var truth = true
        var optional: Int?
        var present: Int? = 3
        var list = [[1, 2], [], [3]]
        var names = ["b": 1, "a": 2]
        var colour = Colour.green
        var shapes = [Shape.circle(radius: 1e-300), .none]
        var nested: [Inner] = [Inner(), Inner(parent: ["x": Inner()])]

        struct Inner: Codable, Equatable { var parent: [String: Inner]? }
    }

    private func decode<Value: Decodable>(_ type: Value.Type, _ text: String) throws -> Value {
        try JSON.decode(type, from: try #require(JSONText.value(of: Array(text.utf8))))
    }

    @Test func foundationReadsWhatWeWriteAndWeWhatItWrites() throws {
        let value = Everything()
        let ours = try JSON.text(of: value)
        #expect(try JSONDecoder().decode(Everything.self, from: Data(ours.utf8)) == value)
        #expect(try decode(Everything.self, ours) == value)
        let theirs = String(decoding: try JSONEncoder().encode(value), as: UTF8.self)
        #expect(try decode(Everything.self, theirs) == value)
    }

    @Test func numbersAreTakenExactlyOrNotAtAll() throws {
        #expect(try decode([Int].self, "[2.0, 1e3, -0]") == [2, 1000, 0])
        #expect(try decode([Double].self, "[1, 2.5, 1e400]".replacing("1e400", with: "3e2")) == [1, 2.5, 300])
        for (text, type) in [("[300]", [Int8].self as any Decodable.Type), ("[-1]", [UInt].self), ("[1.5]", [Int].self),
            ("[18446744073709551615]", [UInt64].self), ("[1e400]", [Double].self), ("[true]", [Int].self)] {
            #expect(throws: DecodingError.self) { try decode(type, text) }
        }
    }

    @Test func errorsNameThePlace() {
        func message(_ text: String) -> String {
            do {
                _ = try decode(Everything.self, text)
                return ""
            } catch { return JSON.describe(error) }
        }
        #expect(message("[]") == "expected an object, found array")
        #expect(message("{}") == "\"text\" is missing")
        #expect(throws: EncodingError.self) { try JSON.text(of: ["x": Double.nan]) }
        let place = JSON.describe(DecodingError.typeMismatch(Int.self, .init(codingPath: [Key("list"), Key(1)], debugDescription: "wrong")))
        #expect(place == ".list[1]: wrong")
    }

    private struct Key: CodingKey {
        var stringValue: String
        var intValue: Int?
        init(_ text: String) { stringValue = text }
        init(_ index: Int) { (stringValue, intValue) = ("\(index)", index) }
        init?(stringValue: String) { self.init(stringValue) }
        init?(intValue: Int) { self.init(intValue) }
    }

    @Test func scalarsAloneAndAFieldOfNothing() throws {
        #expect(try JSON.text(of: "x") == "\"x\"")
        #expect(try JSON.text(of: Int?.none) == "null")
        #expect(try JSON.text(of: [Int?.none, 1]) == "[null, 1]")
        #expect(try JSON.text(of: [String: Int]()) == "{}")
        #expect(try decode(Int?.self, "null") == nil)
        #expect(try decode([Int?].self, "[null, 4]") == [nil, 4])
    }

    @Test func aLongListTakesNoSquareOfTime() throws {
        let numbers = Array(0..<200_000)
        #expect(try decode([Int].self, try JSON.text(of: numbers)) == numbers)
    }
}
