"""Takes {"numbers": [...]} as JSON on stdin and prints their count, sum and mean as one JSON value."""
import json
import sys

numbers = json.load(sys.stdin)["numbers"]
if not numbers:
    sys.exit("statistics.py: there are no numbers")
print(json.dumps({"count": len(numbers), "sum": sum(numbers), "mean": sum(numbers) / len(numbers)}))
