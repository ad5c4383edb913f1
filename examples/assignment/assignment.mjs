// Which arm of an experiment a user gets.  Copy it, with assignment.d.mts, into a frontend in Node.
import { createHash } from "node:crypto";

export function armOf(salt, experiment, userId, traffic, arms) {
  const digest = createHash("sha256").update(`${salt}\0${experiment}\0${userId}`, "utf8").digest();
  const place = (at) => Number((digest.readBigUInt64BE(at) * 10000n) >> 64n);
  if (place(0) >= traffic) return null;
  let left = place(8);
  for (const [arm, share] of arms) {
    if (left < share) return arm;
    left -= share;
  }
  throw new RangeError("the shares do not sum to 10,000");
}
