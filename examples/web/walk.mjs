// Interpolates between two noise vectors.

/**
 * The noise a share of the way from one to another, along the sphere (White 2016, arXiv 1609.04468): on the straight
 * line noise gets shorter in the middle than any that the model was trained on. Its length changes evenly.
 */
export function slerp(from, to, share) {
  const [start, end] = [Math.hypot(...from), Math.hypot(...to)];
  const cosine = from.reduce((sum, value, place) => sum + value * to[place], 0) / (start * end);
  const angle = Math.acos(Math.min(1, Math.max(-1, cosine)));
  if (!(Math.sin(angle) > 1e-6)) return from.map((value, place) => value + share * (to[place] - value));
  const size = start + share * (end - start);
  const [a, b] = [Math.sin((1 - share) * angle) / start, Math.sin(share * angle) / end];
  return from.map((value, place) => (size * (a * value + b * to[place])) / Math.sin(angle));
}

/** Returns the noise with its coordinates along orthonormal directions set to the given ones. */
export function moveTo(noise, directions, coordinates) {
  const moved = Float32Array.from(noise);
  directions.forEach((direction, which) => {
    const by = coordinates[which] - coordinate(noise, direction);
    direction.forEach((value, place) => (moved[place] += by * value));
  });
  return moved;
}

/** Returns the coordinate of a noise vector along a unit direction; it is standard normal over all noise. */
export function coordinate(noise, direction) {
  return noise.reduce((sum, value, place) => sum + value * direction[place], 0);
}
