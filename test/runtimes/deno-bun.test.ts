// Deno and Bun run the packed tarball.
import { suite } from "uvu";
import { LAVAPIPE, SWIFTSHADER } from "./debian.js";
import { findBun, findDeno } from "./programs.js";
import { preparePlace, testRunner } from "./run-programs.js";

const test = suite("runtimes/deno-bun");
const place = preparePlace(test);
const inDeno = ["run", "--allow-all", "--no-prompt", "--node-modules-dir=manual", "script.js"];
const inBun = ["--no-install", "script.js"];

testRunner(test, place, { name: "Deno", program: findDeno(), args: inDeno, software: LAVAPIPE });
testRunner(test, place, { name: "Bun", program: findBun(), args: inBun, software: SWIFTSHADER });

test.run();
