// A value of the API: its text for previews and editors, and the way back.
import { asText, fromBase64, fromHex, hexDump, toBase64 } from "./hex";
import { lineJson, parseJson, writeJson } from "./json";
import type { Header, Value, ValueType } from "./types";

const INT_MIN = -(2n ** 63n);
const INT_MAX = 2n ** 63n - 1n;

export function valueBytes(value: Value): Uint8Array {
  switch (value.type) {
    case "bytes":
      return fromBase64(String(value.value));
    case "json":
      return new TextEncoder().encode(value.truncated ? String(value.value) : writeJson(value.value));
    default:
      return new TextEncoder().encode(String(value.value));
  }
}

/** On one line, for lists. */
export function preview(value: Value, characters_max = 120): string {
  let text: string;
  if (value.type === "bytes") {
    const data = fromBase64(String(value.value)).subarray(0, characters_max);
    text =
      asText(data) ??
      Array.from(data.subarray(0, 24), (byte) => byte.toString(16).padStart(2, "0")).join(" ");
  } else {
    text = value.type === "json" && !value.truncated ? lineJson(value.value) : String(value.value);
  }
  const line = text.replace(/\s+/g, " ");
  return line.length > characters_max || value.truncated ? `${line.slice(0, characters_max)} …` : line;
}

/** What an editor begins with: text that a person can change, hex for bytes. */
export function editable(value: Value): string {
  if (value.type === "json") return writeJson(value.value);
  if (value.type !== "bytes") return String(value.value);
  return Array.from(fromBase64(String(value.value)), (byte) => byte.toString(16).padStart(2, "0")).join(" ");
}

/** What was typed, as JSON for the `value` of a request. Throws an Error that says what is wrong. */
export function typedValue(type: ValueType, text: string): string {
  switch (type) {
    case "str":
      return JSON.stringify(text);
    case "json":
      try {
        parseJson(text);
      } catch (problem) {
        throw new Error(`This is not JSON: ${problem instanceof Error ? problem.message : String(problem)}`);
      }
      return text;
    case "int": {
      if (!/^\s*[+-]?\d+\s*$/.test(text)) throw new Error("An integer is digits, with a sign if you like.");
      const number = BigInt(text.trim().replace(/^\+/, ""));
      if (number < INT_MIN || number > INT_MAX) throw new Error("An integer has 64 bits: −2^63 to 2^63−1.");
      // Beyond what JSON's readers keep exact the API takes digits in a string.
      const digits = number.toString();
      return Number.isSafeInteger(Number(digits)) ? digits : JSON.stringify(digits);
    }
    case "bytes": {
      const data = fromHex(text);
      if (data === null) throw new Error("Bytes are written as pairs of hexadecimal digits.");
      return JSON.stringify(toBase64(data));
    }
  }
}

/** A JSON object of fields and a value that is JSON already; undefined fields are left out. */
export function withValue(fields: object, type: ValueType, value_json: string): string {
  const head = JSON.stringify({ ...fields, type });
  return `${head.slice(0, -1)},"value":${value_json}}`;
}

export function headerText(header: Header): string {
  if (header.base64 === undefined) return header.value ?? "";
  return hexDump(fromBase64(header.base64)).replace(/^\w+ {2}/gm, "");
}

/** Lines of `name: value` as headers. Throws an Error that names the line. */
export function typedHeaders(text: string): Header[] {
  const headers: Header[] = [];
  text.split("\n").forEach((line, index) => {
    if (line.trim() === "") return;
    const colon = line.indexOf(":");
    if (colon < 1) throw new Error(`Header line ${index + 1} is not "name: value".`);
    headers.push({ name: line.slice(0, colon).trim(), value: line.slice(colon + 1).trim() });
  });
  return headers;
}

/** Whether an editor of lines can show a header and give it back as it was. */
export function isLine({ name, value, base64 }: Header): boolean {
  return base64 === undefined && !/[:\n]|^\s|\s$/.test(name) && !/\n|^\s|\s$/.test(value ?? "");
}

/** Headers as an editor shows them, those that it can. */
export function headerLines(headers: readonly Header[]): string {
  return headers
    .filter(isLine)
    .map((header) => `${header.name}: ${header.value ?? ""}`)
    .join("\n");
}
