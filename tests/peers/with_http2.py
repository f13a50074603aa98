"""Node's own HTTP/2, client and server; and its HTTP/1 client where the service speaks HTTP/2, and the reverse."""

from client import HERE, environment, lines_of

NEEDS = "node"


def prepare(stage):
    words = ["node", HERE / "http2_server.mjs", stage.port["streams-server"]]
    stage.streams = stage.launch("streams", words, env=environment())


def checks(stage, report):
    stage.wait("streams", stage.streams, stage.port["streams-server"])
    lines_of("http2", ["node", HERE / "http2_client.mjs", stage.port["streams"], stage.port["outbound"]], report)
