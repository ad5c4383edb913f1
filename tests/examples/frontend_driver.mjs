// Answers calls of frontend.ts: a line of JSON in, a line of JSON out.  It speaks RESP to Redis itself.
import { createConnection } from "node:net";
import { createInterface } from "node:readline";

const [path, host, port, user, password] = process.argv.slice(2);
const { Pages, cursorOf, hashOf, isStale, readFeed } = await import(path);

const socket = createConnection({ host, port: Number(port) });
let data = Buffer.alloc(0), more = () => {};
socket.on("data", (part) => { data = Buffer.concat([data, part]); more(); });

async function line() {
  for (;;) {
    const end = data.indexOf("\r\n");
    if (end >= 0) {
      const found = data.subarray(0, end).toString();
      data = data.subarray(end + 2);
      return found;
    }
    await new Promise((resolve) => { more = resolve; });
  }
}

async function reply() {
  const head = await line(), count = Number(head.slice(1));
  if (head[0] === "-") throw new Error(head);
  if (head[0] === "*") {
    const all = [];
    for (let at = 0; at < count; at++) all.push(await reply());
    return all;
  }
  if (head[0] !== "$") return head.slice(1);
  while (data.length < count + 2) await new Promise((resolve) => { more = resolve; });
  const text = data.subarray(0, count).toString();
  data = data.subarray(count + 2);
  return text;
}

async function send(commands) {
  for (const words of commands)
    socket.write(`*${words.length}\r\n` + words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join(""));
  let last;
  for (const _ of commands) last = await reply();
  return last;
}

const multi = (commands) => send([["MULTI"], ...commands, ["EXEC"]]);
await send([["AUTH", user, password]]);

const calls = {
  read_feed: (name, first, prefix) => readFeed(multi, name, first, prefix),
  is_stale: (feed, nowMs) => isStale(feed, nowMs),
  page: async (prefix, exposes, ...asked) => {
    const exposures = [];
    const pages = new Pages(multi, prefix, exposes ? (one) => exposures.push(one) : undefined);
    return { page: await pages.page(...asked), exposures };
  },
  hash_of: hashOf,
  cursor_of: cursorOf,
};
for await (const asked of createInterface({ input: process.stdin })) {
  const [name, ...words] = JSON.parse(asked);
  console.log(JSON.stringify((await calls[name](...words)) ?? null));
}
process.exit();
