// Writes the bytes of a small ONNX model. ONNX files are protocol buffers: each field is a key
// (its number and the kind of its value) followed by the value.

/** The kinds of values that are written here. */
const VARINT = 0;
const BYTES = 2;

/** ONNX's element type of 32-bit floats. */
const FLOAT = 1;
const IR_VERSION = 8;
const OPSET = 13;

type Part = Uint8Array;

function join(...parts: readonly Part[]): Part {
  const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

/** Seven bits a byte, the lowest first; the top bit says that more follow. */
function varint(value: number): Part {
  const bytes: number[] = [];
  let rest = value;
  while (rest >= 128) {
    bytes.push((rest % 128) | 128);
    rest = Math.floor(rest / 128);
  }
  return Uint8Array.of(...bytes, rest);
}

function key(field: number, kind: number): Part {
  return varint(field * 8 + kind);
}

function integer(field: number, value: number): Part {
  return join(key(field, VARINT), varint(value));
}

function bytes(field: number, value: Part): Part {
  return join(key(field, BYTES), varint(value.length), value);
}

function text(field: number, value: string): Part {
  return bytes(field, new TextEncoder().encode(value));
}

/** ValueInfoProto: a name, and the type of a float tensor of that shape. */
function valueInfo(name: string, shape: readonly number[]): Part {
  const dimensions = shape.map((size) => bytes(1, integer(1, size)));
  const tensor = join(integer(1, FLOAT), bytes(2, join(...dimensions)));
  return join(text(1, name), bytes(2, bytes(1, tensor)));
}

/** TensorProto: what a weight holds. */
function initializer(name: string, shape: readonly number[], values: Float32Array): Part {
  const raw = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  const sizes = shape.map((size) => integer(1, size));
  return join(...sizes, integer(2, FLOAT), text(8, name), bytes(9, raw));
}

/**
 * A model of one MatMul, Y = X W.
 *
 * @param m rows of X and of Y [m, n]
 * @param k columns of X
 * @param weight W [k, n], float32, kept in the model, so that a runtime may pack it once
 */
export function matMulModel(m: number, n: number, k: number, weight: Float32Array): Uint8Array {
  const node = join(text(1, "X"), text(1, "W"), text(2, "Y"), text(4, "MatMul"));
  const graph = join(
    bytes(1, node),
    text(2, "product"),
    bytes(5, initializer("W", [k, n], weight)),
    bytes(11, valueInfo("X", [m, k])),
    bytes(12, valueInfo("Y", [m, n])),
  );
  const opset = join(text(1, ""), integer(2, OPSET));
  return join(integer(1, IR_VERSION), bytes(7, graph), bytes(8, opset));
}
