// The bundle beside the page, loaded into ONNX Runtime in a worker, so that the page answers while it draws.
import * as ort from "./ort/ort.wasm.bundle.min.mjs";
import { load } from "./generator.mjs";

ort.env.wasm.wasmPaths = new URL("./ort/", import.meta.url).href;
ort.env.wasm.numThreads = 1; // more need headers that not every server sends
ort.env.wasm.proxy = true;

async function read(name) {
  const answer = await fetch(`bundle/${name}`);
  return answer.ok ? new Uint8Array(await answer.arrayBuffer()) : null;
}

async function sha256(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The generator; hashes are checked where the browser has the means: over https, and on this machine. */
export function loadGenerator() {
  return load(ort, read, globalThis.crypto?.subtle ? sha256 : null);
}
