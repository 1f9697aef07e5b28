"""What a run found: Markdown that is printed as it comes, raw samples, and the targets that are met or missed."""

import json
import os
import statistics
import time

from machine import busy_seconds
from table import markdown

# Share of the processors used by others above which parallel kernels wait for descheduled threads again and again:
# with one of two cores taken, 17 ms an iteration became 115.
TOO_BUSY = 0.05


class Report:
    """Collect tables, notes, samples and claims; print them, and write them to a folder after every section.

    Parameters
    ----------
    folder : pathlib.Path
        Gets ``results.md`` and ``results.json``.
    heading : dict
        Machine, versions and parameters; opens the JSON.
    title : str
        Opens the Markdown.
    """

    def __init__(self, folder, heading, title):
        self.folder, self.content = folder, {**heading, "sections": {}, "targets": []}
        self.lines, self.current, self.began = [], None, None
        self.folder.mkdir(parents=True, exist_ok=True)
        self._say(title)

    def _say(self, text):
        self.lines.append(text)
        print(text, end="\n\n", flush=True)

    def section(self, name, title):
        """Open a section."""
        self.current = name
        self.content["sections"][name] = {"load_average_before": os.getloadavg()[0], "began": time.strftime("%H:%M:%S")}
        self.began = time.perf_counter(), *busy_seconds()
        self._say(f"## {title}")

    def end(self):
        """Close a section: say how much of the machine others used meanwhile."""
        wall, everyone, own = (b - a for a, b in zip(self.began, (time.perf_counter(), *busy_seconds()), strict=True))
        share = max(0.0, everyone - own) / (wall * os.cpu_count())
        self.content["sections"][self.current].update(seconds=wall, used_by_others=share)
        doubt = ": **too busy a machine, measure again.**" if share > TOO_BUSY else "."
        self._say(f"Others used {share:.0%} of the processors in these {wall:.0f} s{doubt}")
        self.write()

    def note(self, text):
        """Add a paragraph."""
        self._say(text)

    def table(self, header, rows):
        """Add a table."""
        self._say(markdown(header, rows))

    def keep(self, **samples):
        """Keep raw samples of this section; tuples as keys become words with spaces."""
        self.content["sections"][self.current].update({name: _plain(value) for name, value in samples.items()})

    def at_least(self, what, values, target, unit="x"):
        """Claim that the median of `values` is no less than the target."""
        self._claim(what, statistics.median(values), target, unit, lambda value: value >= target, ">=", 2)

    def at_most(self, what, values, target, unit, digits=1):
        """Claim that the median of `values` is no more than the target."""
        self._claim(what, statistics.median(values), target, unit, lambda value: value <= target, "<=", digits)

    def _claim(self, what, value, target, unit, holds, sign, digits=1):
        number = f"{value:.1e}" if 0 < abs(value) < 1e-3 else f"{value:.{digits}f}"
        row = [what, f"{sign} {target:g} {unit}", f"{number} {unit}", "met" if holds(value) else "MISSED"]
        self.content["targets"].append(row)

    def close(self):
        """Add the table of all targets and write everything."""
        if self.content["targets"]:
            self._say("## Targets")
            self.table(["", "target", "measured", ""], self.content["targets"])
        self.write()

    def write(self):
        """Write what there is so far."""
        (self.folder / "results.md").write_text("\n\n".join(self.lines) + "\n")
        (self.folder / "results.json").write_text(json.dumps(self.content, indent=1) + "\n")


def _plain(value):
    if isinstance(value, dict):
        return {" ".join(map(str, k)) if isinstance(k, tuple) else str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value if isinstance(value, (str, int, bool, type(None))) else float(value)
