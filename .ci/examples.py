"""Run every example as its reader would: as a script, in a home of its own.

A script that is meant to fail declares it in a comment line: `# exit status: 1`.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
EXIT_STATUS = re.compile(r"^# exit status: (\d+)$", re.MULTILINE)
TIMEOUT_SECONDS = 120


def expected_status(script: Path) -> int:
    """Return the exit status that a script declares, 0 if it declares none."""
    declared = EXIT_STATUS.search(script.read_text())
    return int(declared[1]) if declared else 0


def run(script: Path, home: str) -> tuple[int | str, str]:
    """Run one script; return its exit status and its output."""
    environment = os.environ | {"HOME": home, "EVENTFLOW_HOME": f"{home}/eventflow"}
    # An example deletes things with the `gcloud` on the PATH: this one only records its arguments.
    environment |= {
        "PATH": f"{ROOT / 'tests' / 'examples'}{os.pathsep}{os.environ['PATH']}",
        "GCLOUD_RECORD": f"{home}/gcloud.txt",
    }

    # A file, not a pipe: a process that outlives the script would hold a pipe open.
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        try:
            status: int | str = subprocess.run(
                [sys.executable, str(script)],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=TIMEOUT_SECONDS,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            status = f"none within {TIMEOUT_SECONDS} s"

        output.seek(0)
        return status, output.read()


def passes(script: Path) -> bool:
    """Run one script and print the verdict; return whether it ended as it declares."""
    expected = expected_status(script)
    start = time.monotonic()

    # A guardian may still write to the home while it is removed.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        status, output = run(script, home)

    took = time.monotonic() - start
    passed = status == expected
    verdict = "ok" if passed else "FAILED"
    print(f"{verdict:6} {took:6.1f} s  exit {status}, {expected} expected  {script.name}")

    if not passed:
        print(output)

    return passed


def main() -> None:
    """Run all examples; exit non-zero when one did not end as declared, or none was found."""
    scripts = sorted((ROOT / "examples").glob("*.py"))

    if not scripts:
        raise SystemExit("no example found: examples/*.py")

    failed = [script.name for script in scripts if not passes(script)]

    if failed:
        raise SystemExit(f"{len(failed)} of {len(scripts)} examples failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
