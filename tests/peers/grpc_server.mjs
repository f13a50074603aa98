// `shop.Catalog` by Node's @grpc/grpc-js: what grpc_server.py is in Python. Arguments: the port, the port
// with TLS that wants a certificate, the folder of the certificates.
// Messages are bytes; what a method is asked to do comes as JSON.
//
//   Echo    the message back; `x-word` comes back in the head, `x-raw-bin` in the trailers
//   Sum     a stream in: count, bytes and sha256 of the messages
//   List    a stream out: {count, size}
//   Talk    both: every message back as it comes
//   Refuse  NOT_FOUND with a text and details
//   Nap     no answer until the call is cancelled
//   Find, Place   {key, fail, late, head, pushback}: UNAVAILABLE for the first `fail` calls of that key, after `late` ms,
//           with a response head of its own if `head`, with `pushback` as grpc-retry-pushback-ms; then OK
//   Told    {key}: what the calls of that key looked like from here
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { require } from "./packages.mjs";

const grpc = require("@grpc/grpc-js");
const told = new Map();

function note(call, key) {
  if (!told.has(key)) told.set(key, { at: [], left: [], cancelled: 0 });
  const seen = told.get(key);
  const deadline = call.getDeadline();
  seen.at.push(Date.now());
  seen.left.push(Number.isFinite(+deadline) ? deadline - Date.now() : null);
  call.on("cancelled", () => (seen.cancelled += 1));
  return seen;
}

const asked = (call) => JSON.parse(call.request);
const json = (value) => Buffer.from(JSON.stringify(value));

function unavailable(call, done) {
  const { key, fail, late = 0, head = false, pushback } = asked(call);
  const seen = note(call, key);
  if (seen.at.length > fail) return done(null, json({ seen: seen.at.length }));
  const metadata = new grpc.Metadata();
  if (pushback !== undefined) metadata.set("grpc-retry-pushback-ms", String(pushback));
  return setTimeout(() => {
    if (head) call.sendMetadata(new grpc.Metadata());
    done({ code: grpc.status.UNAVAILABLE, details: "not yet", metadata });
  }, late);
}

const methods = {
  Echo(call, done) {
    const [head, tail] = [new grpc.Metadata(), new grpc.Metadata()];
    for (const word of call.metadata.get("x-word")) head.add("x-word", word);
    for (const raw of call.metadata.get("x-raw-bin")) tail.add("x-raw-bin", raw);
    call.sendMetadata(head);
    done(null, call.request, tail);
  },
  Sum(call, done) {
    const digest = createHash("sha256");
    let [count, length] = [0, 0];
    call.on("data", (piece) => { digest.update(piece); count += 1; length += piece.length; });
    call.on("end", () => done(null, json({ count, length, sha256: digest.digest("hex") })));
  },
  async List(call) {
    const { count, size } = asked(call);
    for (let number = 0; number < count; number += 1)
      if (!call.write(Buffer.alloc(size, number % 256))) await new Promise((resolve) => call.once("drain", resolve));
    call.end();
  },
  Talk(call) {
    call.on("data", (piece) => call.write(piece));
    call.on("end", () => call.end());
  },
  Refuse(call, done) {
    const metadata = new grpc.Metadata();
    metadata.set("grpc-status-details-bin", Buffer.from(Array.from({ length: 256 }, (_, byte) => byte)));
    done({ code: grpc.status.NOT_FOUND, details: "no such tea: \u2615 100 %", metadata });
  },
  Nap(call) { note(call, asked(call).key); },
  Find: unavailable,
  Place: unavailable,
  Told(call, done) { done(null, json(told.get(asked(call).key) ?? null)); },
};

const bytes = (value) => value;
const definition = (name) => ({
  path: `/shop.Catalog/${name}`,
  requestStream: name === "Sum" || name === "Talk",
  responseStream: name === "List" || name === "Talk",
  requestSerialize: bytes, requestDeserialize: bytes, responseSerialize: bytes, responseDeserialize: bytes,
});
const server = new grpc.Server({ "grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1 });
server.addService(Object.fromEntries(Object.keys(methods).map((name) => [name, definition(name)])), methods);

const [port, sealed, folder] = process.argv.slice(2);
const file = (name) => readFileSync(`${folder}/${name}`);
const pair = { private_key: file("server.key"), cert_chain: file("server.pem") };
const thrown = (error) => { if (error) throw error; };
server.bindAsync(`127.0.0.1:${sealed}`, grpc.ServerCredentials.createSsl(file("ca.pem"), [pair], true), thrown);
server.bindAsync(`127.0.0.1:${port}`, grpc.ServerCredentials.createInsecure(), thrown);
