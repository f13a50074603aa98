// Node's own HTTP/2 without TLS. Argument: the port.
//
//   /echo            method, length and sha256 of the body, as JSON; x-word comes back
//   /bytes?n=        that many bytes, their sha256 in the trailers, a 103 before the head
//   /reset?code=     a head, and once the client has said something RST_STREAM with CANCEL (8) or INTERNAL_ERROR (2)
//   /refused?key=&fail=  RST_STREAM REFUSED_STREAM for the first `fail` calls of that key, then how often it was asked
//   /hang?key=       no answer; /short/hang is the same
//   /told?key=       the code with which the client reset /hang
//   /last            an answer, and GOAWAY
//   CONNECT          with :protocol: every byte back
import http2 from "node:http2";
import { createHash, randomBytes } from "node:crypto";
import { addAbortSignal } from "node:stream";

const told = new Map();
const sessions = new Set();
const answer = (stream, value, more = {}) => {
  stream.respond({ ":status": 200, "content-type": "application/json", ...more });
  stream.end(JSON.stringify(value));
};

const paths = {
  "/echo"(stream, query, headers) {
    const digest = createHash("sha256");
    let length = 0;
    stream.on("data", (piece) => { digest.update(piece); length += piece.length; });
    stream.on("end", () => {
      const told = { method: headers[":method"], length, sha256: digest.digest("hex") };
      answer(stream, told, { "x-word": headers["x-word"] ?? "" });
    });
  },
  "/bytes"(stream, query) {
    const body = randomBytes(Number(query.get("n")));
    stream.additionalHeaders({ ":status": 103, link: "</tea.css>; rel=preload" });
    stream.respond({ ":status": 200, trailer: "x-sha256" }, { waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers({ "x-sha256": createHash("sha256").update(body).digest("hex") }));
    stream.end(body);
  },
  "/reset"(stream, query) {
    stream.respond({ ":status": 200 });
    const cancel = new AbortController();
    addAbortSignal(cancel.signal, stream);                   // `close` would say END_STREAM first
    stream.once("data", () => (query.get("code") === "8" ? cancel.abort() : stream.destroy(new Error("on purpose"))));
  },
  "/refused"(stream, query) {
    const seen = (told.get(query.get("key")) ?? 0) + 1;
    told.set(query.get("key"), seen);
    if (seen <= Number(query.get("fail"))) stream.close(http2.constants.NGHTTP2_REFUSED_STREAM);
    else answer(stream, seen);
  },
  "/hang"(stream, query) {
    told.set(query.get("key"), -1);
    stream.on("close", () => told.set(query.get("key"), stream.rstCode));
  },
  "/told"(stream, query) { answer(stream, told.get(query.get("key")) ?? null); },
  "/last"(stream) {
    answer(stream, "last");
    stream.session.close();
  },
};

const server = http2.createServer({ settings: { enableConnectProtocol: true } });
server.on("session", (session) => { sessions.add(session); session.on("error", () => {}); });
server.on("stream", (stream, headers) => {
  stream.on("error", () => {});
  if (headers[":method"] === "CONNECT") {
    stream.respond({ ":status": 200 });
    stream.pipe(stream);
    return;
  }
  const url = new URL(headers[":path"], "http://here");
  const path = paths[url.pathname.replace("/short/", "/")];
  if (path) path(stream, url.searchParams, headers);
  else if (url.pathname === "/sessions") answer(stream, sessions.size);
  else stream.respond({ ":status": 404 }, { endStream: true });
});
server.listen(Number(process.argv[2]), "127.0.0.1");
