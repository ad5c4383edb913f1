// A frontend in strict TypeScript: reads ranked feeds from Redis, page by page, each reader the list of their arm.
// It needs no package, and nothing of feedmill.  Copy what you need, with `assignment/`.
//
// With ioredis: `(commands) => redis.multi(commands).exec().then((all) => all!.map(([, reply]) => reply))`.
// With node-redis: `(commands) => commands.reduce((m, c) => m.addCommand(c), redis.multi()).exec()`.
// What such a client may read are the keys `feed:*`.
import { createHash } from "node:crypto";
import { armOf } from "./assignment/assignment.mjs";

/** Runs commands in one MULTI, and resolves to the reply of each. */
export type Multi = (commands: string[][]) => Promise<unknown[]>;

/** What runs on a feed; the control is the first of its arms. */
export interface Experiment {
  name: string;
  salt: string;
  traffic: number;
  arms: { name: string; share: number }[];
}

/** The top of a list at one version, best first, with the weights that ranked it. */
export interface Feed {
  name: string;
  version: number;
  posts: { postId: string; score: number }[];
  weights: Record<string, unknown>;
  configOffset: number;
  freshUntilMs: number;
  experiment: Experiment | null;
}

/** What a reader asked for; send it to the topic `exposures`, key `user_id`, before you render the page. */
export interface Exposure {
  user_id: string;
  experiment: string;
  arm: string;
  feed: string;
  first: number;
  count: number;
  at_ms: number;
  version: number;
  served?: string;
}

/** Some posts of a feed.  `first` is the position of the first post, from 0; `stale`: say so, and show it. */
export interface Page {
  version: number;
  first: number;
  postIds: string[];
  nextCursor: string | null;
  stale: boolean;
}

const HASH_BYTES = 6;
const MOST_SHOWN = 1_000; // posts, after which a reader has scrolled to the end

/**
 * Read the first posts of a feed and its `:info` in one MULTI, so that they belong together; null if there is no
 * such feed.  With `arm`, as in "<experiment>.<arm>", it is the list of that arm.
 */
export async function readFeed(multi: Multi, name: string, first = 50, prefix = "", arm = ""): Promise<Feed | null> {
  const key = `${prefix}feed:{${name}}` + (arm && `:arm:${arm}`);
  const [ranking, fields] = await multi([
    ["ZRANGE", key, "0", String(first - 1), "REV", "WITHSCORES"],
    ["HGETALL", `${key}:info`],
  ]);
  const info = new Map(pairsOf(fields));
  const text = (field: string): string => info.get(field) ?? "null";
  if (info.size === 0) return null;
  return {
    name,
    version: Number(text("version")),
    posts: pairsOf(ranking).map(([postId, score]) => ({ postId, score: Number(score) })),
    weights: JSON.parse(text("weights")),
    configOffset: Number(text("config_offset")),
    freshUntilMs: Number(text("fresh_until_ms")),
    experiment: JSON.parse(text("experiment")),
  };
}

/** Whether the combiner has not confirmed the ranking lately. */
export function isStale(feed: Feed, nowMs: number): boolean {
  return nowMs > feed.freshUntilMs;
}

/** The pairs of a reply: a flat list, a list of pairs, or an object, as clients and protocols differ. */
function pairsOf(reply: unknown): [string, string][] {
  if (!Array.isArray(reply)) return Object.entries(reply ?? {}).map(([field, value]) => [field, String(value)]);
  const flat = reply.flat().map(String);
  return flat.flatMap((one, at): [string, string][] => (at % 2 ? [] : [[one, flat[at + 1] ?? ""]]));
}

/**
 * Serves feeds page by page.  A page has the best posts of now that the reader was not shown yet, and the cursor
 * holds which those are: no post comes twice, none that stays in the list is skipped, what was hidden is gone, and any
 * replica of the frontend goes on.  Without `expose` nobody is in an experiment.
 */
export class Pages {
  readonly #multi: Multi;
  readonly #prefix: string;
  readonly #expose: ((exposure: Exposure) => void) | undefined;

  constructor(multi: Multi, prefix = "", expose?: (exposure: Exposure) => void) {
    this.#multi = multi;
    this.#prefix = prefix;
    this.#expose = expose;
  }

  /** The first page, or the page of a cursor; null if there is no such feed. */
  async page(name: string, size = 50, cursor: string | null = null, userId: string | null = null): Promise<Page | null> {
    const seen = seenOf(cursor);
    const most = seen.size + size + 1; // one more than the page tells whether there is another
    let feed = await readFeed(this.#multi, name, most, this.#prefix);
    if (feed === null) return null;
    if (feed.experiment && this.#expose && userId !== null)
      feed = await this.#ofArm(feed, feed.experiment, userId, [seen.size, size], most);
    const unseen = feed.posts.map(({ postId }) => postId).filter((postId) => !seen.has(hashOf(postId)));
    const postIds = unseen.slice(0, size);
    const goesOn = unseen.length > size && seen.size + size < MOST_SHOWN;
    return {
      version: feed.version,
      first: seen.size,
      postIds,
      nextCursor: goesOn ? cursorOf([...seen, ...postIds.map(hashOf)]) : null,
      stale: isStale(feed, Date.now()),
    };
  }

  /** The list of the reader's arm, after it was said that the reader asks for it. */
  async #ofArm(feed: Feed, running: Experiment, userId: string, [first, count]: [number, number], most: number): Promise<Feed> {
    const arms = running.arms.map(({ name, share }): [string, number] => [name, share]);
    const arm = armOf(running.salt, running.name, userId, running.traffic, arms);
    if (arm === null) return feed;
    const control = running.arms[0]?.name;
    const found = arm === control
      ? feed : await readFeed(this.#multi, feed.name, most, this.#prefix, `${running.name}.${arm}`);
    const served = found ?? feed; // the control's, where the experiment has just begun or ended
    this.#expose?.({
      user_id: userId,
      experiment: running.name,
      arm,
      feed: feed.name,
      first,
      count,
      at_ms: Date.now(),
      version: served.version,
      ...(found === null && control !== undefined ? { served: control } : {}),
    });
    return served;
  }
}

/** What a cursor holds of a post: six bytes, in hexadecimal digits. */
export function hashOf(postId: string): string {
  return createHash("sha256").update(postId, "utf8").digest("hex").slice(0, 2 * HASH_BYTES);
}

/** Write a cursor: safe in a URL, of 8 characters a post. */
export function cursorOf(hashes: Iterable<string>): string {
  return Buffer.from([...hashes].join(""), "hex").toString("base64url");
}

/** Read a cursor, in the order of the posts; empty if it is none, as a user may have sent it. */
function seenOf(cursor: string | null): Set<string> {
  const text = cursor ?? "";
  const data = Buffer.from(text, "base64url");
  const isCursor = data.toString("base64url") === text && data.length % HASH_BYTES === 0;
  if (!isCursor || data.length > MOST_SHOWN * HASH_BYTES) return new Set();
  return new Set(data.toString("hex").match(/.{12}/g) ?? []);
}
