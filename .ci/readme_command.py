"""Print a command that the README shows for pasting.

Such a command is a fenced block with a comment just before it:

    <!-- command: test -->
    ```console
    python3 -m venv .venv && ...
    ```
"""

import argparse
import re
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"
COMMAND = re.compile(
    r"^<!-- command: (?P<name>[\w-]+) -->\n+```(?:console|bash|sh|shell)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


def main() -> None:
    """Print the command named on the command line, or list those that there are."""
    parser = argparse.ArgumentParser(description="Print a command that the README shows.")
    parser.add_argument("name", help="the name in the comment before the block")
    name = parser.parse_args().name

    commands = [(match["name"], match["text"]) for match in COMMAND.finditer(README.read_text())]
    matching = [text for known, text in commands if known == name]

    if len(matching) != 1:
        known = ", ".join(known for known, _ in commands) or "none"
        raise SystemExit(
            f"{README.name} marks {len(matching)} commands '{name}', not one (marked: {known})"
        )

    print(matching[0].strip())


if __name__ == "__main__":
    main()
