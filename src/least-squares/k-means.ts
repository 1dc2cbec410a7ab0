/** Rounds of Lloyd's algorithm. */
const ROUNDS = 25;

/** Places with weights, in rising order. */
export interface Places {
  readonly at: Float64Array;
  readonly weights: Float64Array;
}

/**
 * Weighted k-means in one dimension. The clusters begin where their number is spread over the places as the
 * third root of the weights is; a place between two clusters belongs to the lower one, and one without places
 * stays where it is.
 *
 * @returns the clusters in rising order
 */
export function kMeans({ at, weights }: Places, count: number): Float64Array {
  const clusters = startOf({ at, weights }, count);
  for (let round = 0; round < ROUNDS; round++) {
    const [sums, totals] = [0, 1].map(() => new Float64Array(count));
    let cluster = 0;
    for (let i = 0; i < at.length; i++) {
      while (cluster + 1 < count && at[i] > (clusters[cluster] + clusters[cluster + 1]) / 2) {
        cluster++;
      }
      sums[cluster] += weights[i] * at[i];
      totals[cluster] += weights[i];
    }
    totals.forEach((total, i) => {
      if (total > 0) clusters[i] = sums[i] / total;
    });
    clusters.sort();
  }
  return clusters;
}

function startOf({ at, weights }: Places, count: number): Float64Array {
  const clusters = new Float64Array(count);
  const shares = weights.map(Math.cbrt);
  const whole = shares.reduce((sum, share) => sum + share, 0);
  let [place, sum] = [0, 0];
  for (let i = 0; i < count; i++) {
    const wanted = (whole * (i + 0.5)) / count;
    while (place < at.length - 1 && sum + shares[place] < wanted) sum += shares[place++];
    clusters[i] = at[place] ?? 0;
  }
  return clusters;
}
