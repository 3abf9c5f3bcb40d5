"""Fetches a greeting from a service."""
import urllib.request


def fetch(base: str) -> str:
    """The greeting that the service at `base` gives, as text."""
    with urllib.request.urlopen(base + "/greeting.txt", timeout=10) as answer:
        return answer.read().decode()
