// Generates a grid of images with a bundle: node generate.mjs data/bundle/gan --seed 7 --count 32 --out samples.png
import { writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { PNG } from "pngjs";
import { openBundle } from "./bundle.mjs";
import { BundleError, LARGEST, outOfBounds } from "./generator.mjs";
import { toSheet } from "./pixels.mjs";

const USAGE = "node generate.mjs BUNDLE [--seed 0] [--count 16] [--label NAME] [--columns 8] [--out samples.png]";

async function main() {
  const { folder, seed, count, label, columns, out } = readArguments();
  const bundle = await openBundle(folder);
  const samples = Array.from({ length: count }, (_, place) => bundle.sampleNoise(seed + place));
  const noise = new Float32Array(count * bundle.length);
  samples.forEach((one, place) => noise.set(one.noise, place * bundle.length));
  const picked = label === undefined ? null : bundle.label(label);
  const labels = bundle.labelled ? samples.map((one) => picked ?? one.label) : null;
  const { width, height, rgba } = toSheet(await bundle.generate(noise, labels), bundle.shape, columns);
  const png = new PNG({ width, height });
  png.data.set(rgba);
  await writeFile(out, PNG.sync.write(png));
  console.log(out);
}

function readArguments() {
  const text = (value) => ({ type: "string", default: value });
  const options = { seed: text("0"), count: text("16"), label: { type: "string" }, columns: text("8"), out: text("samples.png") };
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  if (positionals.length !== 1) throw new BundleError(`name one bundle: ${USAGE}`);
  const [seed, count, columns] = ["seed", "count", "columns"].map((name) => wholeNumber(name, values[name]));
  if (count < 1 || count > LARGEST) throw new BundleError(outOfBounds(count));
  if (columns < 1) throw new BundleError("--columns must be at least 1");
  return { ...values, folder: positionals[0], seed, count, columns };
}

function wholeNumber(name, text) {
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(Number(text) + LARGEST)) {
    throw new BundleError(`--${name} must be a whole number from 0 on, and ${text} is not`);
  }
  return Number(text);
}

main().catch((error) => {
  const expected = error instanceof BundleError || error.code; // of the file system and of parseArgs
  console.error(expected ? `error: ${error.message}` : error);
  process.exitCode = 1;
});
