/** Adam's decay rates and the term that keeps its divisor from zero. */
const BETA1 = 0.9;
const BETA2 = 0.999;
const EPSILON = 1e-8;

/**
 * Terms of the group's least squares, as large as in the authors' program. They keep a singular
 * system solvable, and leave a trace of gradient that Adam sees. The first is added to |a|². The
 * second, times the mean weight, is added to the Gram matrix's diagonal.
 */
const NORM_EPSILON = 1e-8;
const GRAM_EPSILON = 4e-12;

const GROUP = 4;

/** The two kept columns of a group, in the order in which they are tried. */
const SUPPORTS: readonly (readonly [number, number])[] = [
  [0, 1],
  [0, 2],
  [0, 3],
  [1, 2],
  [1, 3],
  [2, 3],
];

export interface ArmorShape {
  readonly rows: number;
  readonly cols: number;
  /** Size of A's blocks. */
  readonly blockRows: number;
  /** Size of B's blocks, a multiple of 4. */
  readonly blockCols: number;
}

/** What the optimisation changes. */
export interface ArmorFactors {
  /** A: [rows / blockRows, blockRows, blockRows] */
  readonly left: Float64Array;
  /** B: [cols / blockCols, blockCols, blockCols] */
  readonly right: Float64Array;
  /** S: [rows, cols], zero where mask is. */
  readonly core: Float64Array;
  /** [rows, cols], 1 = kept. */
  readonly mask: Uint8Array;
}

/** Adam's moments of one array, and its update. */
class Adam {
  readonly first: Float64Array;
  readonly second: Float64Array;

  constructor(private readonly values: Float64Array) {
    this.first = new Float64Array(values.length);
    this.second = new Float64Array(values.length);
  }

  /**
   * @param iteration counted from 1, for the correction of the moments' bias
   * @param mask only values whose mask is 1 have a gradient and move; the moments of others decay
   */
  step(gradient: Float64Array, rate: number, iteration: number, mask?: Uint8Array): void {
    const { values, first, second } = this;
    const step = rate / (1 - BETA1 ** iteration);
    const correction = Math.sqrt(1 - BETA2 ** iteration);
    for (let i = 0; i < values.length; i++) {
      const g = mask && mask[i] === 0 ? 0 : gradient[i];
      first[i] = BETA1 * first[i] + (1 - BETA1) * g;
      second[i] = BETA2 * second[i] + (1 - BETA2) * g * g;
      if (mask && mask[i] === 0) continue;
      values[i] -= (step * first[i]) / (Math.sqrt(second[i]) / correction + EPSILON);
    }
  }
}

/**
 * ARMOR's optimisation of one layer (arXiv 2510.05528) in float64, as the description states it:
 * f = sum_j w_j ||(A S B - W̄)_:j||², with w_j = h_j / sum_j h_j ||W̄_:j||². The gradients are
 * computed anew after each of an iteration's two halves.
 */
export class ArmorProblem implements ArmorFactors {
  readonly left: Float64Array;
  readonly right: Float64Array;
  readonly core: Float64Array;
  readonly mask: Uint8Array;
  /** df/dA, df/dB and df/dS, the last of kept and removed values alike. */
  readonly gradients: { left: Float64Array; right: Float64Array; core: Float64Array };
  /** f of the current factors. */
  proxy = 0;
  private readonly weights: Float64Array;
  private readonly ridge: number;
  private readonly adam: { left: Adam; right: Adam; core: Adam };
  /** Iterations done, as an array of one. */
  private readonly iteration = Float64Array.of(0);

  /**
   * @param target W̄ [rows, cols]
   * @param importance h [cols]
   * @param mask [rows, cols], where S starts with the target's values; copied
   */
  constructor(
    private readonly target: Float64Array,
    importance: Float64Array,
    mask: Uint8Array,
    private readonly shape: ArmorShape,
  ) {
    const { rows, cols, blockRows, blockCols } = shape;
    let energy = 0;
    target.forEach((w, i) => {
      energy += w * w * importance[i % cols];
    });
    this.weights = importance.map((h) => (energy > 0 ? h / energy : 0));
    this.ridge = (GRAM_EPSILON * this.weights.reduce((sum, w) => sum + w, 0)) / cols;
    this.left = identities(rows / blockRows, blockRows);
    this.right = identities(cols / blockCols, blockCols);
    this.core = target.map((w, i) => w * mask[i]);
    this.mask = mask.slice();
    this.gradients = {
      left: new Float64Array(this.left.length),
      right: new Float64Array(this.right.length),
      core: new Float64Array(this.core.length),
    };
    this.adam = {
      left: new Adam(this.left),
      right: new Adam(this.right),
      core: new Adam(this.core),
    };
    this.measure();
  }

