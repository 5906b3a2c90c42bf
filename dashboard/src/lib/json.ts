// JSON whose integers may be larger than JavaScript's numbers are exact: those become bigint and are written back as
// they were. Editing a message must not change a digit of it.

export type Json = null | boolean | number | bigint | string | Json[] | { [name: string]: Json };

type Reviver = (key: string, value: unknown, context?: { source?: string }) => unknown;

const exact: Reviver = (_key, value, context) =>
  typeof value === "number" &&
  !Number.isSafeInteger(value) &&
  context?.source !== undefined &&
  /^-?\d+$/.test(context.source)
    ? BigInt(context.source)
    : value;

/** Throws SyntaxError. Browsers that do not tell the source of a number (before 2025) read it as it always was. */
export function parseJson(text: string): Json {
  return JSON.parse(text, exact as (key: string, value: unknown) => unknown) as Json;
}

/** As JSON.stringify with an indent of two, bigint included. */
export function writeJson(value: Json, indent = ""): string {
  if (typeof value === "bigint") return value.toString();
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const deeper = `${indent}  `;
  if (Array.isArray(value)) {
    if (value.length === 0) return "[]";
    return `[\n${value.map((item) => deeper + writeJson(item, deeper)).join(",\n")}\n${indent}]`;
  }
  const fields = Object.entries(value);
  if (fields.length === 0) return "{}";
  const lines = fields.map(([name, item]) => `${deeper}${JSON.stringify(name)}: ${writeJson(item, deeper)}`);
  return `{\n${lines.join(",\n")}\n${indent}}`;
}

/** On one line, for previews. */
export function lineJson(value: Json): string {
  if (typeof value === "bigint") return value.toString();
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(lineJson).join(", ")}]`;
  return `{${Object.entries(value)
    .map(([name, item]) => `${JSON.stringify(name)}: ${lineJson(item)}`)
    .join(", ")}}`;
}
