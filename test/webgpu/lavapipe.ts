/** Mesa's software adapter, which has shader-f16, in Deno. */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { repositoryRoot } from "../shared.js";

const DRIVERS = [
  "/usr/share/vulkan/icd.d/lvp_icd.x86_64.json",
  "/usr/share/vulkan/icd.d/lvp_icd.json",
];

const places = [join(repositoryRoot, "node_modules", ".bin")];
places.push(...(process.env.PATH ?? "").split(delimiter));
const deno = places.map((folder) => join(folder, "deno")).find((path) => existsSync(path));
const driver = process.env.VK_ICD_FILENAMES_F16 ?? DRIVERS.find((path) => existsSync(path));

export const hasLavapipe = deno !== undefined && driver !== undefined;

/** What a test that is skipped says is missing. */
export const NO_LAVAPIPE = deno
  ? "lavapipe is not there; install mesa-vulkan-drivers"
  : "Deno is not there";

/** What a script of this folder prints on it. Only where it is. */
export async function onLavapipe<Found>(
  script: string,
): Promise<Found & { readonly adapter: string; readonly features: readonly string[] }> {
  const path = join(repositoryRoot, "build/out/test/webgpu", `${script}.js`);
  const env = {
    ...process.env,
    VK_ICD_FILENAMES: driver,
    VK_DRIVER_FILES: driver,
    NO_COLOR: "1",
  };
  const args = ["run", "-A", path];
  const { stdout } = await promisify(execFile)(deno!, args, { env, cwd: repositoryRoot });
  return JSON.parse(stdout.trim().split("\n").at(-1)!);
}
