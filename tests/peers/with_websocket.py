"""What stays open: WebSockets by npm's ws, server-sent events, long polling."""

from client import HERE, environment, lines_of, needs_npm


def needs():
    return needs_npm("ws")


def prepare(stage):
    words = ["node", HERE / "live_server.mjs", stage.port["live-server"]]
    stage.live = stage.launch("live", words, env=environment())


def checks(stage, report):
    stage.wait("live", stage.live, stage.port["live-server"])
    ports = [stage.port[name] for name in ("live", "live-server", "outbound")]
    lines_of("live", ["node", HERE / "live_client.mjs", *ports], report)
