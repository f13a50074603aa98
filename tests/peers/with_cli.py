"""The command line, as a deployment script would use it: exit codes and where the words go."""

import json
import subprocess


def checks(stage, report):
    check = lambda *words: run(stage, "check", *words)
    good = check(stage.config)
    report.same("check: a good file", (0, True, ""), (good.returncode, ": ok, 19 services" in good.stdout, good.stderr))
    bad = stage.folder / "bad.yaml"
    bad.write_text("version: v1\nworkers: two\nservices:\n  a: {endpoints: {static: [127.0.0.1:1]}, timeuot: 3s}\n")
    got = check(bad)
    report.same("check: two problems, on standard error", (1, "", True, True, True),
                (got.returncode, got.stdout, f"{bad}:2:10: workers" in got.stderr, f"{bad}:4:" in got.stderr,
                 got.stderr.endswith("2 problems\n")))
    report.same("check: a missing file", 1, check(stage.folder / "none.yaml").returncode)
    report.same("check: no file named", 2, check().returncode)
    got = check(stage.config, "--effective", "payment-service")
    report.same("check --effective", (0, True), (got.returncode, "maxConcurrent" in got.stdout))
    report.same("check --effective of a stranger", 1, check(stage.config, "--effective", "stranger").returncode)
    report.same("an unknown command", 2, run(stage, "chekc").returncode)
    got = run(stage, "schema")
    report.same("schema: JSON that names the keys", (0, True), (got.returncode, "services" in json.loads(got.stdout)["properties"]))
    report.same("run: a bad file does not start", 1, run(stage, "run", bad).returncode)
    second = run(stage, "run", stage.config)
    report.holds("run: a second instance says which address is taken",
                 second.returncode != 0 and str(stage.port["outbound"]) in second.stderr, (second.returncode, second.stderr))


def run(stage, *words):
    return subprocess.run([stage.binary, *map(str, words)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=15)
