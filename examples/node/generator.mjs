// A bundle's generator behind checks of everything that is asked of it; for Node and for a browser.
import { Random } from "./random.mjs";

export const FORMATS = [1, 2]; // of contract.json; they differ in the name of a key that nothing here reads
export const LARGEST = 4096; // images at once; more would only fill the memory
const CHUNK = 64; // images that go through the network at a time

/** What is wrong with a bundle, or with what was asked of it, in one sentence. */
export class BundleError extends Error {}

/**
 * Loads a generator. `ort` is onnxruntime-node or onnxruntime-web; `read(name)` resolves to a file's bytes, or to null
 * where it is not there; `sha256(bytes)` resolves to hexadecimal digits, or is null where
 * nothing can make them: then no hash is checked.
 * Throws BundleError for a folder that is no bundle, a damaged file and a contract of an unknown format.
 */
export async function load(ort, read, sha256) {
  const [text, list] = [await read("contract.json"), await read("SHA256SUMS")];
  if (!text || !list) throw new BundleError(`this is no bundle: ${text ? "SHA256SUMS" : "contract.json"} is not there`);
  const { file, contract } = readContract(text);
  const bytes = await read(file);
  if (!bytes) throw new BundleError(`${file} is missing; get the bundle again`);
  const lines = new TextDecoder().decode(list).split("\n");
  for (const [name, content] of sha256 ? [["contract.json", text], [file, bytes]] : []) {
    if (!lines.includes(`${await sha256(content)}  ${name}`)) {
      throw new BundleError(`${name} has another content than when it was bundled; get the bundle again`);
    }
  }
  try {
    return new Generator(ort, await ort.InferenceSession.create(bytes), contract);
  } catch (error) {
    throw new BundleError(`${file} cannot be loaded (${error.message ?? error}); get the bundle again`);
  }
}

function readContract(bytes) {
  let whole;
  try {
    whole = JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    throw new BundleError("contract.json cannot be read; get the bundle again");
  }
  if (!FORMATS.includes(whole?.format)) {
    throw new BundleError(`the bundle has a contract of format ${whole?.format}, and this program reads formats ${FORMATS.join(" and ")}`);
  }
  const file = `${whole.model}.onnx`;
  const contract = whole.models?.[file];
  if (!contract) throw new BundleError(`contract.json names no ${file}; get the bundle again`);
  return { file, contract };
}

/** Turns noise, and labels where the model takes them, into images. */
export class Generator {
  #ort;
  #session;

  constructor(ort, session, contract) {
    this.#ort = ort;
    this.#session = session;
    this.contract = contract;
    this.model = contract.model.toUpperCase();
    this.length = contract.inputs[0].shape[1]; // numbers in one noise
    this.shape = contract.outputs[0].shape.slice(1); // channels, height, width
    this.names = contract.labels;
    this.labelled = contract.inputs.length > 1; // whether a label picks what is drawn
  }

  /** The noise and the label of one seed; the label is null where the model takes none. */
  draw(seed) {
    if (!Number.isSafeInteger(seed) || seed < 0) throw new BundleError(`a seed is a whole number from 0 on, and ${seed} is not`);
    const random = new Random(seed);
    const noise = random.fillNormal(new Float32Array(this.length));
    return { noise, label: this.labelled ? random.below(this.names.length) : null };
  }

  /** The number of a label that is given by name or number. */
  label(asked) {
    if (!this.labelled) throw new BundleError(`this ${this.model} takes no label; leave the label away`);
    const number = this.names.includes(asked) ? this.names.indexOf(asked) : Number(asked);
    if (String(asked).trim() !== "" && Number.isInteger(number) && number >= 0 && number < this.names.length) return number;
    const known = this.names.map((name, place) => `${place} ${name}`).join(", ");
    throw new BundleError(`there is no label ${JSON.stringify(asked)}; this model knows ${known}`);
  }

  /**
   * Images Float32Array of N x C x H x W numbers in [0, 1], for noise Float32Array of N x length numbers and an array
   * of N labels. Throws BundleError for what does not fit.
   */
  async generate(noise, labels = null) {
    const count = this.#check(noise, labels);
    const size = this.shape.reduce((product, side) => product * side);
    const images = new Float32Array(count * size);
    for (let start = 0; start < count; start += CHUNK) {
      const end = Math.min(count, start + CHUNK);
      const part = noise.slice(start * this.length, end * this.length); // a copy: a worker would take the whole
      images.set(await this.#run(part, labels?.slice(start, end), end - start), start * size);
    }
    return images;
  }

  async #run(noise, labels, count) {
    const [first, second] = this.contract.inputs;
    const feeds = { [first.name]: new this.#ort.Tensor("float32", noise, [count, this.length]) };
    if (labels) feeds[second.name] = new this.#ort.Tensor("int64", BigInt64Array.from(labels, BigInt), [count]);
    const results = await this.#session.run(feeds);
    return results[this.contract.outputs[0].name].data;
  }

  #check(noise, labels) {
    if (!(noise instanceof Float32Array)) throw new BundleError("noise must be a Float32Array");
    const count = noise.length / this.length;
    if (!Number.isInteger(count)) {
      throw new BundleError(`noise must hold ${this.length} numbers for each image, and ${noise.length} is no multiple of that`);
    }
    if (count < 1 || count > LARGEST) throw new BundleError(outOfBounds(count));
    if (!noise.every(Number.isFinite)) {
      throw new BundleError("noise must hold finite numbers alone, and there is a NaN or an infinity in it");
    }
    this.#checkLabels(labels, count);
    return count;
  }

  #checkLabels(labels, count) {
    if (!labels) {
      if (this.labelled) throw new BundleError(`this ${this.model} needs a label for every image`);
      return;
    }
    if (!this.labelled) throw new BundleError(`this ${this.model} takes no label; leave the label away`);
    if (labels.length !== count) throw new BundleError(`${count} images need as many labels, and there are ${labels.length}`);
    const last = this.names.length - 1;
    if (!labels.every((label) => Number.isInteger(label) && label >= 0 && label <= last)) {
      throw new BundleError(`labels must be whole numbers from 0 to ${last}, and one is not`);
    }
  }
}

/** Why there are no `count` images. */
export function outOfBounds(count) {
  const [asked, most] = [count, LARGEST].map((number) => number.toLocaleString("en"));
  return `${asked} images at once were asked for; ask for 1 to ${most}`;
}
