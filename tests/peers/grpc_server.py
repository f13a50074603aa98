"""`shop.Catalog` by Python's grpcio: what grpc_server.mjs is in Node, where the methods are told. Argument: the port."""

import concurrent.futures
import hashlib
import json
import sys
import threading
import time

import grpc

told, lock = {}, threading.Lock()


def note(context, key):
    left = context.time_remaining()
    with lock:
        seen = told.setdefault(key, {"at": [], "left": [], "cancelled": 0})
        seen["at"].append(time.time() * 1000)
        seen["left"].append(None if left is None or left > 1e9 else left * 1000)
        return seen, len(seen["at"])


def echo(message, context):
    sent = context.invocation_metadata()
    context.send_initial_metadata([pair for pair in sent if pair[0] == "x-word"])
    context.set_trailing_metadata([pair for pair in sent if pair[0] == "x-raw-bin"])
    return message


def sum_up(messages, context):
    digest, count, length = hashlib.sha256(), 0, 0
    for message in messages:
        digest.update(message)
        count, length = count + 1, length + len(message)
    return json.dumps({"count": count, "length": length, "sha256": digest.hexdigest()}).encode()


def listing(message, context):
    asked = json.loads(message)
    for number in range(asked["count"]):
        yield bytes([number % 256]) * asked["size"]


def talk(messages, context):
    yield from messages


def refuse(message, context):
    context.set_trailing_metadata([("grpc-status-details-bin", bytes(range(256)))])
    context.abort(grpc.StatusCode.NOT_FOUND, "no such tea: \u2615 100 %")


def nap(message, context):
    seen, _ = note(context, json.loads(message)["key"])
    ended = threading.Event()
    context.add_callback(ended.set)
    ended.wait(20)
    seen["cancelled"] += 1
    return b""


def unavailable(message, context):
    asked = json.loads(message)
    _, count = note(context, asked["key"])
    if count > asked["fail"]:
        return json.dumps({"seen": count}).encode()
    time.sleep(asked.get("late", 0) / 1000)
    if asked.get("head"):
        context.send_initial_metadata([])
    if "pushback" in asked:
        context.set_trailing_metadata([("grpc-retry-pushback-ms", str(asked["pushback"]))])
    return context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")


def tell(message, context):
    return json.dumps(told.get(json.loads(message)["key"])).encode()


METHODS = {
    "Echo": grpc.unary_unary_rpc_method_handler(echo),
    "Sum": grpc.stream_unary_rpc_method_handler(sum_up),
    "List": grpc.unary_stream_rpc_method_handler(listing),
    "Talk": grpc.stream_stream_rpc_method_handler(talk),
    "Refuse": grpc.unary_unary_rpc_method_handler(refuse),
    "Nap": grpc.unary_unary_rpc_method_handler(nap),
    "Find": grpc.unary_unary_rpc_method_handler(unavailable),
    "Place": grpc.unary_unary_rpc_method_handler(unavailable),
    "Told": grpc.unary_unary_rpc_method_handler(tell),
}

server = grpc.server(concurrent.futures.ThreadPoolExecutor(40),
                     options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1),
                              ("grpc.so_reuseport", 0)])
server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("shop.Catalog", METHODS)])
server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
server.start()
server.wait_for_termination()
