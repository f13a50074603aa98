"""One line per check: `ok` with what holds, or `FAIL` with what was expected and what came."""

import sys
import threading
import time


class Report:
    """Counts and prints checks. Safe to use from several threads."""

    def __init__(self, tier="peers"):
        self.tier = tier
        self.passed = 0
        self.failed = 0
        self.absent = []  # clients that could not run, each with the reason
        self._lock = threading.Lock()

    def same(self, what, expected, got):
        """Passes when `got` equals `expected`."""
        self._line(expected == got, what, expected, got)

    def holds(self, what, condition, got, expected="it to hold"):
        """Passes when `condition` is true; `got` is shown when it is not."""
        self._line(bool(condition), what, expected, got)

    def broke(self, what, error):
        """A client that ended early: one failure, and the rest of its checks are missing."""
        self._line(False, what, "to run to its end", f"{type(error).__name__}: {error}")

    def cannot(self, client, reason):
        self.absent.append(f"{client}: {reason}")

    def _line(self, good, what, expected, got):
        with self._lock:
            if good:
                self.passed += 1
                print(f"ok   {what}", flush=True)
            else:
                self.failed += 1
                print(f"FAIL {what}: expected {short(expected)}, got {short(got)}", flush=True)

    def end(self, seconds):
        for line in self.absent:
            print(f"CANNOT RUN {line}")
        print(f"{self.tier}: {self.passed + self.failed} checks in {seconds:.1f} s")
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        return 1 if self.failed else 3 if self.absent else 0


def short(value):
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 400 else f"{text[:400]}... ({len(text)} characters)"


def eventually(condition, seconds=5.0):
    """Whether `condition()` becomes true within that time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def log(text):
    print(text, file=sys.stderr, flush=True)
