// Puts the page, ONNX Runtime and a bundle into a folder that any web server can serve: npm run build -- BUNDLE [FOLDER]
import { cp, mkdir, readFile, rm } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const HERE = dirname(fileURLToPath(import.meta.url));
const PAGE = ["index.html", "style.css", "icon.svg", "page.mjs", "parts.mjs", "model.mjs", "walk.mjs", "directions.mjs"];
const SHARED = ["generator.mjs", "random.mjs", "pixels.mjs"]; // shared with the Node example
const RUNTIME = ["ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"];

async function build(bundle, target) {
  const { model } = JSON.parse(await readFile(join(bundle, "contract.json")));
  const runtime = join(HERE, "node_modules/onnxruntime-web/dist");
  await rm(target, { recursive: true, force: true });
  await mkdir(target, { recursive: true });
  const copy = (from, names, to) => Promise.all(names.map((name) => cp(join(from, name), join(target, to, name))));
  await copy(HERE, PAGE, ".");
  await copy(join(HERE, "../node"), SHARED, ".");
  await copy(runtime, RUNTIME, "ort");
  await copy(bundle, ["contract.json", "SHA256SUMS", `${model}.onnx`], "bundle");
}

const [bundle, target = join(HERE, "dist")] = process.argv.slice(2);
if (!bundle) {
  console.error("error: name a bundle: npm run build -- ../../data/bundle/gan");
  process.exit(1);
}
build(resolve(bundle), resolve(target)).then(
  () => console.log(`${target} is ready to be served: npm start`),
  (error) => {
    console.error(`error: ${error.message}`);
    process.exitCode = 1;
  },
);
