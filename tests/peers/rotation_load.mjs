// Calls /who over one HTTP/2 connection, four at a time, until its standard input ends. Argument: the port.
// Prints {seen: {NAME: how often}, failed: [...]}.
import http2 from "node:http2";

const session = http2.connect(`http://127.0.0.1:${process.argv[2]}`);
const [seen, failed] = [{}, []];
let going = true;
session.on("error", (error) => failed.push(`${error}`));
process.stdin.on("end", () => { going = false; }).resume();

function who() {
  return new Promise((resolve) => {
    const stream = session.request({ ":path": "/who" });
    let [status, text] = [0, ""];
    stream.setEncoding("utf8");
    stream.on("response", (head) => { status = head[":status"]; });
    stream.on("data", (piece) => { text += piece; });
    stream.on("error", (error) => failed.push(`${error}`));
    stream.on("close", () => {
      if (status === 200) seen[text.split(" ")[0]] = (seen[text.split(" ")[0]] ?? 0) + 1;
      else failed.push(`${status} ${text}`);
      resolve();
    });
  });
}

const caller = async () => { while (going && failed.length === 0) await who(); };
await Promise.all([caller(), caller(), caller(), caller()]);
console.log(JSON.stringify({ seen, failed: failed.slice(0, 5) }));
process.exit(0);
