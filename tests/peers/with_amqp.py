"""AMQP: pika and a real RabbitMQ."""

import glob
import os
import shutil

SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server"             # the one in the path becomes another user and another folder


def needs():
    try:
        import pika  # noqa: F401
    except ImportError:
        return "Python's `pika` is not installed"
    return None if os.path.exists(SERVER) and epmd() else "`rabbitmq-server` is not installed"


def epmd():
    found = glob.glob("/usr/lib/erlang/erts-*/bin/epmd")
    return found[0] if found else shutil.which("epmd")


def prepare(stage):
    home = stage.folder / "rabbitmq"
    home.mkdir()
    (home / "plugins").write_text("[].\n")
    names, distribution = stage.free_port(), stage.free_port()
    environment = {**os.environ, "HOME": str(home), "ERL_EPMD_PORT": str(names), "ERL_EPMD_ADDRESS": "127.0.0.1"}
    environment |= {f"RABBITMQ_{name}": str(value) for name, value in {
        "NODENAME": f"peers{names}@localhost", "NODE_IP_ADDRESS": "127.0.0.1", "NODE_PORT": stage.port["amqp-server"],
        "DIST_PORT": distribution, "MNESIA_BASE": home / "mnesia", "LOG_BASE": home, "LOGS": "-",
        "ENABLED_PLUGINS_FILE": home / "plugins", "CONFIG_FILE": home / "none", "ADVANCED_CONFIG_FILE": home / "none",
        "CONF_ENV_FILE": home / "none", "PID_FILE": home / "pid",
        "SERVER_ADDITIONAL_ERL_ARGS": "+sbwt none +S 1:1 -kernel inet_dist_use_interface {127,0,0,1}"}.items()}
    stage.launch("epmd", [epmd(), "-address", "127.0.0.1", "-port", names], env=environment)
    stage.amqp = stage.launch("rabbitmq", [SERVER], env=environment, cwd=home)


def checks(stage, report):
    import pika
    stage.wait("rabbitmq", stage.amqp, stage.port["amqp-server"], seconds=60)
    where = pika.ConnectionParameters("127.0.0.1", stage.port["amqp"], heartbeat=5, socket_timeout=10,
                                      blocked_connection_timeout=10)
    connection = pika.BlockingConnection(where)
    channel = connection.channel()
    channel.queue_declare("orders", exclusive=True)
    messages(pika, channel, report)
    big(channel, report)
    pushed(connection, channel, report)
    other = connection.channel()
    try:
        other.queue_declare("nobody-made-it", passive=True)
        got = "found"
    except pika.exceptions.ChannelClosedByBroker as error:
        got = error.reply_code
    report.same("amqp: an error of one channel", 404, got)
    report.same("amqp: leaves the others alone", True, channel.is_open)
    connection.close()


def messages(pika, channel, report):
    channel.confirm_delivery()
    for number in range(500):
        properties = pika.BasicProperties(headers={"number": number})
        channel.basic_publish("", "orders", f"{number}".encode(), properties, mandatory=True)
    got = [channel.basic_get("orders", auto_ack=True) for _ in range(500)]
    report.same("amqp: 500 messages, each confirmed, in order, with their headers",
                [(number, f"{number}".encode()) for number in range(500)],
                [(properties.headers["number"], body) for _, properties, body in got])


def big(channel, report):
    body = os.urandom(4 << 20)
    channel.basic_publish("", "orders", body)
    report.holds("amqp: 4 MiB are intact", channel.basic_get("orders", auto_ack=True)[2] == body, "other bytes")


def pushed(connection, channel, report):
    got = []
    channel.basic_consume("orders", lambda _, method, properties, body: got.append(body), auto_ack=True)
    for number in range(50):
        channel.basic_publish("", "orders", f"{number}".encode())
    for _ in range(100):
        if len(got) == 50:
            break
        connection.process_data_events(time_limit=0.1)
    report.same("amqp: the broker pushes what was published", [f"{number}".encode() for number in range(50)], got)
