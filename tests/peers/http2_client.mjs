// Node's own HTTP/2 as a client of http2_server.mjs. Arguments: the port of the service, the outbound port.
import http from "node:http";
import http2 from "node:http2";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";

const [own, outbound] = process.argv.slice(2).map(Number);
const tell = (what, expected, got) => console.log([what, expected, got].join("\t").replaceAll("\n", " "));
const sha = (data) => createHash("sha256").update(data).digest("hex");
const { NGHTTP2_CANCEL: CANCEL, NGHTTP2_INTERNAL_ERROR: INTERNAL } = http2.constants;

// One call: its status, headers, body, trailers and how its stream ended, ten seconds later at the latest.
function call(session, headers, body) {
  return new Promise((resolve) => {
    const stream = session.request(headers, { endStream: body === undefined });
    const got = { status: 0, headers: {}, trailers: {}, hints: 0, stream };
    const pieces = [];
    const late = setTimeout(() => { got.error = "too late"; stream.close(CANCEL); }, 10000);
    stream.on("headers", () => { got.hints += 1; });
    stream.on("response", (head) => Object.assign(got, { status: head[":status"], headers: head }));
    stream.on("trailers", (trailers) => { got.trailers = trailers; });
    stream.on("data", (piece) => pieces.push(piece));
    stream.on("error", (error) => { got.error ??= error.code; });
    stream.on("close", () => {
      clearTimeout(late);
      const body = Buffer.concat(pieces);
      resolve(Object.assign(got, { body, text: String(body), code: stream.rstCode }));
    });
    if (body !== undefined) stream.end(body);
  });
}

async function calls(session) {
  let got = await call(session, { ":path": "/echo", ":method": "POST", "x-word": "tea" }, "one");
  tell("a call with a body", `200 tea ${sha("one")}`,
    `${got.status} ${got.headers["x-word"]} ${JSON.parse(got.text || "{}").sha256}`);
  got = await call(session, { ":path": "/nowhere" });
  tell("a head without a body", "404 0", `${got.status} ${got.body.length}`);
  got = await call(session, { ":path": "/bytes?n=1000" });
  tell("trailers and a 103", `200 ${sha(got.body)} 1`, `${got.status} ${got.trailers["x-sha256"]} ${got.hints}`);
  const big = randomBytes(20 << 20);
  got = await call(session, { ":path": "/echo", ":method": "PUT" }, big);
  tell("20 MiB up", sha(big), JSON.parse(got.text || "{}").sha256);
  got = await call(session, { ":path": `/bytes?n=${20 << 20}` });
  tell("20 MiB down", `${20 << 20} ${got.trailers["x-sha256"]}`, `${got.body.length} ${sha(got.body)}`);
}

async function together(session) {
  const one = (_, n) => call(session, { ":path": "/echo", "x-word": `${n}` });
  const all = await Promise.all(Array.from({ length: 500 }, one));
  const good = all.filter((got, n) => got.headers["x-word"] === `${n}`);
  tell("500 streams at once, each answer to its own question", 500, good.length);
  const slow = session.request({ ":path": `/bytes?n=${4 << 20}` });
  await once(slow, "response");                              // nobody reads its body yet
  const others = await Promise.all(Array.from({ length: 50 }, () => call(session, { ":path": `/bytes?n=20000` })));
  const whole = others.filter((got) => sha(got.body) === got.trailers["x-sha256"]);
  tell("a stream that nobody reads does not hold up the others", 50, whole.length);
  const [pieces, trailers] = [[], once(slow, "trailers")];
  for await (const piece of slow) pieces.push(piece);
  tell("and is whole once it is read", (await trailers)[0]["x-sha256"], sha(Buffer.concat(pieces)));
  const sessions = Number((await call(session, { ":path": "/sessions" })).text);
  tell("few connections carry them", "true", sessions > 0 && sessions <= 16);
}

async function resets(session) {
  for (const code of [CANCEL, INTERNAL]) {
    const stream = session.request({ ":path": `/reset?code=${code}`, ":method": "POST" });
    const [head] = await once(stream, "response");
    stream.on("error", () => {});
    stream.write("now");
    await new Promise((resolve) => { stream.on("close", resolve); });
    tell(`the service's RST_STREAM ${code} after the head`, `200 ${code}`, `${head[":status"]} ${stream.rstCode}`);
  }
  const hanging = session.request({ ":path": "/hang?key=left" });
  hanging.on("error", () => {});
  await eventually(session, "left", (told) => told === -1);
  hanging.close(CANCEL);
  tell("the service sees a stream that the client resets", CANCEL, await eventually(session, "left", (told) => told > 0));
  let got = await call(session, { ":path": "/refused?key=get&fail=2" });
  tell("GET: REFUSED_STREAM is retried", "200 3", `${got.status} ${got.text}`);
  got = await call(session, { ":path": "/refused?key=post&fail=2", ":method": "POST" }, "pay");
  tell("POST: REFUSED_STREAM is retried, for nothing was done", "200 3", `${got.status} ${got.text}`);
  got = await call(session, { ":path": "/short/hang?key=deadline" });
  tell("the deadline: our own reply", "504 deadline_exceeded deadline_exceeded",
    `${got.status} ${got.headers["outrigger-reason"]} ${JSON.parse(got.text || "{}").error}`);
  tell("the deadline: the service sees the end", CANCEL, await eventually(session, "deadline", (told) => told > 0));
}

