/** Weights that are no safetensors: how their files are known, and cures for what is not read here. */

const PICKLE = /\.(bin|pt|pth|ckpt|pkl|pickle)$/i;
/** Not a folder below another. */
const GGUF = /^[^/]+\.gguf$/i;
/** Of older llama.cpp, TensorFlow, Flax, Rust, ONNX and others. */
const OTHER = /\.(ggml|h5|msgpack|ot|onnx|npz|npy|mlmodel|tflite)$/i;

export const PICKLE_CURE =
  "load it with the program that wrote it and save it as safetensors (with transformers: AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(NEW)), or download the safetensors version";

export function isPickle(name: string): boolean {
  return PICKLE.test(name);
}

/** Whether a file of a folder is GGUF by its name. */
export function isGguf(name: string): boolean {
  return GGUF.test(name);
}

/** Whether a file's name says that it holds weights in a format that is not read here. */
export function isForeign(name: string): boolean {
  return isPickle(name) || OTHER.test(name);
}

/** Begins what is often found under the name of a file of another kind, and what to do. */
const LOOKALIKES: readonly (readonly [start: string, explanation: string])[] = [
  [
    "version https://git-lfs",
    "it is a Git LFS pointer, not the file itself; run `git lfs pull` and try again.",
  ],
  ["<!doctype", "it is a web page, not the file itself; download that."],
  ["<html", "it is a web page, not the file itself; download that."],
  ["gguf", "it is a GGUF file under another name; give it the ending .gguf and name it."],
  ["pk\u0003\u0004", `it is a zip archive or PyTorch file; ${PICKLE_CURE}.`],
  ["\u0089hdf", "it is an HDF5 file; convert the model to safetensors first."],
];

/**
 * What a file is that is not of the kind that its name says; undefined when it is not known.
 *
 * @param start its first characters, 8 or more, of a binary file its bytes
 */
export function lookalike(start: string): string | undefined {
  const text = start.toLowerCase();
  return LOOKALIKES.find(([prefix]) => {
    const known = prefix.slice(0, text.length);
    return known.length >= Math.min(prefix.length, 8) && text.startsWith(known);
  })?.[1];
}
