// Answers that take their time: WebSocket by npm's ws, events, long polling. Argument: the port.
import http from "node:http";
import { require } from "./packages.mjs";

const { WebSocketServer } = require("ws");
const TICKS = 10;

// Calls `one(n)` ten times, 100 ms apart, then `end()`.
function tick(one, end, number = 0) {
  if (number === TICKS) return end();
  one(number);
  return setTimeout(tick, 100, one, end, number + 1);
}

const server = http.createServer((request, answer) => {
  if (request.url === "/events") {
    answer.writeHead(200, { "content-type": "text/event-stream" });
    tick((number) => answer.write(`data: ${number}\n\n`), () => answer.end());
  } else if (request.url === "/poll" || request.url === "/slow") {
    setTimeout(() => answer.end("news"), 700);
  } else answer.end("hello");
});
const sockets = new WebSocketServer({ server });
sockets.on("connection", (socket, request) => {
  if (request.url === "/ticks") tick((number) => socket.send(`${number}`), () => socket.close(1000, "done"));
  else socket.on("message", (data, binary) => socket.send(data, { binary }));
});
server.listen(Number(process.argv[2]), "127.0.0.1");
