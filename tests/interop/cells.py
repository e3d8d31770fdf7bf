# SPDX-License-Identifier: Apache-2.0
"""What ./dev interop proves, as cells: a tool, what it is held against, and the case (a model, a tokenizer). Each is proved, has
failed or is not proved. A script prints a line for every cell as it goes, also when it runs inside another Python; whoever started
it reads the lines, and ends with the table of them all."""
import json
import subprocess

STATES = {"ok": "proved", "FAIL": "failed", "skip": "not proved"}


def say(state, tool, what, case, result):
    print(f"{state:4} {tool}: {what}: {case}: {result}", flush=True)


class Cells:
    def __init__(self):
        self.rows = []  # (state, tool, what, case, result)

    def add(self, state, tool, what, case, result):
        say(state, tool, what, case, result)
        self.rows.append((state, tool, what, case, result))

    def record(self, tool, what, case, result, holds):
        self.add("ok" if holds else "FAIL", tool, what, case, result)

    def skip(self, tool, what, case, why):
        self.add("skip", tool, what, case, why)

    def collect(self, tool, command, environment, folder):
        """Runs a script that says cells, in a folder where its tools may leave what they like. Tools talk a lot: only our lines are
        shown, and theirs when they end otherwise."""
        run = subprocess.Popen(command, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               errors="replace")
        lines, count = [], len(self.rows)
        for line in run.stdout:
            lines.append(line)
            fields = line[5:].rstrip("\n").split(": ", 3)
            if line[:4].strip() in STATES and line[4:5] == " " and len(fields) == 4:
                self.add(line[:4].strip(), *fields)
        if run.wait() != 0 and not any(row[0] == "FAIL" for row in self.rows[count:]):
            print("".join(lines[-20:]))
            self.add("FAIL", tool, "runs", "to its end", f"ended with {run.returncode}")

    def failed(self):
        return any(row[0] == "FAIL" for row in self.rows)

    def finish(self, file):
        """Prints the table, writes it as JSON. -> exit code: 1 when a cell failed."""
        keys = ("state", "tool", "what", "case", "result")
        with open(file, "w", encoding="utf-8") as f:
            json.dump([dict(zip(keys, (STATES[row[0]], *row[1:]))) for row in self.rows], f, indent=1)
        counts = {state: sum(row[0] == state for row in self.rows) for state in STATES}
        print("\n" + ", ".join(f"{count} {STATES[state]}" for state, count in counts.items()))
        for state, heading in STATES.items():
            groups = {}
            for _, tool, what, case, result in (row for row in self.rows if row[0] == state):
                if state == "ok":
                    groups.setdefault(f"{tool}, {what}", []).append(case)
                else:
                    groups.setdefault(f"{tool}, {result}", []).append(f"{what} of {case}")
            if groups:
                print(f"\n{heading}:")
            for group, members in groups.items():
                print(f"  {group}: {', '.join(members)}")
        return int(self.failed())
