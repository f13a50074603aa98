"""A grpcio client of `shop.Catalog` (see grpc_server.mjs) without generated code: messages are bytes."""

import json
import os

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")       # this process starts others, and none of them calls
os.environ.setdefault("GRPC_VERBOSITY", "NONE")


def needs():
    try:
        import grpc  # noqa: F401
    except ImportError:
        return "Python's `grpcio` is not installed"
    return None


class Catalog:
    """A channel to `port`; `authority` is the service's name where the port alone does not say it."""

    def __init__(self, target, authority=None, proxy=None):
        import grpc
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1),
                   ("grpc.use_local_subchannel_pool", 1)]
        options += [("grpc.default_authority", authority)] if authority else []
        options += [("grpc.http_proxy", proxy)] if proxy else [("grpc.enable_http_proxy", 0)]
        self.grpc = grpc
        self.channel = grpc.insecure_channel(target if isinstance(target, str) else f"127.0.0.1:{target}", options)
        path = "/shop.Catalog/"
        self.echo, self.refuse, self.nap = (self.channel.unary_unary(path + name) for name in ("Echo", "Refuse", "Nap"))
        self.sum = self.channel.stream_unary(path + "Sum")
        self.list = self.channel.unary_stream(path + "List")
        self.talk = self.channel.stream_stream(path + "Talk")
        self.methods = {name: self.channel.unary_unary(path + name) for name in ("Find", "Place", "Told", "Nap", "Nobody")}

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.channel.close()

    def ask(self, method, timeout=10, **asked):
        """The answer of a method that is asked by JSON, or the error, and the call."""
        try:
            message, call = self.methods[method].with_call(json.dumps(asked).encode(), timeout=timeout)
            return json.loads(message), call
        except self.grpc.RpcError as error:
            return None, error

    def code(self, method, **asked):
        """The name of the status that a method ends with."""
        return self.ask(method, **asked)[1].code().name

    def told(self, key):
        return self.ask("Told", key=key)[0]


def trailing(call, name):
    """The first value of that name in the trailers of a call."""
    return next((value for key, value in call.trailing_metadata() or () if key == name), None)
