"""gRPC the other way round: Node's grpc-js calls a server by Python's grpcio."""

import sys

import grpc_client
from client import HERE, lines_of, needs_npm


def needs():
    return grpc_client.needs() or needs_npm("@grpc/grpc-js")


def prepare(stage):
    stage.pricing = stage.launch("pricing", [sys.executable, HERE / "grpc_server.py", stage.port["pricing-server"]])


def checks(stage, report):
    stage.wait("pricing", stage.pricing, stage.port["pricing-server"])
    lines_of("grpc-js", ["node", HERE / "grpc_client.mjs", stage.port["pricing"], stage.port["outbound"]], report)