  get pairs(): number {
    const { rows, cols, blockRows, blockCols } = this.shape;
    return (rows / blockRows) * (cols / blockCols);
  }

  /** The first half of an iteration: one step of Adam on everything. */
  descend(rate: number): void {
    const { adam, gradients } = this;
    const iteration = ++this.iteration[0];
    adam.left.step(gradients.left, rate, iteration);
    adam.right.step(gradients.right, rate, iteration);
    adam.core.step(gradients.core, rate, iteration, this.mask);
    this.measure();
  }

  /** All that later iterations depend on beside the layer itself; call `measure` after changes. */
  variables(): (Float64Array | Uint8Array)[] {
    const { left, right, core } = this.adam;
    const moments = [left, right, core].flatMap(({ first, second }) => [first, second]);
    return [this.left, this.right, this.core, this.mask, ...moments, this.iteration];
  }

  /** L1 norms of the gradient of a pair's groups: [blockRows * blockCols / 4], row by row. */
  groupNorms(pair: number): Float64Array {
    const { blockRows, blockCols } = this.shape;
    const norms = new Float64Array((blockRows * blockCols) / GROUP);
    for (let group = 0; group < norms.length; group++) {
      const at = this.groupStart(pair, group);
      for (let i = at; i < at + GROUP; i++) norms[group] += Math.abs(this.gradients.core[i]);
    }
    return norms;
  }

  /**
   * The second half: gives one group of each pair its best support and values, all others staying.
   *
   * @param choose the group of a pair, or -1 to skip the pair
   */
  refine(choose: (pair: number) => number): void {
    for (let pair = 0; pair < this.pairs; pair++) {
      const group = choose(pair);
      if (group >= 0) this.solveGroup(pair, group);
    }
    this.measure();
  }

  /** Index in `core` of a group's first value. */
  private groupStart(pair: number, group: number): number {
    const { cols, blockRows, blockCols } = this.shape;
    const across = cols / blockCols;
    const perRow = blockCols / GROUP;
    const row = Math.floor(pair / across) * blockRows + Math.floor(group / perRow);
    return row * cols + (pair % across) * blockCols + (group % perRow) * GROUP;
  }

  /**
   * f as a function of the group's values s is a constant - 2 uᵀs + |a|² sᵀGs, with a the column of
   * A that the group meets and G = B_g diag(w) B_gᵀ the Gram matrix of its rows of B. The gradient
   * at the current values gives u.
   */
  private solveGroup(pair: number, group: number): void {
    const { core, mask, gradients, ridge } = this;
    const { cols, blockCols } = this.shape;
    const at = this.groupStart(pair, group);
    const norm = this.columnSquare(Math.floor(at / cols));
    const right = (Math.floor((at % cols) / blockCols) * blockCols + (at % blockCols)) * blockCols;
    const gram = this.gramOf(right, (at % cols) - (at % blockCols));
    const values = core.slice(at, at + GROUP);
    const u = values.map((_, x) => {
      const row = values.reduce((sum, value, y) => sum + gram[x * GROUP + y] * value, 0);
      return norm * row - gradients.core[at + x] / 2;
    });
    const gain = (s: ArrayLike<number>) => {
      let sum = 0;
      for (let x = 0; x < GROUP; x++) {
        sum += 2 * u[x] * s[x];
        for (let y = 0; y < GROUP; y++) sum -= norm * s[x] * gram[x * GROUP + y] * s[y];
      }
      return sum;
    };
    let best = gain(values);
    for (const [x, y] of SUPPORTS) {
      const [xx, yy] = [gram[x * (GROUP + 1)] + ridge, gram[y * (GROUP + 1)] + ridge];
      const xy = gram[x * GROUP + y];
      const determinant = (xx * yy - xy * xy) * (norm + NORM_EPSILON);
      if (!(determinant > 0)) continue;
      const trial = new Float64Array(GROUP);
      trial[x] = (yy * u[x] - xy * u[y]) / determinant;
      trial[y] = (xx * u[y] - xy * u[x]) / determinant;
      const reached = gain(trial);
      if (!(reached > best)) continue;
      best = reached;
      core.set(trial, at);
      mask.fill(0, at, at + GROUP);
      mask[at + x] = mask[at + y] = 1;
    }
  }

