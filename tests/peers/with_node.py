"""Node.js: `http.request` on the outbound port, `fetch` on a service's own port."""

import pathlib

from client import lines_of

NEEDS = "node"


def checks(stage, report):
    program = pathlib.Path(__file__).with_name("client.mjs")
    lines_of("node", ["node", program, stage.port["outbound"], stage.port["payment"], stage.port["order"]], report)
