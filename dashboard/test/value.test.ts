import { describe, expect, it } from "vitest";
import { asText, fromBase64, fromHex, hexDump, toBase64 } from "../src/lib/hex";
import { lineJson, parseJson, writeJson } from "../src/lib/json";
import type { Value, ValueType } from "../src/lib/types";
import {
  editable,
  headerLines,
  isLine,
  preview,
  typedHeaders,
  typedValue,
  withValue,
} from "../src/lib/value";

const value = (type: ValueType, content: Value["value"], truncated = false): Value => ({
  type,
  value: content,
  bytes: 0,
  ...(truncated ? { truncated } : {}),
});

describe("bytes", () => {
  const all = Uint8Array.from({ length: 256 }, (_, byte) => byte);
  it("survive base64 and hex", () => {
    expect(fromBase64(toBase64(all))).toEqual(all);
    expect(fromHex("00 ff\n0A")).toEqual(Uint8Array.of(0, 255, 10));
  });
  it.each(["0", "0g", "zz"])("%s is not hex", (text) => expect(fromHex(text)).toBeNull());
  it("are text only when a person could read them", () => {
    expect(asText(new TextEncoder().encode("Grüße\n\t<b>"))).toBe("Grüße\n\t<b>");
    expect(asText(Uint8Array.of(0xff, 0xfe))).toBeNull();
    expect(asText(Uint8Array.of(0x61, 0x00))).toBeNull();
  });
  it("are dumped with offset, hex and ASCII", () => {
    const lines = hexDump(Uint8Array.from({ length: 18 }, (_, index) => 0x41 + index)).split("\n");
    expect(lines[0]).toBe("00000000  41 42 43 44 45 46 47 48  49 4a 4b 4c 4d 4e 4f 50  ABCDEFGHIJKLMNOP");
    expect(lines[1]!.startsWith("00000010  51 52 ")).toBe(true);
    expect(lines[1]!.indexOf("QR")).toBe(lines[0]!.indexOf("ABC"));
  });
});

describe("JSON", () => {
  // Browsers tell a number's source since 2023 to 2025; older engines round, as they always did.
  const exact = parseJson("9007199254740993") === 9007199254740993n;
  it.runIf(exact)("keeps integers to the digit", () => {
    const text = '{"id": 9007199254740993, "list": [-12345678901234567890]}';
    expect(lineJson(parseJson(text))).toBe(text);
  });
  it("is written as JSON.stringify does", () => {
    const sample = { a: [1, { b: null }, []], c: {}, d: 'x"\n', e: 1.5, f: true };
    expect(writeJson(sample)).toBe(JSON.stringify(sample, null, 2));
  });
  it("writes bigint as digits", () =>
    expect(writeJson([9007199254740993n])).toBe("[\n  9007199254740993\n]"));
});

describe("what is typed", () => {
  it.each<[ValueType, string, string]>([
    ["str", 'say "hi"', '"say \\"hi\\""'],
    ["json", '{"id": 9007199254740993}', '{"id": 9007199254740993}'],
    ["int", " 42 ", "42"],
    ["int", "-9223372036854775808", '"-9223372036854775808"'],
    ["bytes", "68 69", '"aGk="'],
    ["bytes", "", '""'],
  ])("%s %s becomes %s", (type, text, json) => expect(typedValue(type, text)).toBe(json));

  it.each<[ValueType, string]>([
    ["json", "{"],
    ["int", "1.5"],
    ["int", ""],
    ["int", "9223372036854775808"],
    ["bytes", "xyz"],
  ])("%s %s is refused", (type, text) => expect(() => typedValue(type, text)).toThrow());

  it.each<Value>([value("str", "a\nb"), value("json", { a: [1] }), value("int", -5), value("bytes", "AP8=")])(
    "comes back as it was: $type",
    (original) => expect(JSON.parse(typedValue(original.type, editable(original)))).toEqual(original.value),
  );

  it("stands in a request beside its fields", () =>
    expect(withValue({ ttl_ms: 5, gone: undefined }, "json", "[1]")).toBe(
      '{"ttl_ms":5,"type":"json","value":[1]}',
    ));
});

describe("previews", () => {
  it("are one line", () => expect(preview(value("str", "a\n  b"))).toBe("a b"));
  it("end with … when there is more", () => {
    expect(preview(value("str", "x".repeat(200)), 10)).toBe(`${"x".repeat(10)} …`);
    expect(preview(value("json", '{"a', true))).toBe('{"a …');
  });
  it("show bytes as text if they are, else as hex", () => {
    expect(preview(value("bytes", "aGk="))).toBe("hi");
    expect(preview(value("bytes", "AP8="))).toBe("00 ff");
  });
});

describe("headers", () => {
  it("are lines of name and value", () =>
    expect(typedHeaders("trace: ab:12\n\n x :\n")).toEqual([
      { name: "trace", value: "ab:12" },
      { name: "x", value: "" },
    ]));
  it("say which line is none", () => expect(() => typedHeaders("a: 1\nb")).toThrow("line 2"));
  it("that are no line are not shown as one", () => {
    expect(isLine({ name: "a", base64: "AP8=" })).toBe(false);
    expect(isLine({ name: "a", value: "1\n2" })).toBe(false);
    expect(
      headerLines([
        { name: "a", value: "1" },
        { name: "b", value: " 2" },
      ]),
    ).toBe("a: 1");
  });
});