async function eventually(session, key, condition) {
  const end = Date.now() + 5000;
  for (;;) {
    const told = JSON.parse((await call(session, { ":path": `/told?key=${key}` })).text || "null");
    if (condition(told) || Date.now() > end) return told;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

// The service says GOAWAY again and again, under a load of ten calls at a time. A POST may be sent again only if it is
// above the id in the GOAWAY. Before version 20 Node drops calls below it too: then only GET can be expected to work.
async function goaway(session) {
  const method = parseInt(process.versions.node, 10) < 20 ? "GET" : "POST";
  let [number, good] = [0, 0];
  const one = async () => {
    while (number < 300) {
      number += 1;
      const got = number % 20 === 0
        ? await call(session, { ":path": "/last" })
        : await call(session, { ":path": "/echo", ":method": method }, method === "POST" ? "tea" : undefined);
      good += got.status === 200 && got.code === 0 && got.body.length > 0;
    }
  };
  await Promise.all(Array.from({ length: 10 }, one));
  tell("15 times GOAWAY among 300 calls: none fails", 300, good);
  tell("the application's own connection stays", "false", session.closed);
}

// RFC 8441: what a WebSocket is in HTTP/2.
async function tunnel(session) {
  if (!session.remoteSettings.enableConnectProtocol) await once(session, "remoteSettings");
  tell("extended CONNECT is offered", "true", session.remoteSettings.enableConnectProtocol);
  const asked = { ":method": "CONNECT", ":protocol": "websocket", ":path": "/short/chat" };
  const stream = session.request(asked, { endStream: false });
  const [head] = await once(stream, "response");
  const [begun, got] = [Date.now(), []];
  let number = 0;
  for (; Date.now() - begun < 800; number += 1) {            // the route's timeout is 300 ms
    stream.write(`${number}.`);
    got.push(String((await once(stream, "data"))[0]));
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  stream.end();
  await once(stream, "end");
  const sent = Array.from({ length: number }, (_, n) => `${n}.`).join("");
  tell("extended CONNECT: bytes go both ways, for longer than the timeout", `200 ${sent}`, `${head[":status"]} ${got.join("")}`);
}

function http1(path, options = {}, body) {
  return new Promise((resolve, reject) => {
    const sent = http.request({ host: "127.0.0.1", port: outbound, path, timeout: 10000, ...options }, (answer) => {
      const pieces = [];
      answer.on("data", (piece) => pieces.push(piece));
      answer.on("error", reject);
      answer.on("end", () => resolve({ status: answer.statusCode, trailers: answer.trailers, hints, body: Buffer.concat(pieces) }));
    });
    let hints = 0;
    sent.on("information", () => { hints += 1; });
    sent.on("error", reject);
    sent.on("timeout", () => sent.destroy(new Error("timeout")));
    sent.end(body);
  });
}

async function bridges(session) {
  const headers = { Host: "bridge-service" };
  let got = await http1("/bytes?n=100000", { headers });
  tell("HTTP/1 to HTTP/2: body, trailers and a 103", `200 ${got.trailers["x-sha256"]} 1`,
    `${got.status} ${sha(got.body)} ${got.hints}`);
  const big = randomBytes(5 << 20);
  got = await http1("/echo", { headers, method: "POST" }, big);
  tell("HTTP/1 to HTTP/2: 5 MiB up", sha(big), JSON.parse(got.body).sha256);
  got = await http1("/refused?key=bridge&fail=2", { headers });
  tell("HTTP/1 to HTTP/2: REFUSED_STREAM is retried", "200 3", `${got.status} ${got.body}`);
  got = await call(session, { ":path": "/trickle", ":authority": "legacy-service" });
  tell("HTTP/2 to HTTP/1: body and trailers", "200 one two three  3",
    `${got.status} ${got.text} ${got.trailers["x-sum"]}`);
  got = await call(session, { ":path": "/echo", ":method": "POST", ":authority": "legacy-service" }, big);
  tell("HTTP/2 to HTTP/1: 5 MiB up", sha(big), JSON.parse(got.text || "{}").sha256);
  got = await call(session, { ":path": "/flaky?key=legacy&fail=2", ":authority": "legacy-service" });
  tell("HTTP/2 to HTTP/1: a 503 is retried", "200 3", `${got.status} ${JSON.parse(got.text || "{}").seen}`);
  got = await call(session, { ":path": "/hello", ":authority": "payment-service" });
  tell("HTTP/2 to a service that does not speak it", "502 protocol_error", `${got.status} ${got.headers["outrigger-reason"]}`);
}

function open(port) {
  const session = http2.connect(`http://127.0.0.1:${port}`).on("error", () => {});
  // Room for more than one stream that is not read: else the client would hold itself up.
  return session.on("connect", () => session.setLocalWindowSize(1 << 20));
}

const session = open(own);
for (const part of [calls, together, resets, tunnel, goaway])
  await part(session).catch((error) => tell(part.name, "to end", error));
session.close();
const anywhere = open(outbound);
await bridges(anywhere).catch((error) => tell("bridges", "to end", error));
anywhere.close();
console.log("end");
process.exit(0);
