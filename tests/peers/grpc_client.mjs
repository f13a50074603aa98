// Node's grpc-js calls `shop.Catalog` (see grpc_server.mjs). Arguments: the port of the service, the outbound port.
import { createHash, randomBytes } from "node:crypto";
import { require } from "./packages.mjs";

const grpc = require("@grpc/grpc-js");
const [own, outbound] = process.argv.slice(2).map(Number);
const tell = (what, expected, got) => console.log([what, expected, got].join("\t").replaceAll("\n", " "));
const sha = (data) => createHash("sha256").update(data).digest("hex");
const json = (value) => Buffer.from(JSON.stringify(value));
const bytes = (value) => value;
const within = (seconds) => ({ deadline: Date.now() + seconds * 1000 });

const methods = Object.fromEntries(["Echo", "Sum", "List", "Talk", "Refuse", "Nap", "Find", "Told"].map((name) => [name, {
  path: `/shop.Catalog/${name}`,
  requestStream: name === "Sum" || name === "Talk",
  responseStream: name === "List" || name === "Talk",
  requestSerialize: bytes, requestDeserialize: bytes, responseSerialize: bytes, responseDeserialize: bytes,
}]));
const Catalog = grpc.makeGenericClientConstructor(methods, "Catalog");
const open = (port, authority) => new Catalog(`127.0.0.1:${port}`, grpc.credentials.createInsecure(), {
  "grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1, "grpc.use_local_subchannel_pool": 1,
  ...(authority ? { "grpc.default_authority": authority } : {}),
});

// The answer to a unary call, or the error, with the head and the trailers.
function ask(client, method, message, options = within(10), metadata = new grpc.Metadata()) {
  return new Promise((resolve) => {
    const got = {};
    const call = client[method](message, metadata, options, (error, answer) => {
      Object.assign(got, { error, answer });
      if (error) resolve(got);
      else if (got.status) resolve(got);
    });
    call.on("metadata", (head) => { got.head = head; });
    call.on("status", (status) => { got.status = status; if (got.answer !== undefined) resolve(got); });
    got.call = call;
  });
}

async function unary(client) {
  const metadata = new grpc.Metadata();
  const raw = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
  metadata.add("x-word", "milk");
  metadata.add("x-raw-bin", raw);
  const got = await ask(client, "Echo", Buffer.from("tea"), within(10), metadata);
  tell("a unary call", "tea", got.answer);
  tell("metadata before the answer", "milk", got.head.get("x-word").join());
  tell("binary metadata after it", raw.toString("hex"), got.status.metadata.get("x-raw-bin")[0]?.toString("hex"));
  const big = randomBytes(16 << 20);
  const back = await ask(client, "Echo", big, within(20));
  tell("a message of 16 MiB there and back", sha(big), sha(back.answer ?? ""));
}

async function streams(client) {
  const pieces = Array.from({ length: 50 }, () => randomBytes(100_000));
  const sum = await new Promise((resolve, reject) => {
    const done = (error, answer) => (error ? reject(error) : resolve(JSON.parse(answer)));
    const call = client.Sum(new grpc.Metadata(), within(20), done);
    pieces.forEach((piece) => call.write(piece));
    call.end();
  });
  tell("a stream to the server", `50 ${sha(Buffer.concat(pieces))}`, `${sum.count} ${sum.sha256}`);
  const list = await gather(client.List(json({ count: 300, size: 30_000 }), new grpc.Metadata(), within(20)));
  const inOrder = list.every((one, n) => one.equals(Buffer.alloc(30_000, n % 256)));
  tell("a stream from the server, in order", "300 true", `${list.length} ${inOrder}`);
  const talk = client.Talk(new grpc.Metadata(), within(20));
  const answers = gather(talk);
  for (let n = 0; n < 1000; n += 1) talk.write(Buffer.from("."));
  talk.end();
  tell("1,000 messages of one byte", "1000 .", `${(await answers).length} ${[...new Set((await answers).map(String))]}`);
  tell("a conversation, turn by turn", "50", await turns(client.Talk(new grpc.Metadata(), within(20))));
}

function gather(call) {
  return new Promise((resolve, reject) => {
    const all = [];
    call.on("data", (piece) => all.push(piece));
    call.on("error", reject);
    call.on("end", () => resolve(all));
  });
}

function turns(call) {
  return new Promise((resolve, reject) => {
    let turn = 0;
    call.on("error", reject);
    call.on("data", (answer) => {
      if (String(answer) !== `turn ${turn}`) reject(new Error(`${answer} in turn ${turn}`));
      turn += 1;
      if (turn < 50) call.write(Buffer.from(`turn ${turn}`));
      else call.end();
    });
    call.on("end", () => resolve(turn));
    call.write(Buffer.from("turn 0"));
  });
}

async function ends(client) {
  const got = await ask(client, "Refuse", Buffer.alloc(0));
  tell("status and text", "5 no such tea: \u2615 100 %", `${got.error.code} ${got.error.details}`);
  tell("details", 256, got.error.metadata.get("grpc-status-details-bin")[0]?.length);
  const late = await ask(client, "Nap", json({ key: "own" }), within(0.2));
  tell("the caller's own deadline", grpc.status.DEADLINE_EXCEEDED, late.error.code);
  const found = await ask(client, "Find", json({ key: "find", fail: 2 }));
  tell("UNAVAILABLE twice, the caller sees one OK", '{"seen": 3}', found.answer ?? found.error);
  const call = client.Nap(json({ key: "left" }), new grpc.Metadata(), within(10), () => {});
  await eventually(client, "left", (seen) => seen);
  call.cancel();
  const left = await eventually(client, "left", (seen) => seen?.cancelled);
  tell("the server sees that a call is cancelled", 1, left?.cancelled);
}

async function eventually(client, key, condition) {
  const end = Date.now() + 5000;
  for (;;) {
    const seen = JSON.parse((await ask(client, "Told", json({ key }))).answer);
    if (condition(seen) || Date.now() > end) return seen;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function together(client) {
  const one = (_, n) => ask(client, "Echo", Buffer.from(`${n}`), within(20));
  const all = await Promise.all(Array.from({ length: 300 }, one));
  const good = all.filter((got, n) => String(got.answer) === `${n}`);
  tell("300 calls at once, each answer to its own question", 300, good.length);
}

async function elsewhere() {
  const named = open(outbound, "pricing-service");
  tell("by authority", "tea", (await ask(named, "Echo", Buffer.from("tea"))).answer);
  named.close();
  const denied = open(outbound, "nobody-knows");
  const refusal = (await ask(denied, "Echo", Buffer.from("tea"))).error;
  tell("our own reply", "7 denied", `${refusal.code} ${refusal.metadata.get("outrigger-reason")}`);
  denied.close();
}

const client = open(own);
for (const part of [unary, streams, ends, together, elsewhere])
  await part(client).catch((error) => tell(part.name, "to end", error));
client.close();
console.log("end");
process.exit(0);
