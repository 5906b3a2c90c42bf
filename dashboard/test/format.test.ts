import { describe, expect, it } from "vitest";
import { bytes, compact, counted, duration, latency, perSecond, whole } from "../src/lib/format";

const plain = (text: string): string => text.replaceAll("\u00a0", " ");

describe("numbers", () => {
  it.each([
    [0, "0"],
    [12345, "12,345"],
    [NaN, "–"],
  ])("whole %d is %s", (value, text) => expect(whole(value)).toBe(text));

  it.each([
    [0, "0"],
    [950, "950"],
    [999.96, "1.00 k"],
    [1000, "1.00 k"],
    [12_345, "12.3 k"],
    [999_999, "1.00 M"],
    [-1500, "−1.50 k"],
    [NaN, "–"],
  ])("compact %d is %s", (value, text) => expect(plain(compact(value))).toBe(text));

  it.each([
    [0, "0 B"],
    [1023, "1023 B"],
    [1024, "1.00 KiB"],
    [64 * 1024 * 1024, "64.0 MiB"],
    [5 * 1024 ** 6, "5120 PiB"],
  ])("bytes %d is %s", (value, text) => expect(plain(bytes(value))).toBe(text));

  it.each([
    [0, "0/s"],
    [0.42, "0.4/s"],
    [12_345, "12.3 k/s"],
    [NaN, "–"],
  ])("%d a second is %s", (value, text) => expect(plain(perSecond(value))).toBe(text));

  it("counts one and many", () => {
    expect(counted(1, "key")).toBe("1 key");
    expect(counted(2000, "key")).toBe("2,000 keys");
  });
});

describe("times", () => {
  it.each([
    [0, "0 ms"],
    [999, "999 ms"],
    [42_000, "42 s"],
    [185_000, "3 min 5 s"],
    [3_600_000, "1 h"],
    [187_200_000, "2 d 4 h"],
    [-5_000, "−5 s"],
  ])("%d ms is %s", (ms, text) => expect(plain(duration(ms))).toBe(text));

  it.each([
    [0, "0 ms"],
    [0.351, "0.35 ms"],
    [3, "3 ms"],
    [12.4, "12 ms"],
    [1_500, "1.5 s"],
  ])("a latency of %d ms is %s", (ms, text) => expect(plain(latency(ms))).toBe(text));
});
