// npm's ws, events and long polling. Arguments: the ports of live-service, of its server, the outbound port.
// The service's timeout is 300 ms.
import http from "node:http";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { require } from "./packages.mjs";

const WebSocket = require("ws");
const [own, server, outbound] = process.argv.slice(2).map(Number);
const tell = (what, expected, got) => console.log([what, expected, got].join("\t").replaceAll("\n", " "));
const sha = (data) => createHash("sha256").update(data).digest("hex");

// A connection to the service through a CONNECT of the outbound port.
function tunnel() {
  return new Promise((resolve, reject) => {
    const path = `live-service:${server}`;
    const sent = http.request({ host: "127.0.0.1", port: outbound, method: "CONNECT", path, timeout: 10000 });
    sent.on("connect", (answer, socket) => {
      if (answer.statusCode === 200) resolve(socket);
      else reject(new Error(`CONNECT: ${answer.statusCode}`));
    });
    sent.on("error", reject);
    sent.end();
  });
}

async function sockets(name, url, options = {}) {
  let socket = new WebSocket(url("/echo"), options);
  await once(socket, "open");
  const big = randomBytes(2 << 20);
  socket.send(big);
  const [back] = await once(socket, "message");
  tell(`${name}: a message of 2 MiB there and back`, sha(big), sha(back));
  const all = new Promise((resolve) => {
    const got = [];
    socket.on("message", (data) => { got.push(String(data)); if (got.length === 1000) resolve(got); });
  });
  for (let number = 0; number < 1000; number += 1) socket.send(`${number}`);
  const sent = Array.from({ length: 1000 }, (_, number) => `${number}`);
  tell(`${name}: 1,000 messages in order`, sha(sent.join()), sha((await all).join()));
  socket.ping("tea");
  tell(`${name}: ping and pong`, "tea", (await once(socket, "pong"))[0]);
  socket.close(4001, "enough");
  tell(`${name}: the code of the end`, "4001", (await once(socket, "close"))[0]);
}

async function ticks() {
  const socket = new WebSocket(`ws://127.0.0.1:${own}/ticks`);
  let got = "";
  socket.on("message", (data) => { got += data; });
  const [code] = await once(socket, "close");
  tell("a WebSocket of a second, longer than the timeout", "0123456789 1000", `${got} ${code}`);
}

async function events() {
  const answer = await fetch(`http://127.0.0.1:${own}/events`);
  const [begun, decoder] = [Date.now(), new TextDecoder()];
  let [got, first] = ["", 0];
  for await (const piece of answer.body) {
    first ||= Date.now() - begun;
    got += decoder.decode(piece);
  }
  tell("events for a second, longer than the timeout", "0123456789", got.replaceAll(/\D/g, ""));
  tell("the first event is not held back", "true", first < 500);
}

async function polls() {
  let answer = await fetch(`http://127.0.0.1:${own}/poll`);
  tell("a long poll on a route with `timeout: off`", "200 news", `${answer.status} ${await answer.text()}`);
  answer = await fetch(`http://127.0.0.1:${own}/slow`);
  tell("the same elsewhere", "504 deadline_exceeded", `${answer.status} ${answer.headers.get("outrigger-reason")}`);
}

async function byConnect() {
  const socket = await tunnel();
  await sockets("ws through CONNECT", (path) => `ws://live-service:${server}${path}`, { createConnection: () => socket });
}

const byPort = () => sockets("ws by the service's port", (path) => `ws://127.0.0.1:${own}${path}`);
const guarded = (part) => part().catch((error) => tell(part.name, "to end", error));
await guarded(byPort);
await guarded(byConnect);
await Promise.all([ticks, events, polls].map(guarded));
console.log("end");
process.exit(0);
