"""Java's HttpClient, which asks for `Upgrade: h2c` unless it is told not to."""

import pathlib

from client import lines_of

NEEDS = "javac"                                              # the source launcher compiles


def checks(stage, report):
    program = pathlib.Path(__file__).with_name("Client.java")
    command = ["java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", program]
    lines_of("java", [*command, stage.port["outbound"], stage.port["payment"], stage.port["order"]], report)
