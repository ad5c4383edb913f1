// Prints the arm of each line of standard input, by the module that is the argument.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const { armOf } = await import(pathToFileURL(process.argv[2]));
for (const line of readFileSync(0, "utf8").split("\n").slice(0, -1)) {
  const [salt, experiment, user, traffic, ...fields] = line.split("\t");
  const arms = [];
  for (let at = 0; at < fields.length; at += 2) arms.push([fields[at], Number(fields[at + 1])]);
  console.log(armOf(salt, experiment, user, Number(traffic), arms) ?? "-");
}
