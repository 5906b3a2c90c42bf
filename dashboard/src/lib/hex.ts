// Bytes as text: base64 in and out, UTF-8 if it is UTF-8, a dump if it is not.

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));
const ROW_BYTES = 16;

export function fromBase64(text: string): Uint8Array {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

export function toBase64(data: Uint8Array): string {
  let text = "";
  for (const byte of data) text += String.fromCharCode(byte);
  return btoa(text);
}

/** The text that the bytes are, or null if they are none that a person could read or edit. */
export function asText(data: Uint8Array): string | null {
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(data);
    return /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/.test(text) ? null : text;
  } catch {
    return null;
  }
}

/** Offset, sixteen bytes, and what of them is ASCII: one line for each row. */
export function hexDump(data: Uint8Array): string {
  const lines: string[] = [];
  for (let offset = 0; offset < data.length; offset += ROW_BYTES) {
    const row = data.subarray(offset, offset + ROW_BYTES);
    const left: string[] = [];
    let right = "";
    row.forEach((byte, index) => {
      left.push((index === 8 ? " " : "") + HEX[byte]!);
      right += byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : "·";
    });
    lines.push(`${offset.toString(16).padStart(8, "0")}  ${left.join(" ").padEnd(ROW_BYTES * 3)}  ${right}`);
  }
  return lines.join("\n");
}

/** Bytes out of what a person typed as hex; null if it is not hex. Blanks are free. */
export function fromHex(text: string): Uint8Array | null {
  const digits = text.replace(/\s+/g, "");
  if (digits.length % 2 !== 0 || /[^0-9a-f]/i.test(digits)) return null;
  return Uint8Array.from(digits.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}
