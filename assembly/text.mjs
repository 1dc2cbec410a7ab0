// Pieces of AssemblyScript that the generators beside this file put into their template strings.

/** 0, 1, ... count - 1. */
export function numbers(count) {
  return Array.from({ length: count }, (_, i) => i);
}

/** The pieces for 0, 1, ... count - 1, each on lines of its own. */
export function each(count, piece) {
  return numbers(count).map(piece).join("\n");
}

/** Declares vectors of zeros. */
export function zeros(names) {
  return names.map((name) => `let ${name} = f32x4.splat(0);`).join("\n");
}

/** Adds what lies at an address to vectors. */
export function addFrom(address, names) {
  return each(names.length, (i) => {
    return `${names[i]} = f32x4.add(v128.load(${address}, ${16 * i}), ${names[i]});`;
  });
}

/** Sets vectors to what lies at an address. */
export function loadAt(address, names) {
  return each(names.length, (i) => `${names[i]} = v128.load(${address}, ${16 * i});`);
}

/** Stores vectors at an address. */
export function storeAt(address, names) {
  return each(names.length, (i) => `v128.store(${address}, ${names[i]}, ${16 * i});`);
}

/**
 * Returns a function that gives the statement by which a variable gets a value, declaring it at first;
 * nothing while it has that value. For one body of code; other variables change in no way but this.
 */
export function assigner() {
  const values = new Map();
  return (name, value) => {
    if (values.get(name) === value) return "";
    const declaration = values.has(name) ? "" : "let ";
    values.set(name, value);
    // What was computed from the variable has to be computed anew.
    for (const [other, text] of values) {
      if (new RegExp(`\\b${name}\\b`).test(text)) values.set(other, "");
    }
    return `${declaration}${name} = ${value};`;
  };
}

/**
 * Products one after another, `count` of them together, and what follows these in a branch that is always
 * taken. Engines would spoil a straight stretch of code: V8 before 13 moves all its loads to its top, more
 * than fit into registers; later ones do all products of a sum one after the other, for which they wait.
 *
 * @param addresses variables that the conditions compare with small numbers; a compiler does not know
 *   that addresses are larger
 * @param condition makes a branch's condition out of the comparison
 */
export function inBranches(products, count, addresses, condition = (comparison) => comparison) {
  const branches = products.length / count - 1;
  const open = (i) => {
    const least = 1 + Math.floor(i / addresses.length);
    return `if (${condition(`${addresses[i % addresses.length]} > ${least}`)}) {`;
  };
  return `
  ${each(products.length, (i) => {
    const isFirst = i >= count && i % count === 0;
    return `${isFirst ? open(i / count - 1) : ""}\n${products[i]}`;
  })}
  ${each(branches, () => "}")}`;
}

/** Indents lines by their braces and parentheses, for those who read what was generated. */
export function indent(text) {
  let depth = 0;
  const lines = text.split("\n").map((line) => line.trim());
  const indented = lines.filter(Boolean).map((line) => {
    if (/^[)}]/.test(line)) depth--;
    const result = "  ".repeat(depth) + line.replace(/^\*/, " *");
    if (/[({]$/.test(line)) depth++;
    return result;
  });
  return `${indented.join("\n")}\n`;
}
