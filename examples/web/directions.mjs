// Finds the directions of the noise that change the images most.
//
// GANSpace (Haerkoenen, Hertzmann, Lehtinen and Paris 2020, arXiv 2004.02546) finds principal components of a layer's
// features and then, by regression, the noise that moves along them. A bundle has no features, so this program
// regresses the images on the noise and takes the principal directions of the regression: the images change most along
// the first, and each next one is orthogonal to those before it.
import { Random } from "./random.mjs";

const SIDE = 32; // pixels; larger images are averaged down, since directions need no detail
const SEED = 2004_02546;
const CHUNK = 16; // pairs of images

/**
 * The `count` strongest directions, strongest first, of length 1 and at right angles to each other, each with its share
 * of what changes the images: [{ direction, share }]. `progress` is told a number from 0 to 1.
 */
export async function findDirections(generator, count, progress = () => {}) {
  const { length } = generator;
  const pairs = Math.max(512, 5 * length);
  const noise = orthogonalNoise(pairs, length);
  const effects = []; // the effect of each noise component on each pixel
  for (let start = 0; start < pairs; start += CHUNK) {
    const part = noise.slice(start, start + CHUNK);
    const differences = await oddParts(generator, part, start);
    differences.forEach((difference, place) => addOuter(effects, part[place], difference, 1 / pairs));
    progress(Math.min(1, (start + CHUNK) / pairs));
  }
  return principal(multiplied(effects), Math.min(count, length));
}

/**
 * Noise whose columns are at right angles and of the length of `rows` standard normal numbers: then the sum of images
 * times noise is the regression by least squares, with nothing to invert.
 */
function orthogonalNoise(rows, length) {
  const random = new Random(SEED);
  const columns = [];
  for (let column = 0; column < length; column += 1) {
    const numbers = random.fillNormal(new Float64Array(rows));
    for (const other of columns) subtract(numbers, other, dot(numbers, other) / dot(other, other));
    columns.push(scaled(numbers, Math.sqrt(rows / dot(numbers, numbers))));
  }
  return Array.from({ length: rows }, (_, row) => Float32Array.from(columns, (column) => column[row]));
}

/** Returns half the difference between the images of noise and of its negative: the odd part of the change. */
async function oddParts(generator, noise, start) {
  const both = noise.flatMap((row) => [row, row.map((value) => -value)]);
  const labels = generator.labelled ? both.map((_, place) => (start + (place >> 1)) % generator.names.length) : null;
  const flat = new Float32Array(both.length * generator.length);
  both.forEach((row, place) => flat.set(row, place * generator.length));
  const images = await generator.generate(flat, labels);
  return noise.map((_, pair) => {
    const [plus, minus] = [2 * pair, 2 * pair + 1].map((place) => shrunk(images, place, generator.shape));
    return plus.map((value, pixel) => (value - minus[pixel]) / 2);
  });
}

/** Averages an image over squares until it is no larger than SIDE. */
function shrunk(images, place, [channels, high, wide]) {
  const square = Math.ceil(Math.max(high, wide) / SIDE);
  const [rows, columns] = [Math.ceil(high / square), Math.ceil(wide / square)];
  const small = new Float64Array(channels * rows * columns);
  for (let channel = 0; channel < channels; channel += 1) {
    for (let y = 0; y < high; y += 1) {
      for (let x = 0; x < wide; x += 1) {
        const target = (channel * rows + Math.floor(y / square)) * columns + Math.floor(x / square);
        small[target] += images[((place * channels + channel) * high + y) * wide + x] / square ** 2;
      }
    }
  }
  return small;
}

function addOuter(effects, noise, difference, weight) {
  noise.forEach((value, number) => {
    effects[number] ??= new Float64Array(difference.length);
    subtract(effects[number], difference, -weight * value);
  });
}

/** Returns the products of all pairs of rows of a matrix. */
function multiplied(matrix) {
  return matrix.map((row) => Float64Array.from(matrix, (other) => dot(row, other)));
}

/** Returns the leading eigenvectors of a symmetric matrix, by the power method, one after the other. */
function principal(matrix, count) {
  const total = matrix.reduce((sum, row, place) => sum + row[place], 0);
  const found = [];
  while (found.length < count) {
    let vector = new Random(found.length + 1).fillNormal(new Float64Array(matrix.length));
    let value = 0;
    for (let round = 0; round < 300; round += 1) {
      for (const { direction } of found) subtract(vector, direction, dot(vector, direction));
      vector = scaled(vector, 1 / Math.sqrt(dot(vector, vector)));
      const next = Float64Array.from(matrix, (row) => dot(row, vector));
      value = dot(next, vector);
      if (round < 299) vector = next;
    }
    found.push({ direction: vector, share: total > 0 ? value / total : 0 });
  }
  return found;
}

function dot(one, other) {
  let sum = 0;
  for (let place = 0; place < one.length; place += 1) sum += one[place] * other[place];
  return sum;
}

function subtract(from, vector, times) {
  for (let place = 0; place < from.length; place += 1) from[place] -= times * vector[place];
}

function scaled(vector, by) {
  return vector.map((value) => value * by);
}