  /** |a|² of the column of A that a row of S meets. */
  private columnSquare(row: number): number {
    const size = this.shape.blockRows;
    const block = (row - (row % size)) * size;
    let sum = 0;
    for (let i = 0; i < size; i++) sum += this.left[block + i * size + (row % size)] ** 2;
    return sum;
  }

  /** [4, 4]: B_g diag(w) B_gᵀ of the 4 rows of B that start at `at`, which meet columns from `col`. */
  private gramOf(at: number, col: number): Float64Array {
    const { right, weights } = this;
    const size = this.shape.blockCols;
    const gram = new Float64Array(GROUP * GROUP);
    for (let i = 0; i < gram.length; i++) {
      const [x, y] = [at + Math.floor(i / GROUP) * size, at + (i % GROUP) * size];
      for (let j = 0; j < size; j++) gram[i] += weights[col + j] * right[x + j] * right[y + j];
    }
    return gram;
  }

  /** Fills `proxy` and `gradients` for the current factors. */
  measure(): void {
    const { rows, cols, blockRows, blockCols } = this.shape;
    this.gradients.left.fill(0);
    this.gradients.right.fill(0);
    this.proxy = 0;
    for (let row = 0; row < rows; row += blockRows) {
      for (let col = 0; col < cols; col += blockCols) this.measurePair(row, col);
    }
  }

  /**
   * With T = S B, E = A T - W̄, G = 2 E diag(w) and V = Aᵀ G of one pair: df/dA = sum G Tᵀ over the
   * pair's row, df/dB = sum Sᵀ V over its column, df/dS = V Bᵀ.
   */
  private measurePair(row: number, col: number): void {
    const { target, core, weights, gradients, shape } = this;
    const { cols, blockRows: a, blockCols: b } = shape;
    const A = this.left.subarray(row * a, (row + a) * a);
    const B = this.right.subarray(col * b, (col + b) * b);
    const gradientA = gradients.left.subarray(row * a, (row + a) * a);
    const gradientB = gradients.right.subarray(col * b, (col + b) * b);
    const [T, G, V] = [0, 1, 2].map(() => new Float64Array(a * b));
    for (let k = 0; k < a; k++) {
      for (let l = 0; l < b; l++) {
        const s = core[(row + k) * cols + col + l];
        if (s === 0) continue;
        for (let j = 0; j < b; j++) T[k * b + j] += s * B[l * b + j];
      }
    }
    for (let i = 0; i < a; i++) {
      for (let k = 0; k < a; k++) {
        const factor = A[i * a + k];
        for (let j = 0; j < b; j++) G[i * b + j] += factor * T[k * b + j];
      }
      for (let j = 0; j < b; j++) {
        const error = G[i * b + j] - target[(row + i) * cols + col + j];
        this.proxy += weights[col + j] * error * error;
        G[i * b + j] = 2 * weights[col + j] * error;
      }
    }
    for (let i = 0; i < a; i++) {
      for (let k = 0; k < a; k++) {
        const factor = A[i * a + k];
        let sum = 0;
        for (let j = 0; j < b; j++) {
          sum += G[i * b + j] * T[k * b + j];
          V[k * b + j] += factor * G[i * b + j];
        }
        gradientA[i * a + k] += sum;
      }
    }
    for (let k = 0; k < a; k++) {
      for (let l = 0; l < b; l++) {
        const at = (row + k) * cols + col + l;
        const s = core[at];
        let sum = 0;
        for (let j = 0; j < b; j++) {
          sum += V[k * b + j] * B[l * b + j];
          gradientB[l * b + j] += s * V[k * b + j];
        }
        gradients.core[at] = sum;
      }
    }
  }
}

/** `count` identity matrices of `size`, one after another. */
function identities(count: number, size: number): Float64Array {
  return Float64Array.from({ length: count * size * size }, (_, i) => {
    const at = i % (size * size);
    return at % (size + 1) === 0 ? 1 : 0;
  });
}
