// Node's own clients. Arguments: the outbound port, the ports of payment-service and order-service.
import http from "node:http";
import { createHash, randomBytes } from "node:crypto";

const [outbound, payment, order] = process.argv.slice(2).map(Number);
const tell = (what, expected, got) => console.log([what, expected, got].join("\t").replaceAll("\n", " "));
const sha = (data) => createHash("sha256").update(data).digest("hex");

function request(options, body) {
  return new Promise((resolve, reject) => {
    const sent = http.request({ host: "127.0.0.1", port: outbound, timeout: 10000, ...options }, (answer) => {
      const pieces = [];
      answer.on("data", (piece) => pieces.push(piece));
      answer.on("error", reject);
      answer.on("end", () => resolve({
        status: answer.statusCode, headers: answer.headers, trailers: answer.trailers,
        text: Buffer.concat(pieces).toString(), reused: sent.reusedSocket,
      }));
    });
    sent.on("error", reject);
    sent.on("timeout", () => sent.destroy(new Error("timeout")));
    for (const piece of body ?? []) sent.write(piece);
    sent.end();
  });
}

async function byHost() {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  const headers = { Host: "payment-service" };
  let got = await request({ path: "/hello", headers, agent });
  tell("http.request with a Host header", "200 hello ", `${got.status} ${got.text}`);
  got = await request({ path: "/hello", headers, agent });
  tell("http.request: the agent's connection is kept", "200 true", `${got.status} ${got.reused}`);
  got = await request({ path: "http://payment-service/hello", agent });
  tell("http.request: a whole URL as path", "200 hello ", `${got.status} ${got.text}`);
  const pieces = [randomBytes(1000), randomBytes(70000), randomBytes(1)];
  got = await request({ path: "/echo", method: "POST", headers: { Host: "order-service" }, agent }, pieces);
  tell("http.request: POST in pieces", sha(Buffer.concat(pieces)), JSON.parse(got.text).sha256);
  got = await request({ path: "/trickle", headers: { Host: "order-service" }, agent });
  tell("http.request: trailers of the answer", "one two three  x-sum=3", `${got.text} x-sum=${got.trailers["x-sum"]}`);
  agent.destroy();
}

function upgrade() {
  return new Promise((resolve, reject) => {
    const headers = { Host: "order-service", Connection: "Upgrade", Upgrade: "echo" };
    const sent = http.request({ host: "127.0.0.1", port: outbound, path: "/upgrade", headers, timeout: 10000 });
    sent.on("error", reject);
    sent.on("timeout", () => sent.destroy(new Error("timeout")));
    sent.on("response", (answer) => reject(new Error(`no upgrade: ${answer.statusCode}`)));
    sent.on("upgrade", (answer, socket) => {
      socket.on("data", (data) => {
        tell("upgrade: bytes go both ways after 101", "101 ping", `${answer.statusCode} ${data}`);
        socket.destroy();
        resolve();
      });
      socket.write("ping");
    });
    sent.end();
  });
}

async function byFetch() {
  const at = (port, path) => `http://127.0.0.1:${port}${path}`;
  let got = await fetch(at(payment, "/hello"));
  tell("fetch through a port of the service", "200 hello ", `${got.status} ${await got.text()}`);
  got = await fetch(at(payment, "/text.txt"));
  tell("fetch: gzip", "gzip 10500", `${got.headers.get("content-encoding")} ${(await got.text()).length}`);
  got = await fetch(at(order, "/echo"), { method: "POST", body: JSON.stringify({ a: 1 }) });
  tell("fetch: POST", sha('{"a":1}'), (await got.json()).sha256);
  const pieces = Array.from({ length: 50 }, () => randomBytes(20000));
  const body = new ReadableStream({ start(to) { pieces.forEach((piece) => to.enqueue(piece)); to.close(); } });
  got = await fetch(at(order, "/echo"), { method: "PUT", body, duplex: "half" });
  tell("fetch: a streamed upload", sha(Buffer.concat(pieces)), (await got.json()).sha256);
  got = await fetch(at(order, "/flaky?key=node&fail=2"));
  tell("fetch: failures are retried out of sight", "200 3", `${got.status} ${(await got.json()).seen}`);
  const all = await Promise.all(Array.from({ length: 100 }, (_, n) =>
    fetch(at(order, `/echo?n=${n}`)).then((answer) => answer.json()).then((told) => told.path === `/echo?n=${n}`)));
  tell("fetch: 100 at once, each answer to its own question", "100", all.filter(Boolean).length);
  const cut = new AbortController();
  got = await fetch(at(order, "/trickle"), { signal: cut.signal });
  await got.body.getReader().read();
  cut.abort();
  got = await fetch(at(payment, "/hello"));
  tell("fetch: an aborted stream harms nothing", "200", got.status);
}

await byHost();
await upgrade();
await byFetch();
console.log("end");
