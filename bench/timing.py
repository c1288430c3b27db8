"""What the scripts that ask a program of bench/ for its times share."""
import subprocess, time


def seconds(f):
    """Seconds of one call: the mean over about a tenth of a second, after two calls that do not count."""
    f()
    start = time.perf_counter()
    f()
    times = max(1, min(10 ** 6, int(0.1 / max(time.perf_counter() - start, 1e-9))))
    start = time.perf_counter()
    for _ in range(times):
        f()
    return (time.perf_counter() - start) / times


class Program:
    """A program that answers each line with a number."""

    def __init__(self, *command):
        self.process = subprocess.Popen([str(c) for c in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())
