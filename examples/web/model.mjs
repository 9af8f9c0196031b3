// Loads the page's bundle into ONNX Runtime in a worker, so that the page responds while images are generated.
import * as ort from "./ort/ort.wasm.bundle.min.mjs";
import { load } from "./generator.mjs";

ort.env.wasm.wasmPaths = new URL("./ort/", import.meta.url).href;
ort.env.wasm.numThreads = 1; // more threads need headers that not every server sends
ort.env.wasm.proxy = true;

async function read(name) {
  const answer = await fetch(`bundle/${name}`);
  return answer.ok ? new Uint8Array(await answer.arrayBuffer()) : null;
}

async function sha256(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Returns the generator; checks hashes where the browser can compute them: over https and on this machine. */
export function loadGenerator() {
  return load(ort, read, globalThis.crypto?.subtle ? sha256 : null);
}
