"""How a walk tells what it found: a line for each step, which run.py counts."""

import traceback


class Report:
    """The steps of one walk. A step that fails does not end the walk, but what needs its value does."""

    def __init__(self, walk):
        self.walk = walk

    def passed(self, step):
        """The step did what it should."""
        print(f"ok {self.walk}: {step}", flush=True)

    def failed(self, step, why):
        """The step did not, and why."""
        print(f"FAILED {self.walk}: {step}: {why}".replace("\n", "\n    "), flush=True)

    def check(self, step, holds, seen=""):
        """Passes if `holds`."""
        if holds:
            self.passed(step)
        else:
            self.failed(step, f"not as expected: {seen!r}")

    def broke(self, step):
        """An exception that the step should not have raised."""
        self.failed(step, traceback.format_exc(limit=-4))
