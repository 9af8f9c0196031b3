// Loads a bundle from a folder in Node.
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import * as ort from "onnxruntime-node";
import { load } from "./generator.mjs";

export { BundleError } from "./generator.mjs";

const sha256 = async (bytes) => createHash("sha256").update(bytes).digest("hex");

/** Returns the generator of the bundle in `folder`; throws BundleError if it is missing or damaged. */
export async function openBundle(folder) {
  const read = (name) =>
    readFile(join(folder, name)).catch((error) => {
      if (["ENOENT", "ENOTDIR"].includes(error.code)) return null;
      throw error;
    });
  return load(ort, read, sha256);
}
