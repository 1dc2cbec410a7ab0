import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { OPENERS, random } from "../backends/operands.js";
import { note, repositoryRoot, skipUnless } from "../shared.js";
import { checkHalf, type HalfCheck } from "./half.js";

const test = suite("webgpu/half");

function judge(checks: readonly HalfCheck[]): void {
  assert.is(checks.length, 15);
  for (const { what, worst } of checks) {
    assert.ok(worst <= 1, `${what}: its error is ${worst} of what it may be`);
  }
}

for (const open of OPENERS) {
  test(`${open.name}: products with f16 weights, without shader-f16`, async () => {
    const backend = await open();
    judge(await checkHalf(backend, random));
    backend.dispose();
  });
}

/** Mesa's software adapter, which has shader-f16. */
const LAVAPIPE = [
  "/usr/share/vulkan/icd.d/lvp_icd.x86_64.json",
  "/usr/share/vulkan/icd.d/lvp_icd.json",
];

const places = [join(repositoryRoot, "node_modules", ".bin")];
places.push(...(process.env.PATH ?? "").split(delimiter));
const deno = places.map((folder) => join(folder, "deno")).find((path) => existsSync(path));
const driver = process.env.VK_ICD_FILENAMES_F16 ?? LAVAPIPE.find((path) => existsSync(path));

skipUnless(
  test,
  deno !== undefined && driver !== undefined,
  deno ? "lavapipe is not there; install mesa-vulkan-drivers" : "Deno is not there",
  "products with f16 weights on an adapter with shader-f16",
  async () => {
    const script = join(repositoryRoot, "build/out/test/webgpu/half-script.js");
    const env = {
      ...process.env,
      VK_ICD_FILENAMES: driver,
      VK_DRIVER_FILES: driver,
      NO_COLOR: "1",
    };
    const args = ["run", "-A", script];
    const { stdout } = await promisify(execFile)(deno!, args, { env, cwd: repositoryRoot });
    const { adapter, hasShaderF16, checks } = JSON.parse(stdout.trim().split("\n").at(-1)!);
    assert.ok(hasShaderF16, `${adapter} has no shader-f16`);
    judge(checks);
    note(
      `f16 weights on ${adapter} in Deno: largest error ${Math.max(...checks.map(({ worst }: HalfCheck) => worst)).toFixed(3)} of its bound`,
    );
  },
);

test.run();
